"""Data sets of FlowSample, their transforms and files; FlowDataModule, which needs Lightning, loads on first access."""

from typing import TYPE_CHECKING

from unrollflow.data.chairs import FlyingChairs
from unrollflow.data.codecs import read_flo, read_image, read_kitti_flow, write_flo, write_image, write_kitti_flow
from unrollflow.data.frames import FramePairs
from unrollflow.data.hd1k import Hd1k
from unrollflow.data.jitter import AppearanceJitter
from unrollflow.data.kitti import Kitti, KittiMultiview, KittiRaw
from unrollflow.data.middlebury import Middlebury
from unrollflow.data.mixture import Mixture
from unrollflow.data.motorcycle import StereoMotorcycle
from unrollflow.data.moving_layers import MovingLayers
from unrollflow.data.resizing import RandomResize, RandomResizedCrop, Resize
from unrollflow.data.sintel import Sintel, SintelRaw
from unrollflow.data.spring import Spring
from unrollflow.data.things import FlyingThings
from unrollflow.data.transforms import (
    Compose,
    RandomCrop,
    RandomHorizontalFlip,
    RandomTemporalSwap,
    RandomVerticalFlip,
    Transform,
)

if TYPE_CHECKING:
    from unrollflow.data.datamodule import FlowDataModule

__all__ = [
    "AppearanceJitter",
    "Compose",
    "FlowDataModule",
    "FlyingChairs",
    "FlyingThings",
    "FramePairs",
    "Hd1k",
    "Kitti",
    "KittiMultiview",
    "KittiRaw",
    "Middlebury",
    "Mixture",
    "MovingLayers",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResize",
    "RandomResizedCrop",
    "RandomTemporalSwap",
    "RandomVerticalFlip",
    "Resize",
    "Sintel",
    "SintelRaw",
    "Spring",
    "StereoMotorcycle",
    "Transform",
    "read_flo",
    "read_image",
    "read_kitti_flow",
    "write_flo",
    "write_image",
    "write_kitti_flow",
]


def __getattr__(name: str) -> object:
    if name == "FlowDataModule":
        from unrollflow.data.datamodule import FlowDataModule

        return FlowDataModule
    raise AttributeError(f"module 'unrollflow.data' has no attribute {name!r}")

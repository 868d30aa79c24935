"""Data sets of FlowSample, their transforms and files.

Names that need Lightning (FlowDataModule), PyAV (Footage, FrameFolder, Video) or scikit-image (Superpixels) load on
first access.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from unrollflow.data.chairs import FlyingChairs
from unrollflow.data.codecs import (
    read_flo,
    read_flo5,
    read_image,
    read_kitti_flow,
    read_label_map,
    read_mask,
    read_pfm,
    write_flo,
    write_flo5,
    write_image,
    write_kitti_flow,
    write_pfm,
)
from unrollflow.data.frames import FramePairs
from unrollflow.data.hd1k import Hd1k
from unrollflow.data.jitter import AppearanceJitter
from unrollflow.data.kitti import Kitti, KittiMultiview, KittiRaw
from unrollflow.data.labelled import LabelledFrames
from unrollflow.data.middlebury import Middlebury
from unrollflow.data.mixture import Mixture
from unrollflow.data.motorcycle import StereoMotorcycle
from unrollflow.data.moving_layers import MovingLayers
from unrollflow.data.resizing import RandomResize, RandomResizedCrop, Resize
from unrollflow.data.shard_writer import write_shards
from unrollflow.data.shards import ShardedPairs
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
    from unrollflow.data.footage import Footage, FrameFolder, Video
    from unrollflow.data.superpixels import Superpixels

__all__ = [
    "AppearanceJitter",
    "Compose",
    "FlowDataModule",
    "FlyingChairs",
    "FlyingThings",
    "Footage",
    "FrameFolder",
    "FramePairs",
    "Hd1k",
    "Kitti",
    "KittiMultiview",
    "KittiRaw",
    "LabelledFrames",
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
    "ShardedPairs",
    "Sintel",
    "SintelRaw",
    "Spring",
    "StereoMotorcycle",
    "Superpixels",
    "Transform",
    "Video",
    "read_flo",
    "read_flo5",
    "read_image",
    "read_kitti_flow",
    "read_label_map",
    "read_mask",
    "read_pfm",
    "write_flo",
    "write_flo5",
    "write_image",
    "write_kitti_flow",
    "write_pfm",
    "write_shards",
]


_ON_FIRST_ACCESS = {
    "FlowDataModule": "unrollflow.data.datamodule",
    "Footage": "unrollflow.data.footage",
    "FrameFolder": "unrollflow.data.footage",
    "Superpixels": "unrollflow.data.superpixels",
    "Video": "unrollflow.data.footage",
}


def __getattr__(name: str) -> object:
    if name in _ON_FIRST_ACCESS:
        return getattr(import_module(_ON_FIRST_ACCESS[name]), name)
    raise AttributeError(f"module 'unrollflow.data' has no attribute {name!r}")

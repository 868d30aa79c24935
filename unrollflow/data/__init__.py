"""Data sets of FlowSample, their transforms, and file formats.

Names that need Lightning (FlowDataModule), PyAV (Footage, FrameFolder, Video) or scikit-image (Superpixels) are
imported on first access.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from unrollflow.data.datasets.chairs import FlyingChairs
from unrollflow.data.datasets.frames import FramePairs
from unrollflow.data.datasets.hd1k import Hd1k
from unrollflow.data.datasets.kitti import Kitti, KittiMultiview, KittiRaw
from unrollflow.data.datasets.labelled_frames import LabelledFrames
from unrollflow.data.datasets.middlebury import Middlebury
from unrollflow.data.datasets.mixture import Mixture
from unrollflow.data.datasets.motorcycle import StereoMotorcycle
from unrollflow.data.datasets.sintel import Sintel, SintelRaw
from unrollflow.data.datasets.spring import Spring
from unrollflow.data.datasets.things import FlyingThings
from unrollflow.data.io.flow import (
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
from unrollflow.data.moving_layers.dataset import MovingLayers
from unrollflow.data.shards.dataset import ShardedPairs
from unrollflow.data.shards.shard_writer import write_shards
from unrollflow.data.transforms.appearance import AppearanceJitter
from unrollflow.data.transforms.geometry import (
    Compose,
    RandomCrop,
    RandomHorizontalFlip,
    RandomTemporalSwap,
    RandomVerticalFlip,
    Transform,
)
from unrollflow.data.transforms.resize import RandomResize, RandomResizedCrop, Resize

if TYPE_CHECKING:
    from unrollflow.data.datamodule import FlowDataModule
    from unrollflow.data.transforms.superpixels import Superpixels
    from unrollflow.data.video.footage import Footage, FrameFolder, Video

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
    "Footage": "unrollflow.data.video.footage",
    "FrameFolder": "unrollflow.data.video.footage",
    "Superpixels": "unrollflow.data.transforms.superpixels",
    "Video": "unrollflow.data.video.footage",
}


def __getattr__(name: str) -> object:
    if name in _ON_FIRST_ACCESS:
        return getattr(import_module(_ON_FIRST_ACCESS[name]), name)
    raise AttributeError(f"module 'unrollflow.data' has no attribute {name!r}")

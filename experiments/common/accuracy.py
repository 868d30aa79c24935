"""End-point errors of optical-flow methods on held-out MovingLayers samples and benchmark sequences."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from torch import Tensor

from experiments.common.assembly import CONFIGS
from unrollflow.contracts import FlowSample
from unrollflow.data import FlyingChairs, Kitti, Middlebury, MovingLayers, Sintel
from unrollflow.metrics import image_measures
from unrollflow.training.module import UnsupervisedFlow
from unrollflow.variational import refine_flow
from unrollflow.variational.search import inverse_search

TRUE_MAPS = ("valid", "occluded", "boundary_distance")
"""Of a pair, for what its measures are averaged over."""

FlowOf = Callable[[Tensor, Tensor], Tensor]
"""Two images (1, 3, H, W), RGB in [0, 1], to flow (1, 2, H, W), pixels."""


class Errors(NamedTuple):
    """Means over the images of a set; pixels, NaN where no image has such a pixel.

    Attributes:
        epe: of all pixels whose flow is known.
        visible, occluded: of those that the second frame shows, or not.
        images: each image's error of all pixels, by name.
    """

    epe: float
    visible: float
    occluded: float
    images: dict[str, float]


def data_folder() -> Path | None:
    """The folder of benchmark sequences that UNROLLFLOW_DATA_DIR names, or None."""
    named = os.environ.get("UNROLLFLOW_DATA_DIR")
    return Path(named) if named and Path(named).is_dir() else None


def held_out() -> MovingLayers:
    """The quickstart's validation samples: 128 pairs of 64x64."""
    return layers("validation")


def final_layers() -> MovingLayers:
    """The quickstart's test samples: 512 pairs of 64x64."""
    return layers("test")


def layers(split: str) -> MovingLayers:
    """The samples of a split, as the quickstart's data file states them."""
    atom = yaml.safe_load((CONFIGS / "data" / "moving_layers.yaml").read_text())
    return MovingLayers(**atom[split]["init_args"])


def benchmark_sets(folder: Path | None, *names: str) -> dict[str, Iterable[FlowSample]]:
    """The named sets with ground truth that are there, by name; none without a folder."""
    if folder is None:
        return {}
    makers: dict[str, tuple[str, Callable[[Path], Iterable[FlowSample]]]] = {
        "middlebury": ("middlebury", lambda root: Middlebury(root=root)),
        "sintel": ("sintel", lambda root: Sintel(root=root, passes=("clean",))),
        "sintel final": ("sintel", lambda root: Sintel(root=root, passes=("final",))),
        "kitti2012": ("kitti2012", lambda root: Kitti(root=root, frames="image_0")),
        "kitti2015": ("kitti2015", lambda root: Kitti(root=root, frames="image_2")),
        "chairs": ("chairs", lambda root: FlyingChairs(root=root)),
    }
    there = {name: (folder / place, make) for name, (place, make) in makers.items() if name in names}
    return {name: make(root) for name, (root, make) in there.items() if root.is_dir()}


def errors(flow_of: FlowOf, pairs: Iterable[FlowSample]) -> Errors:
    """Errors of a method on pairs with ground truth."""
    found = [(pair["name"], measured_pair(flow_of, pair)) for pair in pairs]
    means = (
        torch.tensor([measures[name] for _, measures in found]).nanmean().item()
        for name in ("epe", "epe_noc", "epe_occ")
    )
    return Errors(*means, {name: measures["epe"] for name, measures in found})


@torch.no_grad()
def measured_pair(flow_of: FlowOf, pair: FlowSample) -> dict[str, float]:
    """Every measure of a method's flow of a pair with ground truth; NaN where it has no such pixel."""
    maps = {name: pair[name].unsqueeze(0) for name in TRUE_MAPS if name in pair}
    flow = flow_of(pair["image1"].unsqueeze(0), pair["image2"].unsqueeze(0))
    means = image_measures(flow, pair["flow"].unsqueeze(0), **maps).mean
    return {name: mean.item() for name, mean in means.items()}


def refined(flow_of: FlowOf) -> FlowOf:
    """A method's flow after the solver's finishing warps."""
    return lambda image1, image2: refine_flow(image1, image2, flow_of(image1, image2))


def network_flow(module: UnsupervisedFlow) -> FlowOf:
    """The flow of a trained network."""
    return module.eval().one_way


def zero_flow(image1: Tensor, image2: Tensor) -> Tensor:
    """No motion."""
    return torch.zeros_like(image1[:, :2])


dis_flow: FlowOf = inverse_search
"""OpenCV's Dense Inverse Search, preset medium."""

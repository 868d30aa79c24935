"""End-point errors of optical-flow methods on held-out MovingLayers samples and benchmark sequences."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from torch import Tensor

from experiments.common.assembly import CONFIGS
from experiments.common.results import rounded_values
from unrollflow.contracts import FlowSample
from unrollflow.data import FlyingChairs, Kitti, Middlebury, MovingLayers, Sintel
from unrollflow.metrics import image_measures
from unrollflow.training.module import UnsupervisedFlow
from unrollflow.variational import refine_flow
from unrollflow.variational.search import inverse_search

TRUE_MAPS = ("valid", "occluded", "boundary_distance")
"""Keys of the maps of a pair that select the pixels of each measure."""

FlowOf = Callable[[Tensor, Tensor], Tensor]
"""Function of two images (1, 3, H, W), RGB in [0, 1], that returns the flow (1, 2, H, W) in pixels."""


class Errors(NamedTuple):
    """Mean errors over the images of a set in pixels; NaN if no image has such pixels.

    Attributes:
        epe: error of all pixels with known flow.
        visible, occluded: errors of the pixels that are visible or occluded in the second frame.
        images: error of all pixels of each image, by name.
    """

    epe: float
    visible: float
    occluded: float
    images: dict[str, float]


def data_folder() -> Path | None:
    """Return the folder of benchmark sequences that UNROLLFLOW_DATA_DIR names, or None."""
    named = os.environ.get("UNROLLFLOW_DATA_DIR")
    return Path(named) if named and Path(named).is_dir() else None


def required_data(content: str) -> Path:
    """Return :func:`data_folder`, or raise SystemExit that states the content which it must have."""
    folder = data_folder()
    if folder is None:
        raise SystemExit(f"set UNROLLFLOW_DATA_DIR to a folder with {content}.")
    return folder


def held_out() -> MovingLayers:
    """Return the validation samples of the quickstart: 128 pairs of 64x64."""
    return layers("validation")


def final_layers() -> MovingLayers:
    """Return the test samples of the quickstart: 512 pairs of 64x64."""
    return layers("test")


def layers(split: str) -> MovingLayers:
    """Return the samples of a split that the data file of the quickstart defines."""
    atom = yaml.safe_load((CONFIGS / "data" / "moving_layers.yaml").read_text())
    return MovingLayers(**atom[split]["init_args"])


def benchmark_sets(folder: Path | None, *names: str) -> dict[str, Iterable[FlowSample]]:
    """Return the benchmark sets with ground truth that exist, by name; empty if there is no folder."""
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
    """Return the errors of a method on pairs with ground truth."""
    found = [(pair["name"], measured_pair(flow_of, pair)) for pair in pairs]
    means = (
        torch.tensor([measures[name] for _, measures in found]).nanmean().item()
        for name in ("epe", "epe_noc", "epe_occ")
    )
    return Errors(*means, {name: measures["epe"] for name, measures in found})


@torch.no_grad()
def measured_pair(flow_of: FlowOf, pair: FlowSample) -> dict[str, float]:
    """Return all measures of the flow of a pair with ground truth; NaN if the pair has no such pixels."""
    maps = {name: pair[name].unsqueeze(0) for name in TRUE_MAPS if name in pair}
    flow = flow_of(pair["image1"].unsqueeze(0), pair["image2"].unsqueeze(0))
    means = image_measures(flow, pair["flow"].unsqueeze(0), **maps).mean
    return {name: mean.item() for name, mean in means.items()}


def image_errors(
    flow_of: FlowOf, pairs: Iterable[FlowSample], measures: Sequence[str]
) -> dict[str, list[float | None]]:
    """Return the mean error of each image for each measure, pixels; None without such pixels."""
    found = [measured_pair(flow_of, pair) for pair in pairs]
    return {name: rounded_values(torch.tensor([means[name] for means in found])) for name in measures}


def refined(flow_of: FlowOf) -> FlowOf:
    """Return a method whose flow the solver refines."""
    return lambda image1, image2: refine_flow(image1, image2, flow_of(image1, image2))


def network_flow(module: UnsupervisedFlow) -> FlowOf:
    """Return the flow of a trained network as a method."""
    return module.eval().one_way


def zero_flow(image1: Tensor, image2: Tensor) -> Tensor:
    """No motion."""
    return torch.zeros_like(image1[:, :2])


dis_flow: FlowOf = inverse_search
"""OpenCV's Dense Inverse Search, preset medium."""

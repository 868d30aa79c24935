"""How many pyramid levels does PyramidMatcher need at test time? Errors by number of levels, and of OpenCV DIS.

Command: python -m experiments.large_motion --ckpt_path runs/flow/version_N/checkpoints/best.ckpt

It needs the benchmark sequences below UNROLLFLOW_DATA_DIR. Ground truth between Sintel frames t and t + 2 is
the sum of the two flows, at pixels that are visible in both steps.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from experiments.common.accuracy import FlowOf, benchmark_sets, dis_flow, errors, network_flow, required_data
from experiments.common.results import write_table
from unrollflow.contracts import FlowSample
from unrollflow.data import Sintel
from unrollflow.ops import out_of_frame, warp
from unrollflow.training.module import UnsupervisedFlow

RESULTS = Path(__file__).with_name("results")

LEVELS = (4, 5, 6, 7)
WHOLLY = 0.999
"""Interpolated visibility above which all four neighbouring pixels are visible."""


def two_apart(root: Path) -> list[FlowSample]:
    """Return the pairs of Sintel frames t and t + 2 with two known flows."""
    steps = {sample["name"]: sample for sample in Sintel(root=root, passes=["clean"])}  # type: ignore[attr-defined]
    found = []
    for name, first in steps.items():
        scene, _, number = name.rpartition("_")
        second = steps.get(f"{scene}_{int(number) + 1:04d}")
        if second is None:
            continue
        flow = first["flow"].unsqueeze(0)
        seen = warp(visible(second).float()[None, None], flow)[0, 0] > WHOLLY
        valid = visible(first) & seen & ~out_of_frame(flow)[0, 0]
        both = flow + warp(second["flow"].unsqueeze(0), flow)
        found.append(
            FlowSample(image1=first["image1"], image2=second["image2"], name=f"{name} + 2", flow=both[0], valid=valid)
        )
    return found


def visible(sample: FlowSample) -> Tensor:
    """Return (H, W) bool: the pixels with known flow that are visible in the second frame, if occlusions are known."""
    return sample["valid"] & ~sample.get("occluded", torch.zeros_like(sample["valid"]))


def with_levels(module: UnsupervisedFlow, levels: int) -> FlowOf:
    """Return the flow of the network with a fixed number of levels."""
    flow_of = network_flow(module)

    def fixed(image1: Tensor, image2: Tensor) -> Tensor:
        module.backbone.levels_for = lambda height, width: levels  # type: ignore[attr-defined]
        try:
            return flow_of(image1, image2)
        finally:
            del module.backbone.levels_for  # type: ignore[attr-defined]

    return fixed


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ckpt_path", required=True, type=Path)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    module = UnsupervisedFlow.load_from_checkpoint(options.ckpt_path)
    folder = required_data("benchmark sequences")
    sets = benchmark_sets(folder, "middlebury", "sintel", "kitti2012", "kitti2015", "chairs")
    if "sintel" in sets:
        sets |= {"sintel, two apart": two_apart(folder / "sintel")}
    methods = [*(with_levels(module, levels) for levels in LEVELS), network_flow(module), dis_flow]
    measured = {name: [errors(method, pairs) for method in methods] for name, pairs in sets.items()}
    rows: list[list[str | float]] = [[name, "mean", *(e.epe for e in found)] for name, found in measured.items()]
    rows += [
        [name, image, *(e.images[image] for e in found)]
        for name, found in measured.items()
        for image in found[0].images
    ]
    write_table(options.output, ["set", "image", *(f"{n} levels" for n in LEVELS), "by size", "OpenCV DIS"], rows)
    print((options.output / "table.md").read_text())


if __name__ == "__main__":
    main()

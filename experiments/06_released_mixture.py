# ruff: noqa: N999, an experiment is called by its number
"""How much of the released comparison is the operator, and how much is the penalty?

Question: the released code gives total variation forward differences of the full-size flow divided by its shorter side,
with edge weights outside, and the unrolled term un-normalised, zero-padded Sobel gradients at a quarter of the size, in
pixels, with edge weights inside. Here each penalty (total variation; the unrolled cost with T = 1, attached, with the
t = 0 term) is trained with each of these operators, and with experiment 04's.

Command: make reproduce EXP=06. Minutes on two quiet CPU cores, one process each: about 20, estimated from 0.1 s a step;
it goes on where it was left.

Held equal: network, data, photometric loss, visibility, optimizer, rate, ramp (those of experiment 04's search) and
steps (700 of 4 pairs). Each cell of operator and penalty gets 2 weights, in pixels per pixel and total variation's
unit, so that an operator's scale does not decide (threshold: 0.3 px/px, as in experiment 04); the best of validation by
experiment 04's rule (lowest EPE of occluded pixels among the settings within 5 % of `none` in EPE of all pixels; where
none is, lowest EPE of all pixels), seed 0, then runs with seeds 1 to 3 on the test split. Those seeds are compared. One
rate for all: a difference may be another at each one's own best rate. After so few steps occluded pixels are about as
wrong as with zero flow (its line is in the table): the figures tell the operators apart, not how good any of them is.
"""

import argparse
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch

from experiments.bootstrap import relative_change
from experiments.flow_measures import measured
from experiments.flow_search import TOLERATED
from experiments.flow_training import descend, flow_model, training_batches
from experiments.grid import Results, Row, Value, check_again, run_grid
from experiments.results import RESULTS, write_table
from experiments.stored_layers import SIZE, StoredLayers
from unrollflow import losses
from unrollflow.losses.smoothness import EdgePosition, GuideRange
from unrollflow.losses.unsupervised import Field, Unit
from unrollflow.ops.gradient import Operator

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RATE = 1.4e-3


class Mixture(NamedTuple):
    """Where and how a term sees the flow.

    Attributes:
        operator, edge_position, guide_range: of the term.
        field, unit: of the objective.
        ramp: what the operator makes of a flow that grows by 1 pixel a pixel.
    """

    operator: Operator
    edge_position: EdgePosition
    guide_range: GuideRange
    field: Field
    unit: Unit
    ramp: float


MIXTURES = {
    "experiment 04's": Mixture("forward", "inside", "unit", "raw", "pixels", 1.0),
    "released TV's": Mixture("forward", "outside", "unit", "flow", "side", 1 / min(SIZE)),
    "released unrolled's": Mixture("sobel_unnormalised", "inside", "unit", "raw", "pixels", 8.0),
}
WEIGHTS = (0.5, 1.5)
THRESHOLD = 0.3
"""Pixels per pixel."""

PENALTIES = ("tv", "unrolled")


def smoothness(mixture: Mixture, penalty: str, threshold: float) -> losses.Smoothness:
    """A penalty with an operator, of slope 1 (unrolled: lam = 1) in what the operator gives."""
    bend = threshold * mixture.ramp
    if penalty == "tv":
        return losses.TotalVariation(
            operator=mixture.operator, edge_position=mixture.edge_position, guide_range=mixture.guide_range
        )
    return losses.UnrolledTotalVariation(
        lam=1.0, rho=1 / bend, operator=mixture.operator, edge_position=mixture.edge_position,
        guide_range=mixture.guide_range,
    )  # fmt: skip


def train(
    *, mixture: str, penalty: str, weight: float, threshold: float, seed: int, steps: int, samples: int, images: int,
    split: str,
) -> Results:  # fmt: skip
    """Train once, and measure on a split; penalty "none" trains without smoothness."""
    torch.manual_seed(seed)
    chosen = MIXTURES[mixture]
    term = losses.NoSmoothness() if penalty == "none" else smoothness(chosen, penalty, threshold)
    model = flow_model(term, supervised=False, learning_rate=RATE, steps=steps)
    model.objective.smoothness_field, model.objective.smoothness_unit = chosen.field, chosen.unit
    for _ in descend(model, training_batches(samples, seed), steps=steps, weight=weight / chosen.ramp):
        pass
    data = StoredLayers(split="test" if split == "test" else "validation", length=images)
    found = measured(model, data, by_image=split == "test")
    # a boundary's threshold would be chosen on the data that it is measured on
    return {name: value for name, value in found.items() if not name.startswith("boundary")}


def search(mixture: str, penalty: str, size: dict[str, Value]) -> list[dict[str, Value]]:
    """The trials of one cell."""
    return [
        {"mixture": mixture, "penalty": penalty, "weight": weight, "threshold": THRESHOLD, "seed": 0, **size,
         "split": "validation"}
        for weight in WEIGHTS
    ]  # fmt: skip


def best(rows: Sequence[Row], bound: float) -> Row:
    """Experiment 04's rule, see the head of this file."""
    useful = [row for row in rows if row["results"]["epe"] <= TOLERATED * bound]
    return min(useful or rows, key=lambda row: row["results"]["epe_occ" if useful else "epe"])


def occluded(finals: Sequence[Row], mixture: str, penalty: str) -> np.ndarray:
    """Errors of occluded pixels (seeds, images); NaN where an image has none."""
    wanted = [r for r in finals if (r["settings"]["mixture"], r["settings"]["penalty"]) == (mixture, penalty)]
    return np.array([row["results"]["images"]["epe_occ"] for row in wanted], dtype=float)


def write_report(folder: Path, finals: Sequence[Row]) -> None:
    """Table and figure of the test errors, unrolled against total variation of the same operator."""
    none = [row for row in finals if row["settings"]["penalty"] == "none"]
    table: list[list[str | int | float]] = []
    figure, axis = plt.subplots(figsize=(9, 5), layout="constrained")
    for number, mixture in enumerate(dict.fromkeys(row["settings"]["mixture"] for row in finals)):
        for penalty in ("none", "tv", "unrolled"):
            own = [r for r in finals if (r["settings"]["mixture"], r["settings"]["penalty"]) == (mixture, penalty)]
            if not own:
                continue
            change, text = None, ""
            if penalty == "unrolled":
                change = relative_change(occluded(finals, mixture, penalty), occluded(finals, mixture, "tv"))
                text = f"{100 * change.estimate:+.2f} [{100 * change.low:+.2f}, {100 * change.high:+.2f}]"
                axis.errorbar(100 * change.estimate, number, xerr=100 * np.abs([
                    [change.estimate - change.low], [change.high - change.estimate]]), fmt="o", capsize=3,
                    label=mixture)  # fmt: skip
            means = [float(np.mean([row["results"][name] for row in own])) for name in ("epe", "epe_noc", "epe_occ")]
            chosen = own[0]["settings"]
            name = mixture if own[0] not in none else "-"
            table.append([name, penalty, chosen["weight"], chosen["threshold"], len(own), *means, text])
    zero = [finals[0]["results"][f"zero_{name}"] for name in ("epe", "epe_noc", "epe_occ")]
    table.append(["-", "zero flow", "", "", "", *zero, ""])
    headings = ["operator", "penalty", "weight", "threshold (px/px)", "seeds", "EPE (px)", "EPE visible (px)"]
    write_table(folder, [*headings, "EPE occluded (px)", "occluded: unrolled against TV (%, 95 %)"], table)
    axis.axvline(0, color="grey")
    axis.set(xlabel="change of the EPE of occluded pixels, unrolled against total variation (%); 95 % interval",
             ylabel="operator", yticks=[])  # fmt: skip
    axis.legend()
    figure.savefig(folder / "figure.png", dpi=80)
    plt.close(figure)


def main(*, smoke: bool = False, folder: Path = RESULTS / "06_released_mixture") -> None:
    """Run what is missing, then table and figure.

    Args:
        smoke: one operator, two steps.
        folder: to write to.
    """
    size: dict[str, Value] = {"steps": 2, "samples": 8, "images": 2} if smoke else {
        "steps": 700, "samples": 4000, "images": 128}  # fmt: skip
    mixtures = list(MIXTURES)[:1] if smoke else list(MIXTURES)
    images, seeds = (2, (1, 2)) if smoke else (256, (1, 2, 3))
    for split, length in (("train", size["samples"]), ("validation", size["images"]), ("test", images)):
        StoredLayers(split=split, length=int(length or 0))  # type: ignore[arg-type]  # a literal of the loop
    store, processes = folder / "rows.jsonl", 1 if smoke else os.cpu_count() or 1
    none = {"mixture": mixtures[0], "penalty": "none", "weight": 0.0, "threshold": 1.0, "seed": 0, **size,
            "split": "validation"}  # fmt: skip
    searches = [search(mixture, penalty, size)[: 1 if smoke else None] for mixture in mixtures for penalty in PENALTIES]
    trials = run_grid([none, *itertools.chain(*searches)], train, store, processes=processes, about="trials")
    winners, later = trials[:1], iter(trials[1:])
    for cells in searches:
        winners.append(best(list(itertools.islice(later, len(cells))), trials[0]["results"]["epe"]))
    cells = [{**row["settings"], "seed": seed, "images": images, "split": "test"} for seed in seeds for row in winners]
    finals = run_grid(cells, train, store, processes=processes, about="finals")
    write_report(folder, finals)
    if not smoke:
        check_again(finals, train, lambda results: float(results["epe"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    main()

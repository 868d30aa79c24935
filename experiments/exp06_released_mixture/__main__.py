"""Which part of the released comparison is due to the operator, and which part to the penalty?

Question: in the released code, total variation uses forward differences of the full-size flow divided by its shorter
side, with edge weights outside. The unrolled term uses un-normalised, zero-padded Sobel gradients at a quarter of the
size, in pixels, with edge weights inside. Here each penalty (total variation; the unrolled cost with T = 1, attached,
with the t = 0 term) is trained with each of these operators, and with that of experiment 04.

Command: make reproduce EXP=06. Minutes on two quiet CPU cores, one process each: about 42, estimated from 0.1 s a step;
finished runs are skipped.

Equal for all: network, data, photometric loss, visibility, optimizer, rate, ramp (those of the search of experiment 04)
and steps (1200 of 4 pairs, in trials and finals). Each penalty gets three weights with each operator, in pixels per
pixel and the unit of total variation, so that the scale of the operator has no effect (threshold: 0.3 px/px, as in
experiment 04). Sobel's weights are larger, because it responds little to changes from pixel to pixel. The rule of
experiment 04 chooses a weight on validation data, seed 0: lowest EPE of occluded pixels among the settings within 5 %
of `none` in EPE of all pixels; if there is none, lowest EPE of all pixels. It is run with seeds 1 to 3 and measured on
test samples with a separate seed. These seeds are compared; the intervals do not include the choice of the weights. All
runs have the same rate: with the best rate of each one, a difference may change.

In an earlier round (700 steps, two weights, other samples of the same test photographs; its rows are in the store), the
weights of the penalties differed by a factor of three. For this reason, it says little about the penalty.
"""

import argparse
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from experiments.common.flow_measures import measured
from experiments.common.flow_training import fit, flow_model, training_batches
from experiments.common.grid import Results, Row, Value, check_again, run_grid
from experiments.common.results import write_table
from experiments.common.stored_layers import SIZE, StoredLayers
from experiments.exp04_flow_ablation.search import useful, winner
from unrollflow import losses
from unrollflow.losses.smoothness import EdgePosition, GuideRange
from unrollflow.losses.unsupervised import Field, Unit
from unrollflow.metrics.paired import Interval, relative_change
from unrollflow.ops.gradient import Operator

RESULTS = Path(__file__).with_name("results")

RATE = 1.4e-3
TEST_SEED = 6
"""Seed of the test samples; experiments 04 and 09 use other seeds."""

FORWARD = (0.7, 1.1, 1.7)
SOBEL = (1.5, 3.0, 6.0)
"""Weights."""


class Mixture(NamedTuple):
    """Operator of a term and its settings.

    Attributes:
        operator, edge_position, guide_range: arguments of the term.
        field, unit: arguments of the objective.
        ramp: output of the operator for a flow that grows by 1 pixel per pixel.
        weights: weights of the trials.
    """

    operator: Operator
    edge_position: EdgePosition
    guide_range: GuideRange
    field: Field
    unit: Unit
    ramp: float
    weights: tuple[float, ...]


MIXTURES = {
    "experiment 04's": Mixture("forward", "inside", "unit", "raw", "pixels", 1.0, FORWARD),
    "released TV's": Mixture("forward", "outside", "unit", "flow", "side", 1 / min(SIZE), FORWARD),
    "released unrolled's": Mixture("sobel_unnormalised", "inside", "unit", "raw", "pixels", 8.0, SOBEL),
}


class Cell(NamedTuple):
    """An operator of :data:`MIXTURES` and a penalty."""

    mixture: str
    penalty: str


THRESHOLD = 0.3
"""Pixels per pixel."""

PENALTIES = ("tv", "unrolled")
MEASURES = {"epe": "all", "epe_noc": "visible", "epe_occ": "occluded"}


def smoothness(mixture: Mixture, penalty: str, threshold: float) -> losses.Smoothness:
    """Return a penalty with an operator; its slope is 1 (unrolled: lam = 1) in the output of the operator."""
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
    split: str, data_seed: int = 0,
) -> Results:  # fmt: skip
    """Train once, and measure on a split's samples of a seed; penalty "none" trains without smoothness."""
    torch.manual_seed(seed)
    chosen = MIXTURES[mixture]
    term = losses.NoSmoothness() if penalty == "none" else smoothness(chosen, penalty, threshold)
    fields = {"smoothness_field": chosen.field, "smoothness_unit": chosen.unit}
    model = flow_model(term, learning_rate=RATE, steps=steps, weight=weight / chosen.ramp, **fields)
    fit(model, training_batches(samples, seed), steps=steps)
    data = StoredLayers(split="test" if split == "test" else "validation", length=images, seed=data_seed)
    found = measured(model, data, by_image=split == "test")
    # the threshold of boundaries would be chosen on the measured data
    return {name: value for name, value in found.items() if not name.startswith("boundary")}


def search(mixture: str, penalty: str, size: dict[str, Value]) -> list[dict[str, Value]]:
    """Return the trials of one cell."""
    return [
        {"mixture": mixture, "penalty": penalty, "weight": weight, "threshold": THRESHOLD, "seed": 0, **size,
         "split": "validation"}
        for weight in MIXTURES[mixture].weights
    ]  # fmt: skip


def error(row: Row, measure: str) -> float:
    """Return an error of the split on which a run was measured."""
    return float(row["results"][measure])


def best(rows: Sequence[Row], bound: float) -> Row:
    """Choose by the rule of experiment 04; see the module docstring."""
    return winner(rows, bound, error)


def write_search(folder: Path, trials: Sequence[Row]) -> None:
    """Write every trial on validation data: first `none`, whose EPE decides which other trials are eligible."""
    within = useful(trials, error(trials[0], "epe"), error)
    lines: list[list[str | int | float]] = []
    for row in trials:
        settings, results = row["settings"], row["results"]
        mixture = settings["mixture"] if settings["penalty"] != "none" else "-"
        cell = [mixture, settings["penalty"], settings["weight"]]
        lines.append([*cell, *(results[name] for name in MEASURES), "yes" if row in within else "no"])
    headings = ["operator", "penalty", "weight", *(f"EPE {name} (px)" for name in MEASURES.values())]
    write_table(folder, [*headings, "EPE within 5 % of none's"], lines)


def errors(finals: Sequence[Row], cell: Cell, measure: str) -> np.ndarray:
    """Return the errors of a cell (seeds, images); NaN if undefined for an image."""
    return np.array([row["results"]["images"][measure] for row in of_cell(finals, cell)], dtype=float)


def of_cell(finals: Sequence[Row], cell: Cell) -> list[Row]:
    """Return the finals of a cell."""
    return [row for row in finals if Cell(row["settings"]["mixture"], row["settings"]["penalty"]) == cell]


def change(finals: Sequence[Row], before: Cell, after: Cell, measure: str) -> Interval:
    """Return the relative change of an error from one cell to another, per cent."""
    return Interval(*(100 * v for v in relative_change(*(errors(finals, cell, measure) for cell in (after, before)))))


def penalty_change(finals: Sequence[Row], mixture: str, measure: str) -> Interval:
    """Return the change from total variation to the unrolled penalty, with the same operator."""
    return change(finals, Cell(mixture, "tv"), Cell(mixture, "unrolled"), measure)


def write_shares(folder: Path, finals: Sequence[Row]) -> None:
    """Write the effects of the two changes of the released comparison one after the other, in both orders."""
    (start, middle), (other, end) = (
        [Cell(mixture, penalty) for penalty in PENALTIES] for mixture in list(MIXTURES)[1:]
    )
    steps = {
        "as released: operator and penalty": (start, end),
        "the penalty, with the operator of total variation": (start, middle),
        "... then the operator": (middle, end),
        "the operator, with total variation": (start, other),
        "... then the penalty": (other, end),
    }
    lines: list[list[str | int | float]] = [
        [
            name,
            *(chosen_weight(finals, cell) for cell in ends),
            *(written(change(finals, *ends, one)) for one in MEASURES),
        ]
        for name, ends in steps.items()
    ]
    headings = [
        "what changes",
        "weight before",
        "weight after",
        *(f"EPE {name} (%, 95 %)" for name in MEASURES.values()),
    ]
    write_table(folder, headings, lines)


def chosen_weight(finals: Sequence[Row], cell: Cell) -> float:
    """Return the chosen weight of a cell."""
    return float(of_cell(finals, cell)[0]["settings"]["weight"])


def write_report(folder: Path, finals: Sequence[Row]) -> None:
    """Write table and figure of the test errors, unrolled against total variation with the same operator."""
    mixtures = list(dict.fromkeys(row["settings"]["mixture"] for row in finals))
    table: list[list[str | int | float]] = []
    for mixture in mixtures:
        for penalty in ("none", *PENALTIES):
            own = of_cell(finals, Cell(mixture, penalty))
            if own:
                means = [float(np.mean([row["results"][name] for row in own])) for name in MEASURES]
                name, weight = mixture if penalty != "none" else "-", own[0]["settings"]["weight"]
                changes = [""] * len(MEASURES)
                if penalty == "unrolled":
                    changes = [written(penalty_change(finals, mixture, measure)) for measure in MEASURES]
                table.append([name, penalty, weight, len(own), *means, *changes])
    zero = [finals[0]["results"][f"zero_{name}"] for name in MEASURES]
    table.append(["-", "zero flow", "", "", *zero, *[""] * len(MEASURES)])
    headings = ["operator", "penalty", "weight", "seeds", *(f"EPE {name} (px)" for name in MEASURES.values())]
    headings += [f"{name}: unrolled against TV (%, 95 %)" for name in MEASURES.values()]
    write_table(folder, headings, table)
    draw(folder / "figure.png", finals, mixtures)


def written(interval: Interval) -> str:
    """Return an interval in per cent as text."""
    return f"{interval.estimate:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def draw(path: Path, finals: Sequence[Row], mixtures: Sequence[str]) -> None:
    """Draw the change of each error for each operator, with its interval."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for place, (measure, name) in enumerate(MEASURES.items()):
        intervals = [penalty_change(finals, mixture, measure) for mixture in mixtures]
        middle, low, high = (np.array(values) for values in zip(*intervals, strict=True))
        y = np.arange(len(mixtures)) + 0.15 * (place - 1)
        axes.errorbar(middle, y, xerr=[middle - low, high - middle], fmt="o", capsize=3, label=f"{name} pixels")
    axes.axvline(0, color="grey", label="total variation, same operator")
    axes.set_yticks(range(len(mixtures)), [labelled(finals, mixture) for mixture in mixtures])
    axes.invert_yaxis()
    axes.set(
        xlabel="change of EPE from total variation to the unrolled penalty (%), 95 % over seeds and images",
        ylabel="operator (weight: total variation's, unrolled's)",
    )
    axes.legend()
    figure.savefig(path, dpi=110)


def labelled(finals: Sequence[Row], mixture: str) -> str:
    """Return the name of an operator with the chosen weights."""
    weights = [chosen_weight(finals, Cell(mixture, penalty)) for penalty in PENALTIES]
    return f"{mixture}\n({weights[0]:g}, {weights[1]:g})"


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Run the missing cells, then write tables and figure.

    Args:
        smoke: use one weight and two steps.
        folder: output folder.
    """
    steps, samples, images, test_images = (2, 8, 2, 2) if smoke else (1200, 4000, 128, 256)
    seeds = (1, 2) if smoke else (1, 2, 3)
    size: dict[str, Value] = {"steps": steps, "samples": samples, "images": images}
    StoredLayers(split="train", length=samples)  # rendered once, before several processes start
    StoredLayers(split="validation", length=images)
    StoredLayers(split="test", length=test_images, seed=TEST_SEED)
    store, processes = folder / "rows.jsonl", 1 if smoke else os.cpu_count() or 1
    none = {"mixture": next(iter(MIXTURES)), "penalty": "none", "weight": 0.0, "threshold": 1.0, "seed": 0, **size,
            "split": "validation"}  # fmt: skip
    searches = [search(mixture, penalty, size)[: 1 if smoke else None] for mixture in MIXTURES for penalty in PENALTIES]
    trials = run_grid([none, *itertools.chain(*searches)], train, store, processes=processes, about="trials")
    winners, later = trials[:1], iter(trials[1:])
    for cells in searches:
        winners.append(best(list(itertools.islice(later, len(cells))), error(trials[0], "epe")))
    measured_on: dict[str, Value] = {"images": test_images, "split": "test", "data_seed": TEST_SEED}
    cells = [{**row["settings"], **measured_on, "seed": seed} for seed in seeds for row in winners]
    finals = run_grid(cells, train, store, processes=processes, about="finals")
    write_search(folder / "search", trials)
    write_report(folder, finals)
    write_shares(folder / "shares", finals)
    if not smoke:
        check_again(finals, train, lambda results: float(results["epe"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    main()

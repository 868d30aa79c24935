"""The figure of experiment 04."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.common.grid import Row
from experiments.exp04_flow_ablation.finals import SPLITS, compared, final_rows
from experiments.exp04_flow_ablation.search import (
    RIVALS,
    TOLERATED,
    alike,
    error,
    finalist,
    long_rows,
    lowest,
    mean_error,
    ramped,
    scan_rows,
    search_rows,
)

matplotlib.use("Agg")  # also works without a display

COLOURS = {"none": "0.5", "hard": "tab:blue", "unrolled": "tab:orange", "supervised": "tab:green"}
PAPER = -15.82
"""Change of the EPE of occluded pixels against total variation that the paper highlights, per cent."""

MARKS = {"tv": "o", "charbonnier": "s", "huber": "^", "unrolled": "D"}


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Draw change and learning curves of the finals; occluded pixels against the weight, and against all pixels."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    (change, curves), (weights, price) = figure.subplots(2, 2)
    draw_change(change, rows)
    draw_curves(curves, rows)
    draw_search(weights, rows)
    draw_price(price, rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def draw_change(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the change of each family's errors against the hard finalist, with the 95 % interval."""
    rivals = [family for family in COLOURS if family != "hard" and final_rows(rows, family)]
    measures = {"epe_occ": "occluded", "epe_noc": "visible", "epe": "all"}
    bars = [(family, split) for family in rivals for split in SPLITS] if final_rows(rows, "hard") else []
    for place, (family, split) in enumerate(bars):
        changes = [compared(rows, family, measure, split) for measure in measures]
        x = np.arange(len(measures)) + 0.1 * (place - (len(bars) - 1) / 2)
        middle, low, high = (100 * np.array(values) for values in zip(*changes, strict=True))
        axes.errorbar(
            x, middle, [middle - low, high - middle], fmt="o" if split == "test" else "x", capsize=3,
            color=COLOURS[family], label=f"{family}, {split}",
        )  # fmt: skip
    axes.axhline(0, color=COLOURS["hard"], label="hard")
    axes.axhline(PAPER, color="k", ls=":", label="occluded: largest gain in the paper")
    axes.set_xticks(range(len(measures)), measures.values())
    runs = len(final_rows(rows, "hard"))
    title = f"finals: 95 % over {runs} seeds, of test also over images" if runs else "no finals yet"
    axes.set(xlabel="pixels", ylabel="change of EPE against the hard finalist (%)", title=title)
    axes.legend(fontsize="x-small", ncols=2)


def draw_curves(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw occluded validation EPE against steps: mean and range of the seeds; without finals, of the best trial."""
    finals = any(final_rows(rows, family) for family in RIVALS)
    for family, colour in COLOURS.items():
        runs = final_rows(rows, family) if finals else [finalist(rows, family)] if search_rows(rows, family) else []
        if not runs:
            continue
        steps = runs[0]["results"]["curve"]["step"]
        curves = np.array([row["results"]["curve"]["epe_occ"] for row in runs])
        axes.plot(steps, curves.mean(axis=0), color=colour, label=f"{family} (n = {len(runs)})")
        axes.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.2)
    if rows:
        axes.axhline(rows[0]["results"]["validation"]["zero_epe_occ"], color="k", ls=":", label="zero flow")
    title = "finals: mean and range of the seeds" if finals else "best trial of each family so far"
    axes.set(xlabel="training steps", ylabel="EPE of occluded pixels (px), validation", title=title)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="small")


def draw_search(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the error of occluded pixels of every trial against its weight; other weights of the finalists as lines."""

    def weight(row: Row) -> float:
        return float(row["settings"]["weight"])

    scatter(axes, rows, weight)
    draw_weights(axes, rows, weight)
    none = search_rows(rows, "none")
    if none:
        best = finalist(rows, "none")
        axes.axhline(error(best, "epe_occ"), color=COLOURS["none"], ls="--", label="none (of the trials)")
        axes.axhline(best["results"]["validation"]["zero_epe_occ"], color="k", ls=":", label="zero flow")
    axes.set(
        xscale="log", xlabel="weight of the term (unit of total variation)",
        ylabel="EPE of occluded pixels (px), validation", title="search: every trial, and the finalists' other weights",
    )  # fmt: skip
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="x-small")


def draw_price(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw the errors of occluded and of all pixels of each trial; trials to the right of the line are not eligible."""

    def price(row: Row) -> float:
        return error(row, "epe")

    scatter(axes, rows, price)
    draw_weights(axes, rows, price)
    none = search_rows(rows, "none")
    if none:
        errors = [[error(row, name) for row in none] for name in ("epe", "epe_occ")]
        named = [
            axes.scatter(*errors, marker="x", color=COLOURS["none"], label="none"),
            axes.axvline(TOLERATED * lowest(none), color="k", label="trials: within 5 % of none's best"),
        ]
        for row in long_rows(rows, "none"):
            epe, occluded = (error(row, name) for name in ("epe", "epe_occ"))
            label = "none, as long as the finals"
            named += [
                axes.scatter(epe, occluded, marker="+", color=COLOURS["none"], label=label),
                axes.axvline(TOLERATED * epe, color="k", ls="--", label="as long: within 5 % of it"),
            ]
        axes.legend(handles=named, fontsize="x-small")  # the other panel names the others
    axes.set(
        xlabel="EPE of all pixels (px), validation", ylabel="EPE of occluded pixels (px), validation",
        title="the same: what occluded pixels gain, and all pixels pay",
    )  # fmt: skip


def draw_weights(axes: Axes, rows: Sequence[Row], place: Callable[[Row], float]) -> None:
    """Draw the finalists with other weights as lines, for the length of a trial and for the length of a final."""
    for family in RIVALS:
        short, long = scan_rows(rows, family), long_rows(rows, family)
        rising, steep = ([row for row in short if ramped(row) == on] for on in (True, False))
        for runs, dashes, words in (
            (rising, "-", "ramped"), (steep, ":", "from the first step"), (long, "--", "as long as the finals"),
        ):  # fmt: skip
            points = [
                (float(np.mean([place(row) for row in group])), mean_error(group, "epe_occ")) for group in alike(runs)
            ]
            if points:
                label = f"{family} finalist, {words}"
                axes.plot(*zip(*points, strict=True), dashes, marker=".", color=COLOURS[family], label=label)


def scatter(axes: Axes, rows: Sequence[Row], place: Callable[[Row], float]) -> None:
    """Draw the error of occluded pixels of every trial at a position along x."""
    for family in RIVALS:
        for term, mark in MARKS.items():
            trials = [row for row in search_rows(rows, family) if row["settings"]["term"] == term]
            if trials:
                heights = [error(row, "epe_occ") for row in trials]
                axes.scatter([place(row) for row in trials], heights, marker=mark, color=COLOURS[family], label=term,
                             alpha=0.7)  # fmt: skip

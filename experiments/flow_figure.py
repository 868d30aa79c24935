"""The figure of experiment 04."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.flow_search import RIVALS, final_rows, finalist, search_rows
from experiments.grid import Row

matplotlib.use("Agg")  # a machine without a display draws, too

COLOURS = {"none": "0.5", "hard": "tab:blue", "unrolled": "tab:orange", "supervised": "tab:green"}
MARKS = {"tv": "o", "charbonnier": "s", "huber": "^", "unrolled": "D"}


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Learning curves, then the error against the weight in the search: occluded and all pixels."""
    figure = Figure(figsize=(13.5, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    draw_curves(left, rows)
    draw_search(middle, rows, "epe_occ", "EPE of occluded pixels (px)")
    draw_search(right, rows, "epe", "EPE of all pixels (px)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def draw_curves(axes: Axes, rows: Sequence[Row]) -> None:
    """Occluded EPE on validation against steps: mean and range of the seeds; of the best trial where no final is."""
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


def draw_search(axes: Axes, rows: Sequence[Row], measure: str, label: str) -> None:
    """Every trial's error against its weight; `none` as a line."""
    for family in RIVALS:
        for term, mark in MARKS.items():
            trials = [row for row in search_rows(rows, family) if row["settings"]["term"] == term]
            weights = [row["settings"]["weight"] for row in trials]
            values = [row["results"]["validation"][measure] for row in trials]
            if trials:
                axes.scatter(weights, values, marker=mark, color=COLOURS[family], label=term, alpha=0.7)
    none = search_rows(rows, "none")
    if none:
        best = finalist(rows, "none")["results"]["validation"]
        axes.axhline(best[measure], color=COLOURS["none"], ls="--", label="none")
        axes.axhline(best[f"zero_{measure}"], color="k", ls=":", label="zero flow")
    axes.set(
        xscale="log", xlabel="weight of the term (unit of total variation)", ylabel=f"{label}, validation",
        title="search: every trial",
    )  # fmt: skip
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="small")

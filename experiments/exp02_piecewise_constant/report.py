"""Table and figure of experiment 02."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from scipy.stats import bootstrap

from experiments.common.grid import Row
from experiments.common.results import percent, write_table
from unrollflow.metrics.paired import Interval, relative_change

matplotlib.use("Agg")
from matplotlib import pyplot as plt

Cell = str | int | float


def median_interval(values: Sequence[float]) -> Interval:
    """Return the median with a 95 % bootstrap interval (percentile) over the values."""
    low, high = bootstrap((values,), np.median, method="percentile", rng=0).confidence_interval
    return Interval(float(np.median(values)), float(low), float(high))


def steps_text(values: Sequence[int], limit: int) -> str:
    """Return the median steps with their interval as text; steps over the limit were not reached."""
    texts = [f"{value:.0f}" if value <= limit else f">{limit}" for value in median_interval(values)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def write_report(folder: Path, descents: Sequence[Row], optima: Sequence[Row], finals: Sequence[Row]) -> None:
    """Write table.csv, table.md and figure.png.

    Args:
        folder: output folder.
        descents, optima: rows of part (a).
        finals: rows of part (b): the chosen settings of each penalty with several seeds; empty before part (b) has run.
    """
    rows: list[list[Cell]] = []
    for optimum in optima:
        sigma, errors = optimum["settings"]["sigma"], optimum["results"]
        rows.append(["descent", sigma, "exact TV", np.mean(errors["rmse"]), "", np.mean(errors["jumps"]), "", ""])
        of_sigma = [row for row in descents if row["settings"]["sigma"] == sigma]
        baseline = next(row for row in of_sigma if row["settings"]["penalty"] == "tv")
        rows += [descent_cells(row, baseline) for row in of_sigma]
    rows += network_rows(finals) if finals else []
    headings = [
        "part", "noise", "penalty", "RMSE", "RMSE against TV (%, 95 %)", "share of jumps found",
        "steps to 1 % of exact TV (median, 95 %)", "steps to 0.1 %",
    ]  # fmt: skip
    write_table(folder, headings, [[float(c) if isinstance(c, np.floating) else c for c in row] for row in rows])
    draw(folder, descents, optima, finals)


def descent_cells(row: Row, baseline: Row) -> list[Cell]:
    """Return the cells of a penalty, compared with the descent on total variation on the same signals."""
    settings, results = row["settings"], row["results"]
    change = relative_change([results["error_rmse"]], [baseline["results"]["error_rmse"]])
    return [
        "descent", settings["sigma"], settings["penalty"], np.mean(results["error_rmse"]), percent(change),
        np.mean(results["error_jumps"]), steps_text(results["speed_coarse"], settings["steps"]),
        steps_text(results["speed_fine"], settings["steps"]),
    ]  # fmt: skip


def by_penalty(finals: Sequence[Row], measure: str) -> dict[str, list[list[float]]]:
    """Return the values (seeds, signals) of each penalty."""
    names = dict.fromkeys(row["settings"]["penalty"] for row in finals)
    return {name: [r["results"][measure] for r in finals if r["settings"]["penalty"] == name] for name in names}


def network_rows(finals: Sequence[Row]) -> list[list[Cell]]:
    """Return part (b) of the table; the intervals are over seeds and signals."""
    errors, jumps = by_penalty(finals, "rmse"), by_penalty(finals, "jumps")
    sigma = finals[0]["settings"]["sigma"]
    return [
        ["network", sigma, name, np.mean(own), percent(relative_change(own, errors["tv"])), np.mean(jumps[name]),
         "", ""]
        for name, own in errors.items()
    ]  # fmt: skip


def draw(folder: Path, descents: Sequence[Row], optima: Sequence[Row], finals: Sequence[Row]) -> None:
    """Write figure.png: changes of the error, steps, and the networks."""
    figure, axes = plt.subplots(1, 3 if finals else 2, figsize=(19 if finals else 13, 6), layout="constrained")
    names = list(dict.fromkeys(row["settings"]["penalty"] for row in descents))
    places = {name: len(names) - index for index, name in enumerate(names)}
    for number, optimum in enumerate(optima):
        sigma = optimum["settings"]["sigma"]
        own = [row for row in descents if row["settings"]["sigma"] == sigma]
        base = next(row for row in own if row["settings"]["penalty"] == "tv")["results"]["error_rmse"]
        heights = [places[row["settings"]["penalty"]] + 0.2 * (number - 1) for row in own]
        changes = [relative_change([row["results"]["error_rmse"]], [base]) for row in own]
        bars(axes[0], changes, heights, f"noise {sigma:g}", factor=100)
        counts = [median_interval(row["results"]["speed_coarse"]) for row in own]
        bars(axes[1], counts, heights, f"noise {sigma:g}")
    errors = by_penalty(finals, "rmse")
    if errors:
        changes = [relative_change(own, errors["tv"]) for own in errors.values()]
        bars(axes[2], changes, [places[name] for name in errors], "mean of seeds", factor=100)
    limit = descents[0]["settings"]["steps"]
    axes[1].axvline(limit + 1, color="grey", linestyle=":", label="not reached")
    labels = ("change of the error against TV's descent (%)", "steps to within 1 % of exact TV")
    for axis, label in zip(axes, (*labels, "change of the error against TV's network (%)"), strict=False):
        axis.set(xlabel=f"{label}; 95 % interval", yticks=list(places.values()), yticklabels=list(places))
        axis.grid(axis="x", alpha=0.3)
        axis.legend(*axis.get_legend_handles_labels())
    axes[0].set_title("descent, settings chosen for error")
    axes[1].set_title("descent, settings chosen for speed")
    if finals:
        axes[2].set_title("network without clean targets, noise 0.1")
    figure.savefig(folder / "figure.png", dpi=80)
    plt.close(figure)


def bars(
    axis: plt.Axes, intervals: Sequence[Interval], heights: Sequence[float], label: str, *, factor: float = 1.0
) -> None:
    """Draw estimates with their intervals, one below the other."""
    values = factor * np.array([tuple(interval) for interval in intervals])
    distances = np.abs(values[:, 1:] - values[:, :1]).T
    axis.errorbar(values[:, 0], heights, xerr=distances, fmt="o", label=label, capsize=2)

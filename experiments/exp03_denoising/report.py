"""Table and figure of experiment 03."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from scipy.stats import bootstrap

from experiments.common.grid import Row
from experiments.common.results import write_table
from unrollflow.metrics.paired import Interval

matplotlib.use("Agg")
from matplotlib import pyplot as plt

Cell = str | int | float


def mean_difference(ours: Sequence[float], baseline: Sequence[float]) -> Interval:
    """Return the mean paired difference with a 95 % bootstrap interval over photographs."""
    differences = np.asarray(ours) - np.asarray(baseline)
    if not differences.any():
        return Interval(0.0, 0.0, 0.0)
    low, high = bootstrap((differences,), np.mean, method="percentile", rng=0).confidence_interval
    return Interval(float(differences.mean()), float(low), float(high))


def seed_mean(rows: Sequence[Row], name: str, measure: str) -> list[float]:
    """Return the mean of each photograph over the seeds of the networks of a penalty."""
    values = [row["results"][measure] for row in rows if row["settings"]["penalty"] == name]
    return [float(value) for value in np.mean(values, axis=0)]


def cells(part: str, level: int, name: str, own: Mapping[str, list[float]], base: list[float]) -> list[Cell]:
    """Return one row of the table."""
    change = mean_difference(own["psnr"], base)
    text = f"{change.estimate:+.2f} [{change.low:+.2f}, {change.high:+.2f}]"
    return [part, level, name, float(np.mean(own["psnr"])), text, float(np.mean(own["ssim"]))]


def write_report(
    folder: Path, descents: Sequence[Row], references: Mapping[str, Sequence[Row]], finals: Sequence[Row]
) -> None:
    """Write table.csv, table.md and figure.png.

    Args:
        folder: output folder.
        descents: rows, one for each penalty and level.
        references: rows by name, one for each level.
        finals: rows of networks: the chosen settings of each penalty with several seeds; empty before they have run.
    """
    entries = [("descent", row["settings"]["level"], row["settings"]["penalty"], row["results"]) for row in descents]
    entries += [("", r["settings"]["level"], name, r["results"]) for name, rows in references.items() for r in rows]
    base = {level: own["psnr"] for _, level, name, own in entries if name == "tv"}
    table = [cells(part, level, name, own, base[level]) for part, level, name, own in sorted(entries, key=by_level)]
    for name in dict.fromkeys(row["settings"]["penalty"] for row in finals):
        own = {measure: seed_mean(finals, name, measure) for measure in ("psnr", "ssim")}
        level = finals[0]["settings"]["level"]
        table.append(cells("network", level, name, own, seed_mean(finals, "tv", "psnr")))
    headings = ["part", "noise (of 255)", "penalty", "PSNR (dB)", "PSNR minus TV's of the same part (95 %)", "SSIM"]
    write_table(folder, headings, table)
    draw(folder, entries, base, finals)


def by_level(entry: tuple[str, int, str, object]) -> int:
    """Return the first sort key of the table; Python's sort keeps the order of the rest."""
    return entry[1]


def draw(
    folder: Path, entries: Sequence[tuple[str, int, str, dict[str, list[float]]]], base: Mapping[int, list[float]],
    finals: Sequence[Row],
) -> None:  # fmt: skip
    """Write figure.png: differences to the descent on total variation, and to the network of total variation."""
    figure, axes = plt.subplots(1, 2 if finals else 1, figsize=(14 if finals else 8, 6), layout="constrained")
    axes = np.atleast_1d(axes)
    names = [name for name in dict.fromkeys(entry[2] for entry in entries) if name != "noisy"]
    places = {name: len(names) - index for index, name in enumerate(names)}
    for number, level in enumerate(base):
        own = [entry for entry in entries if entry[1] == level and entry[2] != "noisy"]
        changes = [mean_difference(entry[3]["psnr"], base[level]) for entry in own]
        heights = [places[entry[2]] + 0.2 * (number - 1) for entry in own]
        bars(axes[0], changes, heights, f"noise {level} of 255")
    learnt = list(dict.fromkeys(row["settings"]["penalty"] for row in finals))
    if learnt:
        changes = [mean_difference(seed_mean(finals, name, "psnr"), seed_mean(finals, "tv", "psnr")) for name in learnt]
        bars(axes[1], changes, [places[name] for name in learnt], "mean of seeds")
    for axis, title in zip(axes, ("descent", "network without clean targets, noise 25 of 255"), strict=False):
        axis.set(title=title, yticks=list(places.values()), yticklabels=names)
        axis.set_xlabel("PSNR minus that of total variation (dB); 95 % interval over photographs")
        axis.grid(axis="x", alpha=0.3)
        axis.legend(*axis.get_legend_handles_labels())
    figure.savefig(folder / "figure.png", dpi=80)
    plt.close(figure)


def bars(axis: plt.Axes, intervals: Sequence[Interval], heights: Sequence[float], label: str) -> None:
    """Draw estimates with their intervals, one below the other."""
    values = np.array([tuple(interval) for interval in intervals])
    axis.errorbar(values[:, 0], heights, xerr=np.abs(values[:, 1:] - values[:, :1]).T, fmt="o", label=label, capsize=2)

"""Figure of experiment 07: curves of the optimizers, terms, and three lessons on descent."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes

from experiments.common.grid import Row

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def draw(folder: Path, pair: str, best: Sequence[Row], terms: Sequence[Row], lessons: Sequence[Row]) -> None:
    """Write figure.png.

    Args:
        folder: output folder.
        pair: the drawn pair.
        best: rows of optimizers, one for each.
        terms: rows of smoothness terms.
        lessons: rows of the lessons.
    """
    figure, axes = plt.subplots(2, 3, figsize=(16, 9), layout="constrained")
    curves(axes[0], [row for row in best if row["settings"]["pair"] == pair])
    roughness(axes[1, 0], [row for row in terms if row["settings"]["pair"] == pair])
    searches(axes[1, 1], lessons)
    gradients(axes[1, 2], lessons)
    figure.suptitle(f"{pair}: L1 differences of colour and smoothness of the flow, minimised directly")
    figure.savefig(folder / "figure.png", dpi=90)
    plt.close(figure)


def curves(axes: Sequence[Axes], rows: Sequence[Row]) -> None:
    """Draw energy against steps and CPU seconds, and error against steps, of each optimizer."""
    for row in rows:
        name, results = row["settings"]["optimizer"], row["results"]
        label = name if name == "primal-dual" else f"{name}, rate {row['settings']['rate']:g}"
        style = {"color": "black", "linestyle": "--"} if name == "primal-dual" else {}
        steps = range(1, len(results["energy"]) + 1)
        axes[0].plot(steps, results["energy"], label=label, **style)
        axes[1].plot(results["cpu_seconds"], results["energy"], **style)
        axes[2].plot(results["epe_steps"], results["epe"], **style)
    labels = (("step (primal-dual: warp)", "energy"), ("CPU seconds", "energy"), ("step", "end-point error (px)"))
    for axis, (x, y) in zip(axes, labels, strict=True):
        axis.set(xlabel=x, ylabel=y)
    axes[0].legend(fontsize="small")


def roughness(axis: Axes, rows: Sequence[Row]) -> None:
    """Draw the error against the total variation of the flow: terms are compared at equal total variation."""
    for term in dict.fromkeys(row["settings"]["term"] for row in rows):
        own = [row["results"] for row in rows if row["settings"]["term"] == term]
        axis.plot([r["roughness"] for r in own], [r["epe"] for r in own], "o-", label=term)
    axis.set(xlabel="total variation of the flow (px per px)", ylabel="end-point error (px)", xscale="log")
    axis.legend(fontsize="small")


def searches(axis: Axes, rows: Sequence[Row]) -> None:
    """Draw the energy of descent at several rates, and of random search."""
    for row in rows:
        lesson, rate = row["settings"]["lesson"], row["settings"]["rate"]
        if "energy" in row["results"]:
            label = f"descent, rate {rate:g}" if lesson == "descent" else f"random moves of {rate:g} px"
            axis.plot(row["results"]["energy"], "--" if lesson == "random search" else "-", label=label)
    axis.set(xlabel="evaluations of the energy", ylabel="energy (an eighth of the size)", yscale="log")
    axis.legend(fontsize="small")


def gradients(axis: Axes, rows: Sequence[Row]) -> None:
    """Draw the error of central differences against their width."""
    own = [row for row in rows if "difference" in row["results"]]
    axis.loglog([row["settings"]["rate"] for row in own], [row["results"]["difference"] for row in own], "o-")
    axis.set(xlabel="half width of the differences (px)", ylabel="largest miss, as a share of the largest gradient")

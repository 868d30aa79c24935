"""Figure: confidence against the share of small errors, and sparsification curves with those of the oracle."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from experiments.confidence.signals import Pixels
from unrollflow.metrics import confidence_groups, sparsification_curve

POINTS = 200
"""Approximate number of points of a drawn curve."""


def write_figure(path: Path, sets: Mapping[str, Pixels]) -> None:
    """Draw each set in one colour."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    calibration, sparsification = figure.subplots(1, 2)
    calibration.plot([0, 1], [0, 1], "--", color="0.6", lw=0.8)
    for number, (name, pixels) in enumerate(sets.items()):
        groups = confidence_groups(pixels.error, pixels.confidence)
        calibration.plot([g.confidence for g in groups], [g.reached for g in groups], "o-", ms=3, label=name)
        for ranking, style in ((pixels.confidence, "-"), (-pixels.error, ":")):
            curve = sparsification_curve(pixels.error, ranking)
            chosen = range(len(curve) - 1, -1, -max(1, len(curve) // POINTS))
            removed = [100 * (1 - (i + 1) / len(curve)) for i in chosen]
            sparsification.plot(removed, [curve[i].item() for i in chosen], style, color=f"C{number}")
    calibration.set(xlabel="confidence, mean of a decile", ylabel="share of errors under 1 px", title="Calibration")
    sparsification.set(
        xlabel="least confident pixels that are removed (%)", ylabel="EPE (px)", title="Sparsification (dotted: oracle)"
    )
    calibration.legend()
    figure.savefig(path, dpi=110)

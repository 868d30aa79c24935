"""The finals of experiment 04, compared seed by seed and image by image."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.bootstrap import Interval, relative_change
from experiments.flow_search import FAMILY
from experiments.grid import Row


def final_rows(rows: Sequence[Row], family: str) -> list[Row]:
    """Finals of a family among any rows, by seed."""
    chosen = [row for row in rows if FAMILY[row["settings"]["term"]] == family and row["settings"].get("test_images")]
    return sorted(chosen, key=lambda row: row["settings"]["seed"])


def compared(rows: Sequence[Row], family: str, measure: str) -> Interval:
    """Relative change of a test error from the hard finals to a family's, on the seeds that both have."""
    ours, hard = ({row["settings"]["seed"]: row for row in final_rows(rows, name)} for name in (family, "hard"))
    both = sorted(ours.keys() & hard.keys())
    if not both:
        return Interval(math.nan, math.nan, math.nan)
    return relative_change(*(by_image([runs[seed] for seed in both], measure) for runs in (ours, hard)))


def by_image(rows: Sequence[Row], measure: str) -> NDArray[np.float64]:
    """Errors (runs, images) of test data; NaN where an image defines none."""
    return np.array([row["results"]["test"]["images"][measure] for row in rows], dtype=np.float64)


def steps_to(rows: Sequence[Row], family: str) -> str:
    """Median over seeds of the steps after which a family's validation EPE is at the hard finals' last, or "never"."""
    goal = mean([row["results"]["curve"]["epe"][-1] for row in final_rows(rows, "hard")])
    steps = [first_at(row, goal) for row in final_rows(rows, family)]
    median = float(np.median(steps))
    return "never" if math.isinf(median) else f"{median:.0f}"


def first_at(row: Row, goal: float) -> float:
    """The first step of a learning curve at which the EPE is at most a goal; infinite where there is none."""
    curve = row["results"]["curve"]
    return next((step for step, epe in zip(curve["step"], curve["epe"], strict=True) if epe <= goal), math.inf)


def mean(values: Sequence[float]) -> float:
    """Of some figures."""
    return float(np.mean(values))

"""Paired comparison of the finals of experiment 04, over seeds and images."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from experiments.common.grid import Row
from experiments.exp04_flow_ablation.search import FAMILY
from unrollflow.metrics.paired import Interval, relative_change

Split = Literal["test", "validation"]
SPLITS: tuple[Split, ...] = ("test", "validation")


def final_rows(rows: Sequence[Row], family: str) -> list[Row]:
    """Return the finals of a family, by seed."""
    chosen = [row for row in rows if FAMILY[row["settings"]["term"]] == family and row["settings"].get("test_images")]
    return sorted(chosen, key=lambda row: row["settings"]["seed"])


def compared(rows: Sequence[Row], family: str, measure: str, split: Split = "test") -> Interval:
    """Return the relative change of an error from the hard finals to a family's, on the common seeds.

    For validation data, the errors of single images are not stored, so the interval is over seeds only.
    """
    ours, hard = ({row["settings"]["seed"]: row for row in final_rows(rows, name)} for name in (family, "hard"))
    both = sorted(ours.keys() & hard.keys())
    if not both:
        return Interval(math.nan, math.nan, math.nan)
    return relative_change(*(errors([runs[seed] for seed in both], measure, split) for runs in (ours, hard)))


def errors(rows: Sequence[Row], measure: str, split: Split) -> NDArray[np.float64]:
    """Return the errors of test data (runs, images), NaN if undefined, or the means of validation data (runs, 1)."""
    if split == "validation":
        return np.array([[row["results"]["validation"][measure]] for row in rows], dtype=np.float64)
    return np.array([row["results"]["test"]["images"][measure] for row in rows], dtype=np.float64)


def steps_to(rows: Sequence[Row], family: str) -> str:
    """Return the steps until the validation EPE reaches the final one of the hard final of the seed: median, range."""
    goals = {row["settings"]["seed"]: row["results"]["curve"]["epe"][-1] for row in final_rows(rows, "hard")}
    runs = [row for row in final_rows(rows, family) if row["settings"]["seed"] in goals]
    steps = sorted(first_at(row, goals[row["settings"]["seed"]]) for row in runs)
    texts = ["never" if math.isinf(value) else f"{value:.0f}" for value in (np.median(steps), steps[0], steps[-1])]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def counts(rows: Sequence[Row], split: Split = "test") -> str:
    """Return in words whether the comparison is valid: hard is better than `none`, both are better than zero flow."""
    occluded = {
        family: mean([row["results"][split]["epe_occ"] for row in final_rows(rows, family)])
        for family in ("none", "hard", "unrolled")
    }
    zero = final_rows(rows, "hard")[0]["results"][split]["zero_epe_occ"]
    failed = [] if occluded["hard"] < occluded["none"] else ["hard is not better than none"]
    failed += [f"{name} is not better than zero flow" for name in ("hard", "unrolled") if occluded[name] >= zero]
    return "does not count: " + ", ".join(failed) if failed else "counts: hard beats none, both beat zero flow"


def first_at(row: Row, goal: float) -> float:
    """Return the first step of a learning curve with an EPE of at most the goal; infinite if there is none."""
    curve = row["results"]["curve"]
    return next((step for step, epe in zip(curve["step"], curve["epe"], strict=True) if epe <= goal), math.inf)


def mean(values: Sequence[float]) -> float:
    """Return the mean of some figures."""
    return float(np.mean(values))

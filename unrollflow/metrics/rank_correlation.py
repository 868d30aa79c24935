"""Rank correlations of label-free figures with the error, over runs."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from unrollflow.metrics.names import UNLABELLED

LEAST_RUNS = 3
"""Minimum number of runs; with two, the coefficient is always 1 or -1."""


class RankCorrelation(NamedTuple):
    """Rank correlation of two figures over runs.

    Attributes:
        coefficient: Spearman's coefficient, 1: the same order, -1: the reverse order; NaN if undefined.
        runs: number of runs.
    """

    coefficient: float
    runs: int


def rank_correlation(figure: Sequence[float | None], error: Sequence[float | None]) -> RankCorrelation:
    """Spearman's rank correlation of two figures over the runs that have both.

    Args:
        figure, error: one value per run; None and NaN are omitted, infinity ranks last.

    Returns:
        the correlation; its coefficient is NaN for fewer than three runs, or if a figure is constant.

    Raises:
        ValueError: if the lengths differ.

    Source: Spearman, The proof and measurement of association between two things, 1904.

    >>> rank_correlation([0.1, 0.2, 0.9, None], [1.0, 1.5, 70.0, 3.0])
    RankCorrelation(coefficient=1.0, runs=3)
    """
    if len(figure) != len(error):
        raise ValueError(f"{len(figure)} figures, but {len(error)} errors; expected one of each per run.")
    pairs = [(f, e) for f, e in zip(figure, error, strict=True) if known(f) and known(e)]
    if len(pairs) < LEAST_RUNS or any(len(set(values)) == 1 for values in zip(*pairs, strict=True)):
        return RankCorrelation(math.nan, len(pairs))
    from scipy.stats import spearmanr  # imports for half a second

    return RankCorrelation(round(float(spearmanr(*zip(*pairs, strict=True)).statistic), 12), len(pairs))


def known(value: float | None) -> bool:
    """Whether a value is neither None nor NaN."""
    return value is not None and not math.isnan(value)


def rank_correlations(runs: Sequence[Mapping[str, float | None]], *, error: str = "epe") -> dict[str, RankCorrelation]:
    """Rank correlations of all label-free figures with an error, over runs.

    The figure with the highest correlation predicts the error best. Higher is better for `visible_fraction` and
    `motion`, lower for all others.

    Args:
        runs: figures of each run by name, as in metrics.json.
        error: name of the error, such as `epe_occ`.

    >>> runs = [{"epe": 1.0, "census": 0.2}, {"epe": 2.0, "census": 0.3}, {"epe": 3.0, "census": 0.1}]
    >>> rank_correlations(runs)["census"]
    RankCorrelation(coefficient=-0.5, runs=3)
    """
    errors = [run.get(error) for run in runs]
    names = (*UNLABELLED, "photometric")
    return {name: rank_correlation([run.get(name) for run in runs], errors) for name in names}

"""Which figure that needs no labels tells good runs from bad ones: its rank correlation with the error, over runs."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from unrollflow.metrics.names import UNLABELLED

LEAST_RUNS = 3
"""Of two, the ranks always agree or disagree."""


class RankCorrelation(NamedTuple):
    """How far one figure orders runs as another one does.

    Attributes:
        coefficient: Spearman's, 1: the same order, -1: the reverse; NaN where it is not defined.
        runs: how many it is of.
    """

    coefficient: float
    runs: int


def rank_correlation(figure: Sequence[float | None], error: Sequence[float | None]) -> RankCorrelation:
    """Spearman's rank correlation of two figures over the runs that have both.

    Args:
        figure, error: one value a run; None and NaN are omitted, infinity ranks last.

    Returns:
        its coefficient is NaN with fewer than three runs, or where one of the two is the same in all of them.

    Raises:
        ValueError: if they are not of the same runs.

    Source: Spearman, The proof and measurement of association between two things, 1904.

    >>> rank_correlation([0.1, 0.2, 0.9, None], [1.0, 1.5, 70.0, 3.0])
    RankCorrelation(coefficient=1.0, runs=3)
    """
    if len(figure) != len(error):
        raise ValueError(f"{len(figure)} figures, but {len(error)} errors: one of each is needed for every run.")
    pairs = [(f, e) for f, e in zip(figure, error, strict=True) if known(f) and known(e)]
    if len(pairs) < LEAST_RUNS or any(len(set(values)) == 1 for values in zip(*pairs, strict=True)):
        return RankCorrelation(math.nan, len(pairs))
    from scipy.stats import spearmanr  # half a second to import

    return RankCorrelation(round(float(spearmanr(*zip(*pairs, strict=True)).statistic), 12), len(pairs))


def known(value: float | None) -> bool:
    """Whether there is a value."""
    return value is not None and not math.isnan(value)


def rank_correlations(runs: Sequence[Mapping[str, float | None]], *, error: str = "epe") -> dict[str, RankCorrelation]:
    """The rank correlation of every figure without labels with an error, over runs.

    Trust the figure of the highest one; `visible_fraction` and `motion` are better when they are higher, all others
    when they are lower, as an error is.

    Args:
        runs: figures of each by name, as a run's metrics.json holds them.
        error: name of the error, such as `epe_occ`.

    >>> runs = [{"epe": 1.0, "census": 0.2}, {"epe": 2.0, "census": 0.3}, {"epe": 3.0, "census": 0.1}]
    >>> rank_correlations(runs)["census"]
    RankCorrelation(coefficient=-0.5, runs=3)
    """
    errors = [run.get(error) for run in runs]
    names = (*UNLABELLED, "photometric")
    return {name: rank_correlation([run.get(name) for run in runs], errors) for name in names}

import math

import pytest

from unrollflow.metrics.names import UNLABELLED
from unrollflow.metrics.rank_correlation import rank_correlation, rank_correlations


def test_the_order_counts_and_not_the_size() -> None:
    assert rank_correlation([1.0, 2.0, 3.0, 400.0], [0.1, 0.2, 0.21, 0.22]) == (1.0, 4)
    assert rank_correlation([3.0, 2.0, 1.0], [1.0, 10.0, 11.0]) == (-1.0, 3)


def test_one_exchange_among_four_by_hand() -> None:
    """1 - 6 (1 + 1) / (4 (16 - 1)) = 0.8."""
    assert rank_correlation([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]).coefficient == pytest.approx(0.8)


def test_runs_without_a_figure_are_left_out_and_broken_ones_rank_last() -> None:
    assert rank_correlation([1.0, None, 2.0, math.nan, 9.0], [1.0, 5.0, 2.0, 0.0, math.inf]) == (1.0, 3)


@pytest.mark.parametrize("figure", [[1.0, 2.0], [1.0, 1.0, 1.0], []])
def test_without_an_order_there_is_no_correlation(figure: list[float]) -> None:
    coefficient, runs = rank_correlation(figure, [float(i) for i in range(len(figure))])
    assert math.isnan(coefficient)
    assert runs == len(figure)


def test_figures_of_other_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="2 figures, but 3 errors"):
        rank_correlation([1.0, 2.0], [1.0, 2.0, 3.0])


def test_every_figure_without_labels_is_held_against_the_error() -> None:
    runs = [{name: i * (1.0 if name != "motion" else -1.0) for name in UNLABELLED} | {"epe_occ": i} for i in range(3)]
    found = rank_correlations(runs, error="epe_occ")
    assert set(found) == {*UNLABELLED, "photometric"}
    assert (found["census"].coefficient, found["motion"].coefficient) == (1.0, -1.0)
    assert found["photometric"].runs == 0

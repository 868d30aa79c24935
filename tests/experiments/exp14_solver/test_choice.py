import pytest

from experiments.common.grid import Results
from experiments.exp14_solver.__main__ import PRESET, mean_error, omitted_pairs


def found(a: float, b: float, other: float) -> Results:
    return {"errors": {"middlebury": {"a": a, "b": b}, "sintel": {"c": other}}, "seconds": 1.0}


def test_the_mean_error_is_the_geometric_mean_of_the_sets() -> None:
    assert mean_error(found(1.0, 3.0, 8.0)) == pytest.approx(4.0)


def test_the_omitted_pair_does_not_take_part_in_the_choice() -> None:
    rows = {PRESET: found(1.0, 1.0, 1.0), "fitted to a": found(0.1, 1.1, 1.0)}
    assert omitted_pairs(rows) == [["a", PRESET, 1.0, 1.0], ["b", "fitted to a", 1.1, 1.0]]


def test_without_benchmarks_no_choice_is_made() -> None:
    assert omitted_pairs({PRESET: {"errors": {"layers": {"0": 1.0}}, "seconds": 0.0}}) == []

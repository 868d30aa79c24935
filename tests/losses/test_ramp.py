"""A weight's rise."""

import pytest

from unrollflow.losses import Ramp


def test_it_rises_linearly_between_its_ends() -> None:
    assert [Ramp(start=100, steps=50).at(step) for step in (0, 99, 100, 125, 150, 10**6)] == [0, 0, 0, 0.5, 1, 1]


def test_without_steps_the_whole_weight_counts_from_the_start() -> None:
    assert [Ramp(start=3).at(step) for step in (2, 3)] == [0, 1]
    assert Ramp().at(0) == 1


@pytest.mark.parametrize("arguments", [{"start": -1}, {"steps": -1}])
def test_negative_numbers_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="both must be at least 0"):
        Ramp(**arguments)

import math
from collections.abc import Callable

import numpy as np
import pytest

from unrollflow.metrics.paired import Interval, mean_difference, relative_change


def test_a_constant_difference_is_certain() -> None:
    reference = np.random.default_rng(0).uniform(size=(3, 20))
    found = mean_difference(reference + 0.25, reference)
    assert found == pytest.approx((0.25, 0.25, 0.25))


def test_two_images_of_one_seed_by_hand() -> None:
    """Differences 0 and 2: mean 1, standard error 1, Student's quantile with one degree of freedom 12.706."""
    estimate, low, high = mean_difference([[1.0, 5.0]], [[1.0, 3.0]])
    assert estimate == 1.0
    assert high - estimate == pytest.approx(12.706, rel=0.05)
    assert estimate - low == pytest.approx(high - estimate)


def test_seeds_widen_the_interval() -> None:
    generator = np.random.default_rng(0)
    images = generator.normal(size=(1, 50))
    alike = mean_difference(np.repeat(images, 4, axis=0), np.zeros((4, 50)))
    varied = mean_difference(images + generator.normal(size=(4, 1)), np.zeros((4, 50)))
    assert varied.high - varied.low > alike.high - alike.low


def test_errors_that_both_methods_share_cancel() -> None:
    generator = np.random.default_rng(0)
    difficulty, noise = 10 * generator.uniform(size=(1, 30)), 0.01 * generator.normal(size=(2, 30))
    found = mean_difference(difficulty + 0.1 + noise, np.repeat(difficulty, 2, axis=0))
    assert 0 < found.low < 0.1 + 0.01 < found.high + 0.02 < 0.2


def test_an_image_without_an_error_is_omitted() -> None:
    found = mean_difference([[1.0, math.nan, 3.0]], [[0.0, math.nan, 2.0]])
    assert found == (1.0, 1.0, 1.0)


def test_one_value_has_no_interval() -> None:
    estimate, low, high = mean_difference([[2.0]], [[1.0]])
    assert estimate == 1.0
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("measure", [mean_difference, relative_change])
def test_what_cannot_be_compared_is_refused(measure: Callable[..., Interval]) -> None:
    with pytest.raises(ValueError, match="1 of 2 runs have failed: their errors are infinite"):
        measure([[1.0], [math.inf]], [[1.0], [1.0]])
    with pytest.raises(ValueError, match="no errors to compare"):
        measure([[math.nan]], [[1.0]])
    with pytest.raises(ValueError, match="expected equal shapes"):
        measure([[1.0]], [[1.0], [1.0]])

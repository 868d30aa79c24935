import numpy as np
import pytest

from experiments.exp02_piecewise_constant.exact_tv import energy, exact_total_variation


@pytest.mark.parametrize("weight", [0.05, 0.3, 2.0])
def test_the_optimum_fulfils_the_conditions_of_optimality(weight: float) -> None:
    generator = np.random.default_rng(0)
    noisy = np.repeat([0.0, 1.0, -0.5, 0.3], 12) + 0.2 * generator.standard_normal(48)
    solved = exact_total_variation(noisy, weight)
    dual = np.cumsum(solved - noisy)  # x - y = D' z summed up: -z between samples, and 0 at the end
    assert abs(dual[-1]) < 1e-10
    assert np.abs(dual[:-1]).max() <= weight + 1e-10
    jumps = np.abs(np.diff(solved)) > 1e-9
    assert jumps.any()
    np.testing.assert_allclose(dual[:-1][jumps], weight * np.sign(np.diff(solved))[jumps], atol=1e-9)


def test_two_levels_approach_each_other_by_weight_over_length() -> None:
    noisy = np.array([0.0, 0.0, 0.0, 6.0, 6.0])
    solved = exact_total_variation(noisy, 1.5)
    np.testing.assert_allclose(solved, [0.5, 0.5, 0.5, 5.25, 5.25], atol=1e-12)
    assert energy(solved, noisy, 1.5) == pytest.approx(3 * 0.5**2 / 2 + 2 * 0.75**2 / 2 + 1.5 * 4.75)


def test_a_great_weight_leaves_the_mean_and_none_changes_nothing() -> None:
    noisy = np.array([1.0, -2.0, 4.0])
    np.testing.assert_allclose(exact_total_variation(noisy, 100.0), [1.0, 1.0, 1.0], atol=1e-12)
    np.testing.assert_array_equal(exact_total_variation(noisy, 0.0), noisy)


@pytest.mark.parametrize(("noisy", "weight"), [([0.0, np.nan], 1.0), ([0.0], 1.0), ([[0.0, 1.0]], 1.0), ([0, 1], -1)])
def test_what_cannot_be_solved_is_refused(noisy: list[float], weight: float) -> None:
    with pytest.raises(ValueError, match="a vector of at least two finite numbers and a weight >= 0"):
        exact_total_variation(np.asarray(noisy), weight)

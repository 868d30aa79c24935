"""Intervals of the difference between two methods with the same seeds and images."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 4000


class Interval(NamedTuple):
    """Estimate with its confidence interval."""

    estimate: float
    low: float
    high: float


def relative_change(
    ours: ArrayLike, baseline: ArrayLike, *, draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> Interval:
    """Relative change of a mean error from a baseline to ours (-0.1: 10 % less), with its interval.

    Args:
        ours, baseline: (seeds, images), errors; NaN if an image does not define the error, in both.
        draws, level, seed: as in :func:`quotient_interval`.

    Raises:
        ValueError: if the shapes differ, no error is defined in both, or an error is infinite (a failed run).

    >>> relative_change([[0.5, 1.0]], [[1.0, 2.0]])
    Interval(estimate=-0.5, low=-0.5, high=-0.5)
    """
    a, b, defined = paired(ours, baseline)
    above, below = (np.where(defined, x, 0.0) for x in (a, b))
    # both have the same number of values, so the quotient of sums is the quotient of means
    return Interval(*(x - 1 for x in quotient_interval(above, below, draws=draws, level=level, seed=seed)))


def mean_difference(
    ours: ArrayLike, baseline: ArrayLike, *, draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> Interval:
    """Mean over seeds and images of ours - baseline, in the unit of the errors, with its interval.

    Args:
        ours, baseline: (seeds, images), errors; NaN if an image does not define the error, in both.
        draws, level, seed: as in :func:`quotient_interval`.

    Raises:
        ValueError: if the shapes differ, no error is defined in both, or an error is infinite (a failed run).

    >>> mean_difference([[1.5, 2.5]], [[1.0, 2.0]])
    Interval(estimate=0.5, low=0.5, high=0.5)
    """
    a, b, defined = paired(ours, baseline)
    above = np.where(defined, a - b, 0.0)
    return quotient_interval(above, defined.astype(np.float64), draws=draws, level=level, seed=seed)


def paired(ours: ArrayLike, baseline: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Both errors (seeds, images) and the mask of those defined in both; ValueError if they cannot be compared."""
    a, b = np.asarray(ours, np.float64), np.asarray(baseline, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"errors have shapes {a.shape} and {b.shape}; expected equal shapes (seeds, images).")
    broken = np.isinf(a) | np.isinf(b)
    if broken.any():
        raise ValueError(
            f"{broken.any(axis=1).sum()} of {len(a)} runs have failed: their errors are infinite, so means cannot be "
            "compared; report the number of failed runs, and compare the others."
        )
    defined = ~(np.isnan(a) | np.isnan(b))
    if not defined.any():
        raise ValueError(f"no errors to compare: none of {a.size} is defined in both.")
    return a, b, defined


def quotient_interval(
    above: NDArray[np.float64], below: NDArray[np.float64], *, draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> Interval:
    """Quotient of the sums of two arrays (seeds, images), and its interval over seeds and images.

    Seeds and images are resampled independently with replacement. A drawn image is used for every seed, because all
    seeds were measured on the same images, and both arrays use the same draws (paired). The two variances are added;
    this counts the interaction of seed and image twice, so the interval is slightly too wide. Quantiles over few seeds
    would give too narrow intervals (with five seeds, 87 % coverage instead of 95 %). Therefore, the variance over seeds
    is corrected by n / (n - 1), and the interval is Student's, with the combined degrees of freedom. With one seed, the
    interval covers images only; with one value, it is NaN. scipy's bootstrap only resamples along one axis.

    Args:
        above, below: (seeds, images); 0 in both if undefined.
        draws: number of draws of seeds, and of images.
        level: confidence level of the interval.
        seed: seed of the draws.

    Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (hierarchical data);
        Satterthwaite, Biometrics Bulletin 1946 (degrees of freedom of a sum of variances).
    """
    from scipy.stats import t as student_t  # imports for half a second

    estimate = float(above.sum() / below.sum())
    if above.size == 1:
        return Interval(estimate, math.nan, math.nan)
    generator = np.random.default_rng(seed)
    of_seeds, of_images = (
        drawn_variance(above.sum(axis=axis), below.sum(axis=axis), generator, draws) for axis in (1, 0)
    )
    freedom = [n - 1 for n in above.shape]
    parts = [v * n / (n - 1) if n > 1 else 0.0 for v, n in zip((of_seeds, of_images), above.shape, strict=True)]
    variance = sum(parts)
    if variance == 0:
        return Interval(estimate, estimate, estimate)
    degrees = variance**2 / sum(part**2 / n for part, n in zip(parts, freedom, strict=True) if n)
    half = float(student_t.ppf((1 + level) / 2, degrees)) * math.sqrt(variance)
    return Interval(estimate, estimate - half, estimate + half)


def drawn_variance(
    above: NDArray[np.float64], below: NDArray[np.float64], generator: np.random.Generator, draws: int
) -> float:
    """Variance of the quotient of two sums whose terms are resampled in pairs with replacement."""
    length = len(above)
    counts = generator.multinomial(length, np.full(length, 1 / length), size=draws).astype(np.float64)  # (draws, terms)
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw may have no defined values
        quotients = (counts @ above) / (counts @ below)
    return float(np.nanvar(quotients))

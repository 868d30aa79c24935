"""Intervals of the difference between two methods that were run on the same seeds and images."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 4000


class Interval(NamedTuple):
    """An estimate with the ends of its interval."""

    estimate: float
    low: float
    high: float


def relative_change(
    ours: ArrayLike, baseline: ArrayLike, *, draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> Interval:
    """Relative change of a mean error from a baseline to ours, -0.1 = 10 % less; its interval over seeds and images.

    Args:
        ours, baseline: (seeds, images), errors; NaN where an image defines none, in both.
        draws, level, seed: as of :func:`quotient_interval`.

    Raises:
        ValueError: if the shapes differ, nothing is defined in both, or an error is infinite: a run that broke down.

    >>> relative_change([[0.5, 1.0]], [[1.0, 2.0]])
    Interval(estimate=-0.5, low=-0.5, high=-0.5)
    """
    a, b, defined = paired(ours, baseline)
    above, below = (np.where(defined, x, 0.0) for x in (a, b))
    # the number of values is the same above and below: a quotient of sums is one of means
    return Interval(*(x - 1 for x in quotient_interval(above, below, draws=draws, level=level, seed=seed)))


def mean_difference(
    ours: ArrayLike, baseline: ArrayLike, *, draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> Interval:
    """Mean over seeds and images of ours - baseline, in the errors' unit, and its interval over seeds and images.

    Args:
        ours, baseline: (seeds, images), errors; NaN where an image defines none, in both.
        draws, level, seed: as of :func:`quotient_interval`.

    Raises:
        ValueError: if the shapes differ, nothing is defined in both, or an error is infinite: a run that broke down.

    >>> mean_difference([[1.5, 2.5]], [[1.0, 2.0]])
    Interval(estimate=0.5, low=0.5, high=0.5)
    """
    a, b, defined = paired(ours, baseline)
    above = np.where(defined, a - b, 0.0)
    return quotient_interval(above, defined.astype(np.float64), draws=draws, level=level, seed=seed)


def paired(ours: ArrayLike, baseline: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Both errors (seeds, images) and where both are defined; ValueError if they cannot be compared."""
    a, b = np.asarray(ours, np.float64), np.asarray(baseline, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"errors are {a.shape} and {b.shape}; both must be (seeds, images) of the same runs.")
    broken = np.isinf(a) | np.isinf(b)
    if broken.any():
        raise ValueError(
            f"{broken.any(axis=1).sum()} of {len(a)} runs have infinite errors: they broke down, and no mean of them "
            "can be compared; tell how many did, and compare the others."
        )
    defined = ~(np.isnan(a) | np.isnan(b))
    if not defined.any():
        raise ValueError(f"none of {a.size} errors is finite in both: nothing can be compared.")
    return a, b, defined


def quotient_interval(
    above: NDArray[np.float64], below: NDArray[np.float64], *, draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> Interval:
    """Quotient of the sums of two arrays (seeds, images), and its interval over seeds and images.

    Both levels are drawn with replacement, each by itself; a drawn image counts for every seed, because all seeds were
    measured on the same images, and both arrays get the same draws (paired). Their variances add up, which counts what
    seed and image share twice: the interval is rather too wide. Quantiles of few seeds' draws would be too narrow
    (of five seeds 87 % where 95 % are meant), so that the seeds' variance is that of n - 1 and the interval Student's,
    with the degrees of freedom of both. One seed alone tells about images only, one value in all
    about nothing (NaN). Written out, for scipy's bootstrap draws along one axis alone.

    Args:
        above, below: (seeds, images); 0 in both where nothing is defined.
        draws: how many of each level.
        level: of the interval.
        seed: of the draws.

    Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (hierarchical data);
        Satterthwaite, Biometrics Bulletin 1946 (degrees of freedom of a sum of variances).
    """
    from scipy.stats import t as student_t  # half a second to import

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
    """Variance of the quotient of two sums when their terms are drawn with replacement, in pairs."""
    length = len(above)
    counts = generator.multinomial(length, np.full(length, 1 / length), size=draws).astype(np.float64)  # (draws, terms)
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw may hold nothing that is defined
        quotients = (counts @ above) / (counts @ below)
    return float(np.nanvar(quotients))

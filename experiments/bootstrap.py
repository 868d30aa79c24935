"""How far a difference between two methods can be trusted, when both were run on the same seeds and images."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Interval(NamedTuple):
    """An estimate with the ends of its interval."""

    estimate: float
    low: float
    high: float


def relative_change(
    ours: ArrayLike, baseline: ArrayLike, *, draws: int = 10_000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Relative change of a mean error from a baseline to ours, -0.1 = 10 % less, with a two-level bootstrap interval.

    Seeds are drawn with replacement, and so are images; a drawn image counts for every drawn seed, because all seeds
    were measured on the same images: errors of one image go together, and drawing them apart would promise too much.
    Both methods get the same draws (paired). Written out, for scipy's bootstrap draws along one axis alone.

    Args:
        ours, baseline: (seeds, images), errors; NaN where an image defines none, in both.
        draws: how many.
        level: of the interval, between the quantiles (1 -+ level) / 2.
        seed: of the draws.

    Raises:
        ValueError: if the shapes differ, or nothing is defined in both.

    Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (hierarchical data).

    >>> relative_change([[0.5, 1.0]], [[1.0, 2.0]])
    Interval(estimate=-0.5, low=-0.5, high=-0.5)
    """
    a, b = np.asarray(ours, np.float64), np.asarray(baseline, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"errors are {a.shape} and {b.shape}; both must be (seeds, images) of the same runs.")
    defined = np.isfinite(a) & np.isfinite(b)
    if not defined.any():
        raise ValueError(f"none of {a.size} errors is finite in both: nothing can be compared.")
    sums_a, sums_b = (np.where(defined, x, 0.0) for x in (a, b))
    generator = np.random.default_rng(seed)
    seeds, images = (counts(generator, draws, length) for length in a.shape)
    # the number of values is the same above and below: a quotient of sums is one of means
    totals_a, totals_b = ((seeds @ sums * images).sum(axis=1) for sums in (sums_a, sums_b))  # (draws,)
    with np.errstate(invalid="ignore", divide="ignore"):
        changes = totals_a / totals_b - 1
    low, high = np.nanquantile(changes, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(sums_a.sum() / sums_b.sum() - 1), float(low), float(high))


def counts(generator: np.random.Generator, draws: int, length: int) -> NDArray[np.float64]:
    """How often each of `length` is drawn in each of `draws` drawings of as many, (draws, length)."""
    return generator.multinomial(length, np.full(length, 1 / length), size=draws).astype(np.float64)

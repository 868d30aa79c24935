"""Fronts: visible and occluded error of a smoothness term at each strength, and comparisons at equal visible error."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Errors = NDArray[np.float64]
"""(strengths, seeds, images), pixels; NaN where an image has no such pixel."""


class Mix(NamedTuple):
    """A point between two neighbouring strengths: (1 - share) of the lower one and share of the upper one."""

    lower: int
    share: float


def means(errors: Errors) -> NDArray[np.float64]:
    """Return the means over the images, (strengths, seeds)."""
    averages: NDArray[np.float64] = np.nanmean(errors, axis=2)
    return averages


def at_level(visible: Sequence[float], level: float) -> Mix | None:
    """Return the point of a front with a given visible error, at or above the strength with the smallest visible error.

    Below this strength, more smoothness reduces both errors; above it, it trades one for the other. Errors between two
    strengths are interpolated linearly.

    Args:
        visible: error at each strength, in rising order of strength.
        level: visible error.

    Returns:
        The first such point, or None if the front does not reach the level.

    >>> at_level([3.0, 1.0, 2.0, 4.0], 2.5)
    Mix(lower=2, share=0.25)
    >>> at_level([3.0, 1.0, 2.0, 4.0], 0.9)
    """
    start = int(np.argmin(visible))
    for lower in range(start, len(visible) - 1):
        below, above = visible[lower], visible[lower + 1]
        if below <= level <= above:
            return Mix(lower, (level - below) / (above - below) if above > below else 0.0)
    return None


def mixed(errors: Errors, mixes: Sequence[Mix | None]) -> NDArray[np.float64]:
    """Return the errors (seeds, images) at the point of each seed's front; NaN for a seed without one."""
    rows = []
    for seed, mix in enumerate(mixes):
        if mix is None:
            rows.append(np.full(errors.shape[2], math.nan))
            continue
        lower, upper = errors[mix.lower, seed], errors[mix.lower + 1, seed]
        rows.append((1 - mix.share) * lower + mix.share * upper)
    return np.array(rows)


def tolerated(strengths: Sequence[float], errors: Sequence[float], *, margin: float = 0.05) -> tuple[float, float]:
    """Return the range of strengths around the best one with errors within a margin of the best error.

    The ends are interpolated in the logarithm of the strength; an end outside the grid is 0 or infinite.

    >>> [round(end, 2) for end in tolerated([1.0, 10.0, 100.0], [1.1, 1.0, 1.1])]
    [3.16, 31.62]
    """
    best = int(np.argmin(errors))
    limit = (1 + margin) * errors[best]
    ends = []
    for step, beyond in ((-1, 0.0), (1, math.inf)):
        i, end = best, beyond
        while 0 <= i + step < len(errors):
            if errors[i + step] > limit:
                share = (limit - errors[i]) / (errors[i + step] - errors[i])
                end = float(strengths[i] * (strengths[i + step] / strengths[i]) ** share)
                break
            i += step
        ends.append(end)
    return ends[0], ends[1]

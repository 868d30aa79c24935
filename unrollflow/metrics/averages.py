"""Averages over images and over pixels, and confidence intervals."""

import math
from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def image_mean(means: Sequence[float]) -> float:
    """Mean over the images that define a measure (whose value is not NaN); NaN if there are none.

    >>> image_mean([1.0, 4.0, math.nan])
    2.5
    """
    known = [mean for mean in means if not math.isnan(mean)]
    return math.fsum(known) / len(known) if known else math.nan


def pooled_mean(means: Sequence[float], pixels: Sequence[float]) -> float:
    """Mean over all pixels of all images, from the mean and number of pixels of each image; NaN without pixels.

    >>> pooled_mean([1.0, 4.0, math.nan], [100, 200, 0])
    3.0
    """
    known = [(mean, count) for mean, count in zip(means, pixels, strict=True) if count]
    return math.fsum(m * n for m, n in known) / math.fsum(n for _, n in known) if known else math.nan


def bootstrap_interval(means: Sequence[float], *, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over images, from the mean of each image; NaN for less than two images.

    Args:
        means: one value per image; NaN is omitted.
        confidence: share of the resampled means inside the interval, between 0 and 1.
        seed: seed of the resampling: :data:`RESAMPLES` draws of all images with replacement.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    >>> bootstrap_interval([2.0, 2.0, math.nan])
    (2.0, 2.0)
    """
    from scipy.stats import bootstrap  # imports for half a second

    known = np.array([mean for mean in means if not math.isnan(mean)])
    if len(known) < 2:
        return math.nan, math.nan
    found = bootstrap(
        (known,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)

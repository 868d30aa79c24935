"""Detection of pairs that are useless for training: across scene cuts, and without motion."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from torch import Tensor

THUMBNAIL = (36, 64)
"""Height and width of the grey thumbnails that are compared; noise and compression artefacts average out."""

COARSE = (9, 16)
"""Height and width of coarse thumbnails, which motion changes only slightly, and a scene cut strongly."""

MOTION_QUANTILE = 0.99
SMALLEST_CHANGE = 1.0 / 255
"""A pair is motionless if 99 % of its thumbnail change by less than this (one step of 8 bits)."""

CUT_FACTOR = 3.0
"""Smallest ratio of the change across a cut to the median change between the surrounding frames."""

CUT_CORRELATION = 0.7
CUT_CHANGE = 0.06
"""A cut also needs a correlation below CUT_CORRELATION or a mean change above CUT_CHANGE (1: black to white)."""

NEIGHBOURHOOD = 4
"""Number of changes before and after a possible cut that it is compared with, without motionless pairs."""

Thumbnails = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class KeptPairs(NamedTuple):
    """First frames of the useful pairs of a clip, and the numbers of skipped pairs.

    Attributes:
        firsts: indices of first frames.
        breaks: pairs skipped because a new sequence begins, or frames are missing, between their frames.
        cuts: pairs skipped because of a scene cut between their frames.
        motionless: pairs skipped because there is no motion between their frames, such as duplicates.
    """

    firsts: list[int]
    breaks: int
    cuts: int
    motionless: int


def thumbnail(image: Tensor) -> Thumbnails:
    """Grey thumbnail (36, 64), float32 in [0, 1], of an image (3, H, W)."""
    grey = image.mean(dim=0).numpy()
    return cv2.resize(grey, THUMBNAIL[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)


def kept_pairs(thumbnails: Thumbnails, *, stride: int, breaks: Sequence[bool] = ()) -> KeptPairs:
    """Select the useful pairs (i, i + stride) of a clip.

    Args:
        thumbnails: (N, 36, 64), thumbnails of its frames in order.
        stride: distance between the frames of a pair, frames.
        breaks: N - 1 values, whether frames i and i + 1 are not consecutive; default: all are.

    >>> clip = np.stack([np.roll(np.eye(36, 64, dtype=np.float32), 4 * i, axis=1) for i in (0, 1, 1, 2)])
    >>> kept_pairs(clip, stride=1)
    KeptPairs(firsts=[0, 2], breaks=0, cuts=0, motionless=1)
    """
    cuts = scene_cuts(thumbnails)
    kept = KeptPairs([], 0, 0, 0)
    for first in range(len(thumbnails) - stride):
        if any(breaks[first : first + stride]):
            kept = kept._replace(breaks=kept.breaks + 1)
        elif cuts[first : first + stride].any():
            kept = kept._replace(cuts=kept.cuts + 1)
        elif is_motionless(thumbnails[first], thumbnails[first + stride]):
            kept = kept._replace(motionless=kept.motionless + 1)
        else:
            kept.firsts.append(first)
    return kept


def is_motionless(first: Thumbnails, second: Thumbnails) -> bool:
    """Whether two thumbnails differ by less than one step of 8 bits nearly everywhere."""
    return bool(np.quantile(np.abs(second - first), MOTION_QUANTILE) < SMALLEST_CHANGE)


def scene_cuts(thumbnails: Thumbnails) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Mask (N - 1,) bool of the cuts between frames i and i + 1, from thumbnails (N, 36, 64).

    A cut is a change that is much larger than those around it; fast motion changes many successive frames. Motionless
    pairs, as in repeated frames, are not compared.
    """
    coarse = np.stack([cv2.resize(t, COARSE[::-1], interpolation=cv2.INTER_AREA) for t in thumbnails])
    change = np.abs(np.diff(coarse, axis=0)).mean(axis=(1, 2))
    moves = np.array([not is_motionless(*thumbnails[i : i + 2]) for i in range(len(change))], bool)
    cuts = np.zeros(len(change), bool)
    for i in range(len(change)):
        near = np.arange(max(0, i - NEIGHBOURHOOD), min(len(change), i + 1 + NEIGHBOURHOOD))
        around = change[near[moves[near] & (near != i)]]
        stands_out = change[i] > CUT_FACTOR * (np.median(around) if len(around) else 0)
        cuts[i] = stands_out and (correlation(*coarse[i : i + 2]) < CUT_CORRELATION or change[i] > CUT_CHANGE)
    return cuts


def correlation(first: Thumbnails, second: Thumbnails) -> float:
    """Correlation coefficient of two images; 1 if one of them is constant, for which it is undefined."""
    a, b = first - first.mean(), second - second.mean()
    norm = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 1.0

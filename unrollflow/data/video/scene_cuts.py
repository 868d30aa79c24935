"""Which neighbouring frames of a clip teach nothing: scene cuts, and pairs in which nothing moves."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from torch import Tensor

THUMBNAIL = (36, 64)
"""Height and width of the grey pictures that frames are judged by; noise and compression average out."""

COARSE = (9, 16)
"""Height and width at which motion changes a picture only slightly, and another scene does."""

MOTION_QUANTILE = 0.99
SMALLEST_CHANGE = 1.0 / 255
"""A pair counts as motionless where 99 % of its thumbnail change by less: one step of 8 bits."""

CUT_FACTOR = 3.0
"""Across a cut a clip changes by more than this many times what it changes between the frames around."""

CUT_CORRELATION = 0.7
CUT_CHANGE = 0.06
"""... and is either no longer alike, or changes by this share of black to white on average."""

NEIGHBOURHOOD = 4
"""Frames before and after a possible cut whose changes it is compared with, without those of held pictures."""

Thumbnails = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class KeptPairs(NamedTuple):
    """First frames of the pairs of a clip that are worth learning from, and how many are not.

    Attributes:
        firsts: indices of first frames.
        breaks: pairs skipped because another sequence begins, or frames are missing, between their frames.
        cuts: pairs skipped because a scene cut lies between their frames.
        motionless: pairs skipped because nothing moves between their frames, as in duplicates.
    """

    firsts: list[int]
    breaks: int
    cuts: int
    motionless: int


def thumbnail(image: Tensor) -> Thumbnails:
    """A small grey picture (36, 64), float32 in [0, 1], of an image (3, H, W)."""
    grey = image.mean(dim=0).numpy()
    return cv2.resize(grey, THUMBNAIL[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)


def kept_pairs(thumbnails: Thumbnails, *, stride: int, breaks: Sequence[bool] = ()) -> KeptPairs:
    """Sort out the pairs (i, i + stride) of a clip.

    Args:
        thumbnails: (N, 36, 64), of its frames in their order.
        stride: frames from the first to the second of a pair.
        breaks: whether frames i and i + 1 do not follow each other, N - 1; none by default.

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
    """Whether two thumbnails differ by less than a step of 8 bits nearly everywhere."""
    return bool(np.quantile(np.abs(second - first), MOTION_QUANTILE) < SMALLEST_CHANGE)


def scene_cuts(thumbnails: Thumbnails) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Where a cut lies between frames i and i + 1, (N - 1,) bool, of thumbnails (N, 36, 64).

    A cut is a change that stands out from those around it: fast motion changes many frames in a row. Where a picture is
    held for some frames, their change of zero does not count.
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
    """Correlation coefficient of two pictures; 1 where one of them is plain, which has none."""
    a, b = first - first.mean(), second - second.mean()
    norm = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 1.0

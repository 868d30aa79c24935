"""Outlines of the moving shapes: distance from the centre to the edge, tabulated by direction."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Values = NDArray[np.float64]
DIRECTIONS = 1024
"""Entries of an outline; entry i is the distance of the edge for pseudo-angles from 4 i / DIRECTIONS."""


def _angles() -> Values:
    """Angle of the middle of every entry: the inverse of the pseudo-angle in `edge_distance`."""
    turn = 4 * (np.arange(DIRECTIONS) + 0.5) / DIRECTIONS
    x = np.abs(turn - 2) - 1
    y = np.where(turn < 2, 1 - np.abs(x), np.abs(x) - 1)
    angles: Values = np.arctan2(y, x)
    return angles


_ANGLES = _angles()


def random_outline(area: float, generator: np.random.Generator) -> Values:
    """Randomly rotated ellipse, polygon or blob of the given area in square pixels: (DIRECTIONS,), pixels."""
    draw = (_ellipse, _polygon, _blob)[generator.integers(3)]
    radii = draw(_ANGLES + generator.uniform(0, 2 * np.pi), generator)
    # area = 1/2 integral radius^2 d(angle), where d(angle) / d(pseudo-angle) is not constant
    widths = (np.abs(np.cos(_ANGLES)) + np.abs(np.sin(_ANGLES))) ** 2
    widths *= 2 * np.pi / widths.sum()
    outline: Values = radii * np.sqrt(2 * area / (radii**2 * widths).sum())
    return outline


def edge_distance(x: Tensor, y: Tensor, outlines: Tensor) -> Tensor:
    """Distance to the edge along the ray from the centre, positive inside.

    Args:
        x, y: (K, N), pixels from the centre of each of K shapes.
        outlines: (K, DIRECTIONS), pixels.

    Returns:
        (K, N), pixels.
    """
    # A pseudo-angle avoids arctan2, whose last bit differs between torch's vectorised and scalar loops, and
    # therefore between numbers of threads.
    ratio = x / (x.abs() + y.abs()).clamp_min(1e-6)
    turn = torch.where(y >= 0, 1 - ratio, 3 + ratio)  # 0 to 4, counter-clockwise from the x axis
    entry = (turn * (DIRECTIONS / 4)).long().clamp_max(DIRECTIONS - 1)
    return outlines.gather(1, entry) - (x * x + y * y).sqrt()


def _ellipse(angles: Values, generator: np.random.Generator) -> Values:
    aspect = generator.uniform(1, 2.5)
    return 1 / np.hypot(np.cos(angles), aspect * np.sin(angles))


def _polygon(angles: Values, generator: np.random.Generator) -> Values:
    count = int(generator.integers(3, 9))
    # with jitter below 1/4, neighbouring corners of a triangle are less than half a turn apart
    corners = 2 * np.pi / count * (np.arange(count) + generator.uniform(-0.2, 0.2, count))
    reach = generator.uniform(0.6, 1, count)
    x, y = reach * np.cos(corners), reach * np.sin(corners)
    edge_x, edge_y = np.roll(x, -1) - x, np.roll(y, -1) - y
    side = (np.searchsorted(corners, (angles - corners[0]) % (2 * np.pi) + corners[0], side="right") - 1) % count
    cross = x * edge_y - y * edge_x
    radii: Values = cross[side] / (np.cos(angles) * edge_y[side] - np.sin(angles) * edge_x[side])
    return radii


def _blob(angles: Values, generator: np.random.Generator) -> Values:
    waves = np.arange(2, 6)
    phases = generator.uniform(0, 2 * np.pi, waves.shape)
    heights = generator.uniform(0, 0.4, waves.shape) / waves
    radii: Values = 1 + (heights * np.cos(np.multiply.outer(angles, waves) + phases)).sum(axis=-1)
    return radii

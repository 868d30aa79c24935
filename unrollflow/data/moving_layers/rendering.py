"""Rendering of layers to images: opacities, a texture atlas, and one bilinear sampling."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unrollflow.data.moving_layers.textures import Photograph, crop


def render(
    coordinates: Tensor, distances: Tensor, textures: Sequence[Photograph], generator: np.random.Generator
) -> Tensor:
    """Colours (3, N) in [0, 1] of N pixels of a scene with K layers.

    Args:
        coordinates: (2, K, N), x and y of the pixels in the coordinates of every layer, pixels.
        distances: (K - 1, N), distances to the edge of every shape, positive inside, pixels.
        textures: photographs; every layer draws one.
        generator: draws the photographs, the visible parts, and their contrast and tint.

    Convention: corner-aligned bilinear sampling by torch. (OpenCV's remap rounds positions to 1/32 pixel.)
    """
    weights = opacities(distances)
    seen = weights.flatten().nonzero().squeeze(1)  # most pixels have one visible layer
    layer, pixel = seen // weights.shape[1], seen % weights.shape[1]
    positions = coordinates.flatten(1)[:, seen]  # (2, M)
    atlas, shifts = texture_atlas(positions, layer, len(weights), textures, generator)
    colours = sample(atlas, positions + shifts[:, layer]) * weights.flatten()[seen]
    return torch.zeros(3, weights.shape[1]).index_add_(1, pixel, colours)


def opacities(distances: Tensor) -> Tensor:
    """Weight (K, N) of each layer in each pixel; shapes fade over one pixel, nearer layers hide the others."""
    weights = torch.ones(len(distances) + 1, distances.shape[1])
    rest = weights[0]
    for layer in range(len(distances), 0, -1):
        opacity = (distances[layer - 1] + 0.5).clamp_(0, 1)
        torch.mul(rest, opacity, out=weights[layer])
        rest -= weights[layer]
    return weights


def texture_atlas(
    positions: Tensor, layer: Tensor, count: int, textures: Sequence[Photograph], generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Textures of all layers, each as large as its visible part, stacked vertically.

    Args:
        positions: (2, M), in the coordinates of the layers, pixels.
        layer: (M,), indices of the layers, ascending.
        count: number of layers K.
        textures: photographs to draw from.
        generator: see `render`.

    Returns:
        The atlas (3, h, w) in [0, 1], and shifts (2, K) from the coordinates of the layers to positions in the atlas.
    """
    groups = torch.split(positions, torch.bincount(layer, minlength=count).tolist(), dim=1)
    parts, shifts, top = [], torch.zeros(2, count), 0
    for index, group in enumerate(groups):
        if group.shape[1] == 0:
            continue
        low, high = group.amin(dim=1).floor(), group.amax(dim=1).floor() + 2
        width, height = (high - low).int().tolist()
        parts.append(_tinted(textures[int(generator.integers(len(textures)))], height, width, generator))
        shifts[:, index] = torch.tensor([0.0, top]) - low
        top += height
    atlas = torch.zeros(3, top, max(part.shape[2] for part in parts))
    for part, rows in zip(parts, torch.split(atlas, [part.shape[1] for part in parts], dim=1), strict=True):
        rows[:, :, : part.shape[2]] = part
    return atlas, shifts


def sample(atlas: Tensor, positions: Tensor) -> Tensor:
    """Colours (3, M) of an atlas (3, h, w) at positions (2, M) in pixels, bilinear."""
    scale = 2 / torch.tensor([[atlas.shape[2] - 1], [atlas.shape[1] - 1]])
    grid = (positions * scale - 1).t().reshape(1, 1, -1, 2)
    return F.grid_sample(atlas[None], grid, mode="bilinear", align_corners=True)[0, :, 0]


def _tinted(texture: Photograph, height: int, width: int, generator: np.random.Generator) -> Tensor:
    part = torch.from_numpy(crop(texture, height, width, generator)).float() / 255
    contrast = torch.from_numpy(generator.uniform(0.7, 1.1) * generator.uniform(0.8, 1.2, (3, 1, 1))).float()
    return ((part - 0.5) * contrast + generator.uniform(0.35, 0.65)).clamp_(0, 1)

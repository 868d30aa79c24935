"""Endless embedded data set: textured shapes that move independently over a moving background, with exact flow."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unrollflow.contracts import FlowSample
from unrollflow.data.datasets.endless import EndlessDataset
from unrollflow.data.moving_layers.outlines import edge_distance
from unrollflow.data.moving_layers.rendering import render
from unrollflow.data.moving_layers.scenes import (
    Motion,
    exact_flow,
    nearest_layer,
    occluded,
    own_coordinates,
    random_scene,
)
from unrollflow.data.moving_layers.textures import SPLITS, Split, load_textures, texture_files
from unrollflow.data.transforms.motion_boundaries import beside, distance_to

_SMALLEST_STEP = 1e-3
"""Smallest difference of the flow across an edge of a layer for a motion boundary, pixels."""


class MovingLayers(EndlessDataset):
    """Pairs of frames of moving textured layers; a sample depends only on (seed, split, index).

    Every index from 0 has a sample, so each epoch can have new samples; `len` only defines the length of an epoch.
    Texture and outline of a layer are defined in its own coordinates, which an affine map transforms to each frame. The
    flow, T2 T1^-1 p - p of the nearest layer at p, is therefore exact at every pixel, and so is the occlusion.

    Args:
        split: "train", "validation" or "test", which share neither random numbers nor bundled photographs.
        seed: seed of the samples; 0 <= seed < 2**32.
        length: samples per epoch.
        size: (H, W), pixels.
        layers: smallest and largest number of foreground shapes.
        coverage: smallest and largest sum of the shapes' areas, as a share of the frame; the visible area is smaller
            because of overlaps and parts outside the frame.
        background_translation: largest translation of the background, pixels.
        background_rotation: largest rotation of the background about the centre of the frame, degrees.
        background_zoom: largest relative change of the background's scale.
        foreground_translation: largest translation of a shape, pixels.
        foreground_rotation: largest rotation of a shape about its centre, degrees.
        foreground_zoom: largest relative change of a shape's scale.
        textures: folder of photographs (see `texture_files`), or None for those bundled with scikit-image and noise.

    Raises:
        ValueError: if an argument is out of range, or the folder contains no images.
        FileNotFoundError: if the folder does not exist.

    Source: layered motion as in Wang and Adelson, Representing Moving Images with Layers, IEEE TIP 1994.

    >>> sample = MovingLayers(split="train", size=(64, 64))[7]
    >>> tuple(sample["flow"].shape), sample["name"]
    ((2, 64, 64), 'train-000007')
    """

    def __init__(
        self,
        *,
        split: Split,
        seed: int = 0,
        length: int = 1000,
        size: tuple[int, int] = (128, 192),
        layers: tuple[int, int] = (2, 6),
        coverage: tuple[float, float] = (0.4, 1.0),
        background_translation: float = 5.0,
        background_rotation: float = 1.0,
        background_zoom: float = 0.02,
        foreground_translation: float = 10.0,
        foreground_rotation: float = 8.0,
        foreground_zoom: float = 0.06,
        textures: Path | None = None,
    ) -> None:
        _check(split, seed, length, size, layers, coverage)
        self.split, self.seed, self.length, self.size = split, seed, length, size
        self.layers, self.coverage = layers, coverage
        self.textures = None if textures is None else Path(textures)
        self.background = Motion(background_translation, background_rotation, background_zoom)
        self.foreground = Motion(foreground_translation, foreground_rotation, foreground_zoom)
        self.background.check("background")
        self.foreground.check("foreground")
        texture_files(self.textures, split)  # raises errors here, not in a worker; photographs are read on first use

    def sample(self, index: int) -> FlowSample:
        """Sample of an index; it depends only on (split, seed, index)."""
        generator = np.random.default_rng(np.random.SeedSequence([SPLITS.index(self.split), self.seed, index]))
        count = int(generator.integers(self.layers[0], self.layers[1] + 1))
        area = generator.uniform(*self.coverage) * self.size[0] * self.size[1]
        scene = random_scene(self.size, count, area, self.background, self.foreground, generator)
        coordinates = own_coordinates(scene)  # (2, K, 2 H W)
        distances = edge_distance(coordinates[0, 1:], coordinates[1, 1:], scene.outlines)
        colours = render(coordinates, distances, load_textures(self.textures, self.split), generator)
        image1, image2 = colours.view(3, 2, *self.size).unbind(dim=1)
        layers = nearest_layer(distances[:, : self.size[0] * self.size[1]])
        flow = exact_flow(scene, layers)
        return FlowSample(
            image1=image1.contiguous(),
            image2=image2.contiguous(),
            name=f"{self.split}-{index:06d}",
            flow=flow.float().contiguous(),
            valid=torch.ones(self.size, dtype=torch.bool),
            occluded=occluded(scene, layers, flow),
            boundary_distance=boundary_distance(layers.view(self.size), flow),
        )


def boundary_distance(labels: Tensor, flow: Tensor) -> Tensor:
    """Distance to the nearest pixel that touches a layer with another motion; infinite if there is none.

    Args:
        labels: (H, W), index of the visible layer.
        flow: (2, H, W), pixels.

    Returns:
        (H, W) float32, pixels; 0 at both pixels beside a boundary.
    """
    jumps = [
        (labels.diff(dim=dim) != 0) & (flow.diff(dim=dim + 1).abs().amax(dim=0) > _SMALLEST_STEP) for dim in (1, 0)
    ]
    return distance_to(beside(*jumps))


def _check(
    split: Split, seed: int, length: int, size: tuple[int, int], layers: tuple[int, int], coverage: tuple[float, float]
) -> None:
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}.")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}; it must be from 0 to 2**32 - 1.")
    if length < 1:
        raise ValueError(f"length is {length}; it must be at least 1 sample.")
    if min(size) < 16:
        raise ValueError(f"size is {size}; height and width must be at least 16 pixels.")
    if not 0 <= layers[0] <= layers[1]:
        raise ValueError(f"layers is {layers}; it must be (smallest, largest) with 0 <= smallest <= largest.")
    if not 0 < coverage[0] <= coverage[1]:
        raise ValueError(f"coverage is {coverage}; it must be (smallest, largest) with 0 < smallest <= largest.")

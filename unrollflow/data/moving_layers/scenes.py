"""Layered scenes: outlines and affine motions of layers, the visible layer of each pixel, and the exact flow."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrollflow.data.moving_layers.outlines import DIRECTIONS, edge_distance, random_outline


class Motion(NamedTuple):
    """Largest motions of a layer between the frames.

    Attributes:
        translation: pixels, in any direction.
        rotation: degrees about the centre of the layer, in both directions.
        zoom: relative change of scale, in both directions.
    """

    translation: float
    rotation: float
    zoom: float

    def check(self, name: str) -> None:
        """Raise ValueError, naming the argument of layer `name`, unless all ranges are finite and not negative."""
        for part, value in self._asdict().items():
            if not 0 <= value < np.inf:
                raise ValueError(f"{name}_{part} is {value}; it must be a finite number of at least 0.")

    def draw(self, centre: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
        """Random affine map (3, 3) of homogeneous positions, from frame 1 to frame 2."""
        length, direction = generator.uniform(0, self.translation), generator.uniform(0, 2 * np.pi)
        angle = np.deg2rad(generator.uniform(-self.rotation, self.rotation))
        scale = (1 + self.zoom) ** generator.uniform(-1, 1)
        motion = np.eye(3)
        motion[:2, :2] = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = length * np.array([np.cos(direction), np.sin(direction)])
        motion[:2, 2] = shift + centre - motion[:2, :2] @ centre
        return motion


class Scene(NamedTuple):
    """K layers from the background to the nearest; the coordinates of a layer have its centre as origin.

    Attributes:
        size: (H, W) of both frames, pixels.
        motions: (K, 3, 3) float64, from frame 1 to frame 2.
        inverses: (K, 2, 3, 3) float64, from frame 1 and from frame 2 to the coordinates of the layer.
        outlines: (K - 1, DIRECTIONS) float32, outlines of the shapes, pixels.
    """

    size: tuple[int, int]
    motions: Tensor
    inverses: Tensor
    outlines: Tensor


def random_scene(
    size: tuple[int, int],
    count: int,
    area: float,
    background: Motion,
    foreground: Motion,
    generator: np.random.Generator,
) -> Scene:
    """Random scene with a background and `count` shapes of `area` square pixels in total, with independent motions."""
    height, width = size
    corner = np.array([width - 1, height - 1], dtype=np.float64)
    centres = np.vstack([corner / 2, generator.uniform(0, 1, (count, 2)) * corner])
    motions = np.stack(
        [(foreground if layer else background).draw(centre, generator) for layer, centre in enumerate(centres)]
    )
    shares = generator.uniform(0.5, 1.5, count)
    outlines = [random_outline(area * share / shares.sum(), generator) for share in shares]
    placement = np.tile(np.eye(3), (count + 1, 1, 1))
    placement[:, :2, 2] = centres
    frames = np.stack([placement, motions @ placement], axis=1)
    return Scene(
        size=size,
        motions=torch.from_numpy(motions),
        inverses=torch.from_numpy(np.linalg.inv(frames)),
        outlines=torch.from_numpy(np.array(outlines, np.float32).reshape(count, DIRECTIONS)),
    )


def own_coordinates(scene: Scene) -> Tensor:
    """Positions of all pixels of both frames in the coordinates of every layer: (2, K, 2 H W), x and y, pixels."""
    height, width = scene.size
    row, column = torch.arange(height).view(-1, 1), torch.arange(width)
    maps = scene.inverses[:, :, :2].permute(2, 0, 1, 3)[..., None, None]  # (2, K, 2, 3, 1, 1)
    along = (maps[..., 0, :, :] * column).float()  # (2, K, 2, 1, W)
    down = (maps[..., 1, :, :] * row + maps[..., 2, :, :]).float()  # (2, K, 2, H, 1)
    return (along + down).flatten(2)


def nearest_layer(distances: Tensor) -> Tensor:
    """Index (N,) of the nearest layer that covers each pixel, from distances (K - 1, N) to edges; 0 = background."""
    nearest = torch.zeros(distances.shape[1], dtype=torch.long)
    for layer, distance in enumerate(distances, start=1):
        nearest[distance > 0] = layer
    return nearest


def exact_flow(scene: Scene, layers: Tensor) -> Tensor:
    """Flow (2, H, W) float64 of the visible layers (H W,) of frame 1, pixels."""
    height, width = scene.size
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    motion = (scene.motions - torch.eye(3, dtype=torch.float64))[:, :2]  # (K, 2, 3)
    a, b, c = motion[layers].view(height, width, 2, 3).permute(3, 2, 0, 1)  # each (2, H, W)
    flow: Tensor = a * x + b * y + c
    return flow


def occluded(scene: Scene, layers: Tensor, flow: Tensor) -> Tensor:
    """Mask (H, W) bool of the pixels of frame 1 that leave the frame or move behind a nearer layer, exact at p + F(p).

    Args:
        scene: K layers.
        layers: (H W,), visible layers in frame 1.
        flow: (2, H, W) float64, pixels.
    """
    height, width = scene.size
    x = torch.arange(width) + flow[0]
    y = torch.arange(height).view(-1, 1) + flow[1]
    leaves = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    a, b, c = scene.inverses[1:, 1, :2].float().permute(2, 1, 0).unsqueeze(-1)  # each (2, K - 1, 1)
    positions = a * x.float().flatten() + b * y.float().flatten() + c  # (2, K - 1, H W)
    distances = edge_distance(positions[0], positions[1], scene.outlines)
    nearer = torch.arange(1, len(distances) + 1).view(-1, 1) > layers
    return leaves | ((distances > 0) & nearer).any(dim=0).view(height, width)

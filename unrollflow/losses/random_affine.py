"""Affine view for self-supervision: frames are rotated, zoomed, squeezed, shifted and mirrored."""

import torch
from torch import Tensor

from unrollflow.losses.views import LabelledPair, View
from unrollflow.ops.affine import affine_flow, affine_map, affine_warp, compose_affine, leaves_frame
from unrollflow.ops.transfer import to_device

Range = tuple[float, float]
CANDIDATES = 64
MOST_DRAWS = 16
"""Number of affine maps drawn at once, and maximum number of draws, until one stays inside the frame."""


class RandomAffine(View):
    """Rotates, zooms, squeezes, shifts and mirrors both frames, and transforms the second frame slightly more.

    Draws are repeated until the result contains nothing from outside of the frame. Superpixels are dropped, so views
    that need them must come before. Draws are uniform, and symmetric around the identity if the range is one number.

    Args:
        angle, relative_angle: largest rotation of both frames, and of the second relative to the first, radians.
        shift, relative_shift: largest shift in both directions, halves of a side.
        zoom, relative_zoom: smallest and largest factor of both sides.
        squeeze, relative_squeeze: smallest and largest factor of the width; the height is divided by it.
        horizontal_flip, vertical_flip: probabilities.

    Raises:
        ValueError: if a range is empty or not positive.

    Source: ARFlow, Liu et al., CVPR 2020, and its released code (sp_transfroms.py), whose relative angle is not random:
    it is always the lowest of its range. In the copy of Cost Unrolling, the angle of both frames is constant, too:
    always the largest. There, `trans` is halved internally, so 0.2 there is 0.1 here.
    """

    def __init__(
        self,
        *,
        angle: float = 0.2,
        relative_angle: float = 0.015,
        shift: float = 0.1,
        relative_shift: float = 0.0075,
        zoom: Range = (1.0, 1.5),
        relative_zoom: Range = (0.985, 1.015),
        squeeze: Range = (0.86, 1.16),
        relative_squeeze: Range = (1.0, 1.0),
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.5,
    ) -> None:
        super().__init__()
        for name, (low, high) in {
            "zoom": zoom,
            "relative_zoom": relative_zoom,
            "squeeze": squeeze,
            "relative_squeeze": relative_squeeze,
        }.items():
            if not 0 < low <= high:
                raise ValueError(
                    f"{name} is {(low, high)}; it must be (smallest, largest) with 0 < smallest <= largest."
                )
        self.both = {"angle": (-angle, angle), "shift": (-shift, shift), "zoom": zoom, "squeeze": squeeze}
        self.second = {
            "angle": (-relative_angle, relative_angle),
            "shift": (-relative_shift, relative_shift),
            "zoom": relative_zoom,
            "squeeze": relative_squeeze,
        }
        self.flips = (horizontal_flip, vertical_flip)

    def forward(self, pair: LabelledPair, *, seeds: list[int]) -> LabelledPair:
        """Draw maps for each sample, and apply them.

        Raises:
            ValueError: if almost no map in the ranges stays inside the frame.
        """
        size = (pair.flow.shape[-2], pair.flow.shape[-1])
        drawn = [self._draw(torch.Generator().manual_seed(seed), size) for seed in seeds]
        theta1, theta2 = (to_device(torch.cat(maps), device=pair.flow.device) for maps in zip(*drawn, strict=True))
        return LabelledPair(
            image1=affine_warp(pair.image1, theta1),
            image2=affine_warp(pair.image2, theta2),
            flow=affine_flow(pair.flow, theta1, theta2),
            weight=affine_warp(pair.weight, theta1),
            segments=None,
        )

    def _draw(self, generator: torch.Generator, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Draw the maps (1, 2, 3), float64, of both frames of a sample."""
        identity = torch.eye(2, 3, dtype=torch.float64).unsqueeze(0)
        theta1 = draw_within(self.both, identity, size, generator)
        theta2 = draw_within(self.second, theta1, size, generator)
        signs = [-1.0 if happens else 1.0 for happens in torch.rand(2, generator=generator) < torch.tensor(self.flips)]
        mirror = torch.tensor(signs, dtype=torch.float64).view(1, 2, 1)
        return mirror * theta1, mirror * theta2


def draw_within(ranges: dict[str, Range], before: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Random map after another one (1, 2, 3), whose composition stays inside a frame of the given size (H, W)."""
    lows, highs = (
        torch.tensor([ranges[k][i] for k in ("zoom", "squeeze", "shift", "shift", "angle")], dtype=torch.float64)
        for i in (0, 1)
    )
    for _ in range(MOST_DRAWS):
        drawn = lows + (highs - lows) * torch.rand(CANDIDATES, 5, generator=generator, dtype=torch.float64)
        zoom, squeeze, shift_x, shift_y, angle = drawn.unbind(dim=1)
        change = affine_map(zoom=zoom, squeeze=squeeze, shift_x=shift_x, shift_y=shift_y, angle=angle)
        thetas = compose_affine(change, before)
        within = (~leaves_frame(thetas, size)).nonzero().flatten()
        if len(within):
            return thetas[within[0]].unsqueeze(0)
    raise ValueError(
        f"none of {MOST_DRAWS * CANDIDATES} affine maps drawn from {ranges} stays inside a frame of "
        f"{size[0]}x{size[1]}; use a larger zoom, or smaller angles and shifts."
    )

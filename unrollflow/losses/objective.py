"""What an objective is: the estimates of a backbone in, a cost out."""

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate, FlowSample
from unrollflow.losses.masking import Masking, photometric_loss
from unrollflow.losses.photometric import Photometric
from unrollflow.losses.smoothness import Smoothness
from unrollflow.ops.choice import check_choice
from unrollflow.ops.warp import Padding, warp


class Cost(Protocol):
    """What an objective says of a batch."""

    @property
    def total(self) -> Tensor:
        """What is minimised, a scalar."""
        ...

    @property
    def log(self) -> dict[str, Tensor]:
        """Detached scalars, named for a logger."""
        ...


class Objective(nn.Module, ABC):
    """Base of the objectives: two lists of estimates to a cost, and a score of a flow that needs no labels.

    Args:
        photometric: how images differ.
        smoothness: how rough a flow is.
        masking: see :func:`photometric_loss`.
        padding: what the warped frame shows outside its border.

    Raises:
        ValueError: for a word that is not among the choices.
    """

    def __init__(
        self,
        photometric: Photometric,
        smoothness: Smoothness,
        *,
        masking: Masking = "image",
        padding: Padding = "border",
    ) -> None:
        super().__init__()
        check_choice("masking", masking, Masking)
        check_choice("padding", padding, Padding)
        self.photometric, self.smoothness = photometric, smoothness
        self.masking: Masking = masking
        self.padding: Padding = padding

    @abstractmethod
    def forward(
        self, sample: FlowSample, forward: list[FlowEstimate], backward: list[FlowEstimate], *, step: int
    ) -> Cost:
        """Cost of the two lists of estimates.

        Args:
            sample: a batch with the frames (B, 3, H, W), RGB in [0, 1].
            forward: estimates from image1 to image2, coarsest or first first.
            backward: from image2 to image1.
            step: training step, for what changes with it.
        """

    @torch.no_grad()
    def held_out(self, image1: Tensor, image2: Tensor, flow: Tensor) -> Tensor:
        """Photometric loss of all pixels of image1 for one flow at full size: a score without labels.

        All pixels: a mean over visible ones alone is best, 0, for a flow that calls everything occluded.

        Args:
            image1, image2: (B, 3, H, W), RGB in [0, 1].
            flow: (B, 2, H, W), pixels.
        """
        visible = torch.ones_like(flow[:, :1])
        reconstruction = warp(image2, flow, padding=self.padding)
        return photometric_loss(self.photometric, image1, reconstruction, visible, masking=self.masking)

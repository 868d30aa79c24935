"""Base class of objectives, which compute a cost from the estimates of a backbone."""

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
    """Cost of a batch."""

    @property
    def total(self) -> Tensor:
        """The minimised cost, a scalar."""
        ...

    @property
    def log(self) -> dict[str, Tensor]:
        """Detached scalars, with names for a logger."""
        ...


class Objective(nn.Module, ABC):
    """Base class of objectives, which compute a cost of two lists of estimates, and a label-free score of a flow.

    Args:
        photometric: photometric term.
        smoothness: smoothness term.
        masking: see :func:`photometric_loss`.
        padding: values of the warped frame outside its border.

    Raises:
        ValueError: if a choice is unknown.
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
            forward: estimates from image1 to image2, from the coarsest (or first) to the last.
            backward: estimates from image2 to image1.
            step: training step, for terms that depend on it.
        """

    @torch.no_grad()
    def held_out(self, image1: Tensor, image2: Tensor, flow: Tensor) -> Tensor:
        """Photometric loss of all pixels of image1 for one flow at full size: a score without labels.

        Occluded pixels are included, because a mean over visible pixels is best, 0, if all pixels are occluded.

        Args:
            image1, image2: (B, 3, H, W), RGB in [0, 1].
            flow: (B, 2, H, W), pixels.
        """
        visible = torch.ones_like(flow[:, :1])
        reconstruction = warp(image2, flow, padding=self.padding)
        return photometric_loss(self.photometric, image1, reconstruction, visible, masking=self.masking)

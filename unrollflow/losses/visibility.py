"""Occlusion tests as modules, which select the pixels in the photometric loss."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from unrollflow.ops.occlusion import forward_backward_visibility, range_map_visibility


class Visibility(nn.Module, ABC):
    """Base class of occlusion tests, which map two flows to the pixels of frame 1 that are visible in frame 2."""

    @abstractmethod
    def forward(self, flow_forward: Tensor, flow_backward: Tensor) -> Tensor:
        """(B, 1, H, W), 1 = visible, without gradient, from two flows (B, 2, H, W) in pixels."""

    def at(self, step: int) -> "Visibility":
        """Test of a training step."""
        return self


class AllVisible(Visibility):
    """No occlusion test: all pixels are visible."""

    def forward(self, flow_forward: Tensor, flow_backward: Tensor) -> Tensor:
        """Ones."""
        return flow_forward.new_ones(flow_forward[:, :1].shape)


class ForwardBackward(Visibility):
    """Module form of :func:`~unrollflow.ops.forward_backward_visibility`.

    With randomly initialised networks, all pixels may be occluded: start with another test
    (:class:`~unrollflow.losses.Staged`).
    """

    def __init__(self, *, scale: float = 0.01, bias: float = 0.5) -> None:
        super().__init__()
        self.scale, self.bias = scale, bias

    def forward(self, flow_forward: Tensor, flow_backward: Tensor) -> Tensor:
        """See :func:`~unrollflow.ops.forward_backward_visibility`."""
        return forward_backward_visibility(flow_forward, flow_backward, scale=self.scale, bias=self.bias)


class RangeMap(Visibility):
    """Module form of :func:`~unrollflow.ops.range_map_visibility`."""

    def __init__(self, *, threshold: float = 0.2) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, flow_forward: Tensor, flow_backward: Tensor) -> Tensor:
        """See :func:`~unrollflow.ops.range_map_visibility`."""
        return range_map_visibility(flow_backward, threshold=self.threshold)

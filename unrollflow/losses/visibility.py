"""Visibility as exchangeable objects: which pixels the photometric loss may compare, and from which step on."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from unrollflow.ops.occlusion import forward_backward_visibility, range_map_visibility


class Visibility(nn.Module, ABC):
    """Base of the occlusion tests: two flows to a map of the pixels of frame 1 that are seen in frame 2."""

    @abstractmethod
    def forward(self, flow_forward: Tensor, flow_backward: Tensor) -> Tensor:
        """(B, 1, H, W), 1 = visible, without gradient, from two flows (B, 2, H, W) in pixels."""

    def at(self, step: int) -> "Visibility":
        """The test in force at a training step."""
        return self


class AllVisible(Visibility):
    """No occlusion test: every pixel counts."""

    def forward(self, flow_forward: Tensor, flow_backward: Tensor) -> Tensor:
        """Ones."""
        return flow_forward.new_ones(flow_forward[:, :1].shape)


class ForwardBackward(Visibility):
    """Module form of :func:`~unrollflow.ops.forward_backward_visibility`.

    From a random initialisation it may call every pixel occluded: start with another test (:class:`Staged`).
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


class Staged(Visibility):
    """One test after another, by training step: an occlusion warm-up, or a switch of method.

    Args:
        tests: the tests, in their order.
        starts: the step at which each comes into force; the first is 0, and they increase.

    Raises:
        ValueError: if the lists do not fit together.

    >>> Staged(tests=[AllVisible(), RangeMap()], starts=[0, 200]).at(200)
    RangeMap()
    """

    def __init__(self, *, tests: list[Visibility], starts: list[int]) -> None:
        super().__init__()
        if len(tests) != len(starts) or not starts or starts[0] != 0 or sorted(set(starts)) != starts:
            raise ValueError(
                f"{len(tests)} tests with starts={starts}: one start for each test is needed, increasing, the first 0."
            )
        self.tests = nn.ModuleList(tests)
        self.starts = starts

    def at(self, step: int) -> Visibility:
        """The last test whose start is not after the step."""
        in_force = [test for test, start in zip(self.tests, self.starts, strict=True) if start <= step][-1]
        assert isinstance(in_force, Visibility)
        return in_force.at(step)

    def forward(self, flow_forward: Tensor, flow_backward: Tensor) -> Tensor:
        """The last test: what holds when training is over."""
        visible: Tensor = self.tests[-1](flow_forward, flow_backward)
        return visible

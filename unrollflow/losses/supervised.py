"""Training on given flow: ground truth, or labels that an earlier stage has made."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from unrollflow.contracts import FlowEstimate, FlowSample
from unrollflow.losses.masking import Levels, level_weights
from unrollflow.losses.objective import Cost, Objective
from unrollflow.losses.photometric import Photometric
from unrollflow.losses.smoothness import Smoothness
from unrollflow.losses.unsupervised import Field
from unrollflow.ops.choice import check_choice
from unrollflow.ops.precision import full_precision
from unrollflow.ops.resize import resize_image
from unrollflow.ops.transfer import constant


class EndpointTerms(NamedTuple):
    """What a step of supervised training costs.

    Attributes:
        total: weighted end-point errors of all levels, a scalar, pixels of each level.
        last: end-point error of the last estimate, pixels.
    """

    total: Tensor
    last: Tensor

    @property
    def log(self) -> dict[str, Tensor]:
        """Detached, named for a logger."""
        return {"loss/total": self.total.detach(), "loss/endpoint_error": self.last.detach()}


class SupervisedEndpointError(Objective):
    """End-point error where the flow is known, over pyramid levels or iterates, forwards alone.

    Args:
        photometric: scores flow without ground truth in validation, nothing else.
        smoothness: not used: every objective is built with a photometric and a smoothness term.
        level_weights: see :func:`~unrollflow.losses.level_weights`; errors are in pixels of each level's own grid.
        field: what is compared: `raw`, the backbone's own resolution (FlowNet), or `flow`, as up-sampled.
        epsilon: rounds the error, sqrt(|d|^2 + epsilon^2), pixels.

    Raises:
        ValueError: if epsilon is not positive, or the field is another word.

    Source: Dosovitskiy et al., FlowNet, ICCV 2015 (several levels); Teed and Deng, RAFT, ECCV 2020 (iterates).
    """

    def __init__(
        self,
        photometric: Photometric,
        smoothness: Smoothness,
        *,
        level_weights: Levels = 0.8,
        field: Field = "flow",
        epsilon: float = 0.01,
    ) -> None:
        super().__init__(photometric, smoothness)
        check_choice("field", field, Field)
        if epsilon <= 0:
            raise ValueError(f"epsilon is {epsilon}; it must be above 0, where the error's gradient is undefined.")
        self.level_weights, self.epsilon = level_weights, epsilon
        self.field: Field = field

    def forward(
        self, sample: FlowSample, forward: list[FlowEstimate], backward: list[FlowEstimate], *, step: int
    ) -> EndpointTerms:
        """Cost of the forward estimates; see :meth:`Objective.forward`.

        Raises:
            ValueError: if the samples have no flow.
        """
        if "flow" not in sample:
            raise ValueError(
                "samples have no flow to learn from: take a data set with labels (labels: true), and no "
                "RandomTemporalSwap, which drops them."
            )
        flow = sample["flow"]
        valid = sample["valid"].unsqueeze(1).to(flow) if "valid" in sample else flow.new_ones(flow[:, :1].shape)
        weights = level_weights(self.level_weights, len(forward))
        errors = [
            endpoint_loss(estimate.raw if self.field == "raw" else estimate.flow, flow, valid, epsilon=self.epsilon)
            for estimate, weight in zip(forward, weights, strict=True)
            if weight != 0
        ]
        total = flow.new_zeros(())
        for weight, error in zip([w for w in weights if w != 0], errors, strict=True):
            total = total + weight * error
        return EndpointTerms(total, errors[-1] if weights[-1] else total.new_full((), float("nan")))


class LabelledTerms(NamedTuple):
    """What a step with labels beside an unsupervised objective costs.

    Attributes:
        total: what is minimised, a scalar.
        unsupervised: cost of the unsupervised objective.
        labels: cost of the labels, unweighted.
    """

    total: Tensor
    unsupervised: Cost
    labels: Cost

    @property
    def log(self) -> dict[str, Tensor]:
        """Detached, named for a logger."""
        return {**self.labels.log, **self.unsupervised.log, "loss/total": self.total.detach()}


class LabelledObjective(Objective):
    """An unsupervised objective plus the weighted error against given flow, where it is known.

    Args:
        photometric: of both parts.
        smoothness: of both parts.
        unsupervised: makes the unsupervised objective, which also scores flow without ground truth in validation.
        labels: makes the objective of the given flow.
        label_weight: weight of the labels' cost.

    Raises:
        ValueError: if the weight is negative.
    """

    def __init__(
        self,
        photometric: Photometric,
        smoothness: Smoothness,
        *,
        unsupervised: Callable[[Photometric, Smoothness], Objective],
        labels: Callable[[Photometric, Smoothness], Objective],
        label_weight: float,
    ) -> None:
        super().__init__(photometric, smoothness)
        if label_weight < 0:
            raise ValueError(f"label_weight={label_weight}: a weight is at least 0.")
        self.unsupervised, self.labels = unsupervised(photometric, smoothness), labels(photometric, smoothness)
        self.label_weight = label_weight

    def forward(
        self, sample: FlowSample, forward: list[FlowEstimate], backward: list[FlowEstimate], *, step: int
    ) -> LabelledTerms:
        """Cost of both parts; see :meth:`Objective.forward`.

        Raises:
            ValueError: if the samples have no flow.
        """
        unsupervised = self.unsupervised(sample, forward, backward, step=step)
        labels = self.labels(sample, forward, backward, step=step)
        return LabelledTerms(unsupervised.total + self.label_weight * labels.total, unsupervised, labels)

    def held_out(self, image1: Tensor, image2: Tensor, flow: Tensor) -> Tensor:
        """As of the unsupervised objective."""
        return self.unsupervised.held_out(image1, image2, flow)


@full_precision
def endpoint_loss(flow: Tensor, target: Tensor, valid: Tensor, *, epsilon: float) -> Tensor:
    """Mean end-point error of each image's known pixels, then of the images, a scalar in the estimate's pixels.

    Args:
        flow: an estimate, (B, 2, h, w), pixels of its own grid.
        target: (B, 2, H, W), pixels; of at least the estimate's size. It is brought there by the mean of what is known.
        valid: (B, 1, H, W), 1 = known.
        epsilon: see :class:`SupervisedEndpointError`.

    >>> import torch
    >>> endpoint_loss(torch.zeros(1, 2, 1, 1), torch.full((1, 2, 2, 2), 6.0), torch.ones(1, 1, 2, 2), epsilon=1e-3)
    tensor(4.2426)
    """
    size = (flow.shape[-2], flow.shape[-1])
    known = resize_image(valid, size)
    scale = constant([size[1] / target.shape[-1], size[0] / target.shape[-2]], like=target).view(1, 2, 1, 1)
    mean = scale * resize_image(target * valid, size) / known.clamp_min(1 / valid[0].numel())
    error = ((flow - mean).square().sum(dim=1, keepdim=True) + epsilon**2).sqrt()
    # shares of pixels are known at coarse levels: divided by their sum, however small
    total = known.sum(dim=(1, 2, 3)).clamp_min(1 / valid[0].numel())
    return ((error * known).sum(dim=(1, 2, 3)) / total).mean()

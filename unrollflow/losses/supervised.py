"""Training on given flow: ground truth, or labels of an earlier stage."""

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
    """Cost of a step of supervised training.

    Attributes:
        total: weighted sum of the end-point errors of all levels, a scalar, pixels of each level.
        last: end-point error of the last estimate, pixels.
    """

    total: Tensor
    last: Tensor

    @property
    def log(self) -> dict[str, Tensor]:
        """Detached terms, with names for a logger."""
        return {"loss/total": self.total.detach(), "loss/endpoint_error": self.last.detach()}


class SupervisedEndpointError(Objective):
    """End-point error of the forward flow where it is known, over pyramid levels or iterates.

    Args:
        photometric: photometric term, used only for the label-free score in validation.
        smoothness: not used, but required of every objective.
        level_weights: see :func:`~unrollflow.losses.level_weights`; errors are in pixels of the grid of each level.
        field: the compared flow: `raw`, at the resolution of the backbone (FlowNet), or `flow`, up-sampled.
        epsilon: smooths the error, sqrt(|d|^2 + epsilon^2), pixels.

    Raises:
        ValueError: if epsilon is not positive, or the field is unknown.

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
            raise ValueError(f"epsilon is {epsilon}; it must be above 0, because the gradient is undefined at 0.")
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
                "samples have no flow to learn from; use a data set with labels (labels: true), and remove "
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
    """Cost of a step with an unsupervised objective and labels.

    Attributes:
        total: the minimised cost, a scalar.
        unsupervised: cost of the unsupervised objective.
        labels: cost of the labels, unweighted.
    """

    total: Tensor
    unsupervised: Cost
    labels: Cost

    @property
    def log(self) -> dict[str, Tensor]:
        """Detached terms, with names for a logger."""
        return {**self.labels.log, **self.unsupervised.log, "loss/total": self.total.detach()}


class LabelledObjective(Objective):
    """Unsupervised objective plus the weighted error against given flow, where it is known.

    Args:
        photometric: photometric term of both parts.
        smoothness: smoothness term of both parts.
        unsupervised: creates the unsupervised objective, which is also the label-free score in validation.
        labels: creates the objective for the given flow.
        label_weight: weight of the cost of the labels.

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
            raise ValueError(f"label_weight is negative: {label_weight}; it must be at least 0.")
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
        """Score of the unsupervised objective."""
        return self.unsupervised.held_out(image1, image2, flow)


@full_precision
def endpoint_loss(flow: Tensor, target: Tensor, valid: Tensor, *, epsilon: float) -> Tensor:
    """Mean end-point error of the known pixels of each image, then of the images, a scalar in pixels of the estimate.

    Args:
        flow: an estimate, (B, 2, h, w), pixels of its grid.
        target: (B, 2, H, W), pixels; at least as large as the estimate, to which means of known pixels resize it.
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
    # at coarse levels, `known` contains shares; divide by their sum, even if it is less than 1
    total = known.sum(dim=(1, 2, 3)).clamp_min(1 / valid[0].numel())
    return ((error * known).sum(dim=(1, 2, 3)) / total).mean()

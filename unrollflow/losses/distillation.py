"""Self-supervision: a student with a harder view of a pair learns the flow that the network predicts for the pair."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

import torch
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate, FlowNetwork, FlowSample
from unrollflow.losses.masking import Masking, level_weights, visible_mean
from unrollflow.losses.ramp import Ramp
from unrollflow.losses.views import LabelledPair, View
from unrollflow.losses.visibility import Visibility
from unrollflow.ops.choice import check_choice
from unrollflow.ops.occlusion import forward_backward_visibility
from unrollflow.ops.precision import full_precision
from unrollflow.ops.seeds import derived_seed

Pixels = Literal["visible", "newly_occluded"]
SMALLEST_SHARE = 1e-7
"""Added to the trusted share of a batch, by which the released mean is divided."""


@full_precision
def consistency_map(flow: Tensor, target: Tensor, *, epsilon: float, exponent: float) -> Tensor:
    """(|flow - target| + epsilon)^exponent, elementwise.

    >>> consistency_map(torch.tensor(0.5), torch.tensor(0.25), epsilon=0.0, exponent=0.5).item()
    0.5
    """
    return ((flow - target).abs() + epsilon) ** exponent


def consistency_loss(
    estimates: list[FlowEstimate],
    target: Tensor,
    weight: Tensor,
    *,
    epsilon: float,
    exponent: float,
    gamma: float,
    masking: Masking = "image",
) -> Tensor:
    """Mean penalty of the difference between a student's estimates and a teacher's flow, a scalar.

    Args:
        estimates: estimates of the student, first to last; those with a weight have the size of the target.
        target: (B, 2, H, W), pixels.
        weight: (B, 1, H, W) in [0, 1].
        epsilon, exponent: see :func:`consistency_map`.
        gamma: base of the weights gamma^(n - 1 - i); 0: use only the last estimate.
        masking: `image`: weighted mean of each image, then mean of the batch; `released`: mean of the whole batch.

    Raises:
        ValueError: if an estimate with a weight has another size than the target.

    Source: ARFlow, Liu et al., CVPR 2020, equation 9; SMURF, Stone et al., CVPR 2021; the released code of Cost
    Unrolling (losses/flow_loss.py, SelfSequenceLoss).
    """
    total = target.new_zeros(())
    for level_weight, (_, flow) in zip(level_weights(gamma, len(estimates)), estimates, strict=True):
        if level_weight == 0:
            continue
        if flow.shape != target.shape:
            raise ValueError(
                f"an estimate and the teacher's flow differ in size: {tuple(flow.shape)} and {tuple(target.shape)}; "
                "for a backbone with a pyramid, only the last estimate can be compared: set gamma to 0."
            )
        difference = consistency_map(flow, target, epsilon=epsilon, exponent=exponent)
        if masking == "image":
            mean = visible_mean(difference, weight)
        else:
            mean = (difference * weight).mean() / (weight.mean() + SMALLEST_SHARE)
        total = total + level_weight * mean
    return total


@contextmanager
def unmoved_statistics(network: FlowNetwork) -> Iterator[None]:
    """Disable the update of the running statistics of batch norms, which still normalise as in training.

    The statistics are for evaluation, so they should not include a student's altered frames.
    """
    norms = [
        module for module in cast(nn.Module, network).modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class Distillation(nn.Module):
    """One term of the self-supervision: its views, the selected pixels, and its weight.

    A student's pass does not update the running statistics of batch norms (in the released code, it does).

    Args:
        views: views that are applied one after another to the frames and the teacher's flow.
        visibility: selects the pixels where the teacher is trusted; its flow is wrong at occluded pixels.
        weight: weight of the loss, added to that of the objective.
        start: first step with this loss; with a ramp, the last step with weight 0.
        ramp: number of steps from weight 0 to the full weight.
        epsilon, exponent: parameters of the penalty (|d| + epsilon)^exponent; epsilon must be above 0 if the exponent
            is below 1.
        gamma: weight of the student's iterates, see :func:`consistency_loss`; 0 for pyramids.
        pixels: `visible`: all pixels where the teacher is trusted; `newly_occluded`: those of them where the student's
            flow fails the forward-backward test (UFlow, SMURF); the student then estimates both directions.
        masking: see :func:`consistency_loss`.

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        *,
        views: list[View],
        visibility: Visibility,
        weight: float,
        start: int = 0,
        ramp: int = 0,
        epsilon: float = 0.0,
        exponent: float = 1.0,
        gamma: float = 0.0,
        pixels: Pixels = "visible",
        masking: Masking = "image",
    ) -> None:
        super().__init__()
        check_choice("pixels", pixels, Pixels)
        check_choice("masking", masking, Masking)
        if min(weight, start, ramp, epsilon, gamma) < 0:
            raise ValueError(
                f"a value is negative: weight={weight}, start={start}, ramp={ramp}, epsilon={epsilon}, gamma={gamma}; "
                "all must be at least 0."
            )
        if exponent <= 0 or (exponent < 1 and epsilon == 0):
            raise ValueError(
                f"exponent={exponent} with epsilon={epsilon}: the gradient is not finite where the flows are equal; "
                "the exponent must be above 0, and epsilon above 0 if the exponent is below 1."
            )
        self.views = nn.ModuleList(views)
        self.visibility = visibility
        self.weight, self.start, self.ramp = weight, start, Ramp(start=start, steps=ramp)
        self.epsilon, self.exponent, self.gamma = epsilon, exponent, gamma
        self.pixels: Pixels = pixels
        self.masking: Masking = masking

    def weight_at(self, step: int) -> float:
        """Weight of the loss at a training step."""
        return self.weight * self.ramp.at(step)

    def student_pair(self, pair: LabelledPair, *, seeds: list[int], step: int) -> LabelledPair:
        """Pair after all views.

        Args:
            pair: frames and the teacher's flow.
            seeds: one per sample.
            step: training step; seeds and step determine all draws.
        """
        for i, view in enumerate(self.views):
            pair = view(pair, seeds=[derived_seed(seed, step, i) for seed in seeds])
        return pair

    def forward(
        self,
        network: FlowNetwork,
        sample: FlowSample,
        flow: Tensor,
        flow_backward: Tensor,
        *,
        seeds: list[int],
        step: int,
    ) -> Tensor:
        """Unweighted loss of a student for a batch after all views; the teacher does not receive gradients.

        Args:
            network: the student.
            sample: the batch of the teacher, with frames (B, 3, H, W) and, if a view needs them, segments.
            flow, flow_backward: the teacher's flow in both directions, (B, 2, H, W), pixels.
            seeds: one per sample.
            step: training step.
        """
        with torch.no_grad():
            visible = self.visibility.at(step)(flow, flow_backward)
            pair = LabelledPair(sample["image1"], sample["image2"], flow.detach(), visible, sample.get("segments"))
            image1, image2, target, weight, _ = self.student_pair(pair, seeds=seeds, step=step)
        if self.pixels == "visible":
            with unmoved_statistics(network):
                estimates = network(image1, image2)
        else:
            with unmoved_statistics(network):
                estimates, backward = network.bidirectional(image1, image2)
            weight = weight * (1 - forward_backward_visibility(estimates[-1].flow, backward[-1].flow))
        return consistency_loss(
            estimates,
            target,
            weight,
            epsilon=self.epsilon,
            exponent=self.exponent,
            gamma=self.gamma,
            masking=self.masking,
        )

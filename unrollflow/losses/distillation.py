"""Self-supervision: a student that sees a harder view of a pair follows what the network says of the pair itself."""

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
"""Added to the trusted share of a batch before the released mean divides by it."""


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
    """How far a student's estimates are from a teacher's flow, a scalar.

    Args:
        estimates: the student's, first to last; those that count are as large as the target.
        target: (B, 2, H, W), pixels.
        weight: (B, 1, H, W) in [0, 1].
        epsilon, exponent: see :func:`consistency_map`.
        gamma: of the weights gamma^(n - 1 - i); 0: the last estimate alone.
        masking: `image`: the weighted mean of each image, then of the batch; `released`: one of the whole batch.

    Raises:
        ValueError: if an estimate that counts has another size than the target.

    Source: ARFlow, Liu et al., CVPR 2020, equation 9; SMURF, Stone et al., CVPR 2021; the released code of Cost
    Unrolling (losses/flow_loss.py, SelfSequenceLoss).
    """
    total = target.new_zeros(())
    for level_weight, (_, flow) in zip(level_weights(gamma, len(estimates)), estimates, strict=True):
        if level_weight == 0:
            continue
        if flow.shape != target.shape:
            raise ValueError(
                f"an estimate is {tuple(flow.shape)}, but the teacher's flow is {tuple(target.shape)}: the estimates "
                "of a pyramid grow, so that only the last can be compared; set gamma to 0."
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
    """Batch norms normalise as in training, but what they keep for evaluation stays as it is.

    Evaluation does not see a student's altered frames, so that its statistics should not either.
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
    """One term of the self-supervision: its views, the pixels that are learnt from, and its weight.

    A student's pass leaves the running statistics of batch norms alone (the released code's moves them).

    Args:
        views: applied one after another to the frames and the teacher's flow.
        visibility: where the teacher is trusted; its flow is not right where it could not be seen.
        weight: of the loss beside the objective's.
        start: first step at which it counts; with a ramp, that at which the weight is still 0.
        ramp: steps from weight 0 to the whole weight.
        epsilon, exponent: of the penalty (|d| + epsilon)^exponent; epsilon must be above 0 if the exponent is below 1.
        gamma: of the student's iterates, see :func:`consistency_loss`; 0 for pyramids.
        pixels: `visible`: all where the teacher is trusted; `newly_occluded`: of these, where the student's own flow
            both ways fails the forward-backward test (UFlow, SMURF); the student then estimates both.
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
                f"weight={weight}, start={start}, ramp={ramp}, epsilon={epsilon}, gamma={gamma}: none may be negative."
            )
        if exponent <= 0 or (exponent < 1 and epsilon == 0):
            raise ValueError(
                f"exponent={exponent} with epsilon={epsilon}: the gradient is not finite where the flows agree; an "
                "exponent below 1 needs an epsilon above 0, and none may be 0."
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
        """The pair after all views.

        Args:
            pair: frames and the teacher's flow.
            seeds: one for each sample.
            step: training step; with the seeds it decides every draw.
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
        """Loss of a student that sees a batch through all views, unweighted; the teacher gets no gradient.

        Args:
            network: the student.
            sample: the batch as the teacher saw it, with frames (B, 3, H, W) and, if a view needs them, segments.
            flow, flow_backward: the teacher's flow of it both ways, (B, 2, H, W), pixels.
            seeds: one for each sample.
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
                estimates, backward = network.both(image1, image2)
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

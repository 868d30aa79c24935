"""Variants that are not part of the package: changes of the network, the objective and the samples."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from unrollflow.contracts import FlowEstimate, FlowSample
from unrollflow.data import MovingLayers
from unrollflow.losses import LossTerms, Photometric, Smoothness, UnsupervisedObjective
from unrollflow.models import PyramidMatcher
from unrollflow.models.matching_stages import MatchingStage
from unrollflow.ops.precision import full_precision

STEP = 0.35  # primal and dual step: their product times the norm 8 of the difference operator is less than 1
LARGEST_WEIGHT = 0.1  # initial weight of the total variation, pixels
SCALES = (1 / 3, 1 / 2, 2 / 3, 5 / 6)
"""Initial share of the motions in :class:`GrowingMotion`."""

RIGHT, BELOW = 5, 7  # neighbours among the 3x3 scores


@full_precision
def propagate_by_total_variation(flow: Tensor, confidence: Tensor, shares: Tensor, *, steps: int) -> Tensor:
    """Return the flow after a few primal-dual steps of min_F sum_p w |F - flow|^2 / 2 + sum_p (l_x |F_x| + l_y |F_y|).

    The data weight w = softplus(confidence) is small where a match is uncertain. The edge weights l come from the
    scores of the right and the lower neighbour, so that certain neighbours fill in pixels without a match.

    Args:
        flow: (B, 2, H, W), pixels.
        confidence: (B, 1, H, W).
        shares: (B, 9, H, W), scores of the 3x3 neighbours.
        steps: at least 1.

    Returns:
        (B, 2, H, W), pixels.

    Source: Chambolle and Pock, A first-order primal-dual algorithm, JMIV 2011, algorithm 1.
    """
    data = F.softplus(confidence)
    x_weight = LARGEST_WEIGHT * F.softplus(shares[:, RIGHT : RIGHT + 1, :, :-1])
    y_weight = LARGEST_WEIGHT * F.softplus(shares[:, BELOW : BELOW + 1, :-1])
    primal = leading = flow
    x_dual, y_dual = torch.zeros_like(flow[..., 1:]), torch.zeros_like(flow[..., 1:, :])
    for _ in range(steps):
        x_dual = torch.clamp(x_dual + STEP * leading.diff(dim=-1), -x_weight, x_weight)
        y_dual = torch.clamp(y_dual + STEP * leading.diff(dim=-2), -y_weight, y_weight)
        divergence = F.pad(x_dual, (0, 1)) - F.pad(x_dual, (1, 0))
        divergence = divergence + F.pad(y_dual, (0, 0, 0, 1)) - F.pad(y_dual, (0, 0, 1, 0))
        before, primal = primal, (primal + STEP * (divergence + data * flow)) / (1 + STEP * data)
        leading = 2 * primal - before
    return primal


class UnrolledStage(MatchingStage):
    """A level with unrolled steps of total variation after the learned propagation.

    Args:
        steps: number of steps of the primal-dual algorithm.
        args, kwargs: arguments of MatchingStage; with `propagations=0` the steps replace the learned propagation.
    """

    def __init__(self, *args: Any, steps: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.steps = steps
        self.halo += 2 * steps  # rows within reach of the divergence and the gradient of a step

    def spread(self, flow: Tensor, confidence: Tensor, shares: Tensor) -> Tensor:
        """Propagate a flow (B, 2, h, w) to neighbours."""
        return propagate_by_total_variation(
            super().spread(flow, confidence, shares), confidence, shares, steps=self.steps
        )


class UnrolledPropagation(PyramidMatcher):
    """PyramidMatcher of the default widths with :class:`UnrolledStage`.

    Args:
        steps: number of steps of the primal-dual algorithm on each level.
        propagations: rounds of learned propagation before these steps.
    """

    def __init__(self, *, steps: int = 5, propagations: int = 3) -> None:
        super().__init__()
        self.matching = UnrolledStage(24, 32, [1, 1, 2], 2, propagations, steps=steps)


class OcclusionAwareObjective(UnsupervisedObjective):
    """The unsupervised objective with more smoothness in occluded pixels.

    Args:
        occluded_weight: factor of a second smoothness term with a gradient at occluded pixels only: they follow their
            visible neighbours, which are not affected.
        photometric, smoothness, kwargs: arguments of UnsupervisedObjective.
    """

    def __init__(
        self, photometric: Photometric, smoothness: Smoothness, *, occluded_weight: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(photometric, smoothness, **kwargs)
        self.occluded_weight = occluded_weight

    def forward(
        self, sample: FlowSample, forward: list[FlowEstimate], backward: list[FlowEstimate], *, step: int
    ) -> LossTerms:
        """Return the cost of both lists of estimates."""
        terms: LossTerms = super().forward(sample, forward, backward, step=step)
        test = self.visibility.at(step)
        ways = ((sample["image1"], forward, backward), (sample["image2"], backward, forward))
        extra = [
            self._smoothness(
                image, [only_occluded(estimate, test(there[-1].flow, back[-1].flow)) for estimate in there]
            )
            for image, there, back in ways
        ]
        return terms._replace(total=terms.total + self.smoothness_weight * self.occluded_weight * sum(extra) / 2)


def only_occluded(estimate: FlowEstimate, visible: Tensor) -> FlowEstimate:
    """Return an estimate with a gradient only at pixels that are not visible (B, 1, H, W)."""
    seen = F.interpolate(visible, estimate.flow.shape[-2:], mode="nearest") > 0
    return FlowEstimate(raw=estimate.raw, flow=torch.where(seen, estimate.flow.detach(), estimate.flow))


class RepeatedLayers(Dataset[FlowSample]):
    """First samples of MovingLayers, which are the same in every epoch.

    Args:
        samples: number of samples.
        kwargs: arguments of MovingLayers.
    """

    def __init__(self, *, samples: int, **kwargs: Any) -> None:
        self.layers = MovingLayers(**kwargs)
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> FlowSample:
        return self.layers[index % self.samples]


class GrowingMotion(Dataset[FlowSample]):
    """MovingLayers with translations, rotations and zooms that grow from a third to their full size.

    A sample depends on the number of samples drawn before: it needs `--data.workers 0`.

    Args:
        samples: number of samples until the motion has its full size.
        kwargs: arguments of MovingLayers.
    """

    def __init__(self, *, samples: int, **kwargs: Any) -> None:
        whole = MovingLayers(**kwargs)  # in this form, the command line finds the arguments
        smaller = [MovingLayers(**with_scaled_motion(kwargs, scale)) for scale in SCALES]
        self.stages = [*smaller, whole]
        self.samples, self.drawn = samples, 0

    def __len__(self) -> int:
        return len(self.stages[0])

    def __getitem__(self, index: int) -> FlowSample:
        stage = min(len(SCALES), len(SCALES) * self.drawn // self.samples)
        self.drawn += 1
        return self.stages[stage][index]


def with_scaled_motion(arguments: dict[str, Any], scale: float) -> dict[str, Any]:
    """Return the arguments of MovingLayers with scaled translations, rotations and zooms."""
    motions = {name for name in arguments if name.startswith(("background_", "foreground_"))}
    return {name: scale * value if name in motions else value for name, value in arguments.items()}

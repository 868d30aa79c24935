"""Smoothness terms, which share the gradient operator, order, edge weights and guide, and differ in the penalty."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unrollflow.contracts import check_images
from unrollflow.ops.choice import check_choice
from unrollflow.ops.gradient import Operator, Order, edge_weights, image_gradient
from unrollflow.ops.precision import full_precision
from unrollflow.ops.resize import resize_image
from unrollflow.ops.unroll import check, unrolled_cost

EdgePosition = Literal["inside", "outside"]
GuideRange = Literal["unit", "symmetric"]
Penalty = Literal["l1", "charbonnier", "huber"]


@full_precision
def hard_penalty(gradient: Tensor, *, penalty: Penalty = "l1", epsilon: float = 0.01, delta: float = 1.0) -> Tensor:
    """Elementwise penalty of a gradient: |d|, sqrt(d^2 + epsilon^2), or Huber's d^2/2 below delta.

    Args:
        gradient: any shape, in the unit of epsilon and delta.
        penalty: `l1` is total variation, with derivative 0 at 0.
        epsilon: parameter of the Charbonnier penalty, which is epsilon at 0.
        delta: transition of the Huber penalty from quadratic to linear, delta (|d| - delta/2).

    Raises:
        ValueError: if the penalty is unknown.

    >>> hard_penalty(torch.tensor([-2.0, 0.5]), penalty="huber").tolist()
    [1.5, 0.125]
    """
    if penalty == "l1":
        return gradient.abs()
    if penalty == "charbonnier":
        return (gradient.square() + epsilon**2).sqrt()
    if penalty == "huber":
        return F.huber_loss(gradient, torch.zeros_like(gradient), reduction="none", delta=delta)
    raise ValueError(f"unknown penalty {penalty!r}; expected 'l1', 'charbonnier' or 'huber'.")


@full_precision
def edge_aware_mean(
    field: Tensor,
    image: Tensor,
    phi: Callable[[Tensor], Tensor],
    *,
    operator: Operator,
    order: Order,
    edge_alpha: float,
    edge_position: EdgePosition,
    guide_range: GuideRange,
) -> Tensor:
    """Mean over both directions of the mean of phi(w g), or of w phi(g) if the edge weights are outside.

    Args:
        field: (B, C, h, w), usually a flow, in the unit of phi.
        image: (B, 3, H, W) in [0, 1], the guide; averaged down to (h, w) by area if it is larger.
        phi: elementwise penalty.
        operator, order: operator and order of the gradient of the field; that of the guide is of first order.
        edge_alpha: sensitivity of the weights exp(-alpha |grad I|) to edges; 0 disables them.
        edge_position: edge weights inside or outside the penalty (equal for l1).
        guide_range: range of the guide: [0, 1], or [-1, 1], which doubles its contrast.

    Returns:
        a scalar.
    """
    check_images(image, user="smoothness")
    guide = resize_image(image, (field.shape[-2], field.shape[-1]))
    guide = guide if guide_range == "unit" else 2 * guide - 1
    weights = edge_weights(guide, alpha=edge_alpha, operator=operator, order=order)
    gradients = image_gradient(field, operator=operator, order=order)
    means = [
        phi(w * g).mean() if edge_position == "inside" else (w * phi(g)).mean()
        for w, g in zip(weights, gradients, strict=True)
    ]
    return torch.stack(means).mean()


class Smoothness(nn.Module, ABC):
    """Base class of smoothness terms; a subclass defines the penalty.

    Args: see :func:`edge_aware_mean`.
    """

    def __init__(
        self,
        *,
        operator: Operator = "forward",
        order: Order = 1,
        edge_alpha: float = 10.0,
        edge_position: EdgePosition = "inside",
        guide_range: GuideRange = "unit",
    ) -> None:
        super().__init__()
        if edge_alpha < 0:
            raise ValueError(
                f"edge_alpha is negative: {edge_alpha}; it must be at least 0 (0 disables the edge weights)."
            )
        check_choice("operator", operator, Operator)
        check_choice("order", order, Order)
        check_choice("edge_position", edge_position, EdgePosition)
        check_choice("guide_range", guide_range, GuideRange)
        self.operator: Operator = operator
        self.order: Order = order
        self.edge_alpha = edge_alpha
        self.edge_position: EdgePosition = edge_position
        self.guide_range: GuideRange = guide_range

    @abstractmethod
    def penalty(self, gradient: Tensor) -> Tensor:
        """Elementwise penalty of an (edge-weighted) gradient of any shape."""

    def forward(self, field: Tensor, image: Tensor) -> Tensor:
        """Scalar smoothness of a field (B, C, h, w), guided by an image (B, 3, H, W) in [0, 1]."""
        return edge_aware_mean(
            field,
            image,
            self.penalty,
            operator=self.operator,
            order=self.order,
            edge_alpha=self.edge_alpha,
            edge_position=self.edge_position,
            guide_range=self.guide_range,
        )


class NoSmoothness(Smoothness):
    """Zero smoothness term, as a baseline."""

    def __init__(self) -> None:
        super().__init__()

    def penalty(self, gradient: Tensor) -> Tensor:
        """Zero for every gradient."""
        return torch.zeros_like(gradient)

    def forward(self, field: Tensor, image: Tensor) -> Tensor:
        """Zero, without gradient."""
        return field.new_zeros(())


class TotalVariation(Smoothness):
    """Hard penalties of the gradient; `l1` is total variation. Module form of :func:`hard_penalty`.

    >>> step = torch.tensor([0.0, 0.0, 3.0, 3.0]).expand(1, 1, 4, 4)
    >>> TotalVariation(edge_alpha=0.0)(step, torch.zeros(1, 3, 4, 4)).item()  # mean of 3/3 along x and 0 along y
    0.5
    """

    def __init__(
        self,
        *,
        penalty: Penalty = "l1",
        epsilon: float = 0.01,
        delta: float = 1.0,
        operator: Operator = "forward",
        order: Order = 1,
        edge_alpha: float = 10.0,
        edge_position: EdgePosition = "inside",
        guide_range: GuideRange = "unit",
    ) -> None:
        super().__init__(
            operator=operator,
            order=order,
            edge_alpha=edge_alpha,
            edge_position=edge_position,
            guide_range=guide_range,
        )
        self.kind: Penalty = penalty
        self.epsilon, self.delta = epsilon, delta
        check_choice("penalty", penalty, Penalty)
        if epsilon <= 0 or delta <= 0:
            raise ValueError(f"epsilon={epsilon}, delta={delta}: both must be more than 0.")

    def penalty(self, gradient: Tensor) -> Tensor:
        """See :func:`hard_penalty`."""
        return hard_penalty(gradient, penalty=self.kind, epsilon=self.epsilon, delta=self.delta)


class UnrolledTotalVariation(Smoothness):
    """The paper's term: the unrolled proxy of total variation. Module form of :func:`~unrollflow.ops.unrolled_cost`.

    The threshold lam / rho is in the unit of the gradient of the field (pixels per pixel for a flow in pixels). The
    cost increases with rho. The defaults are the released form.
    """

    def __init__(
        self,
        *,
        lam: float = 0.1,
        rho: float = 0.1,
        eta: float = 1.0,
        steps: int = 1,
        detach: bool = False,
        initial_term: bool = True,
        operator: Operator = "forward",
        order: Order = 1,
        edge_alpha: float = 10.0,
        edge_position: EdgePosition = "inside",
        guide_range: GuideRange = "unit",
    ) -> None:
        super().__init__(
            operator=operator,
            order=order,
            edge_alpha=edge_alpha,
            edge_position=edge_position,
            guide_range=guide_range,
        )
        check(lam=lam, rho=rho, steps=steps)
        self.lam, self.rho, self.eta, self.steps = lam, rho, eta, steps
        self.detach, self.initial_term = detach, initial_term

    def penalty(self, gradient: Tensor) -> Tensor:
        """See :func:`~unrollflow.ops.unrolled_cost`."""
        return unrolled_cost(
            gradient,
            lam=self.lam,
            rho=self.rho,
            eta=self.eta,
            steps=self.steps,
            detach=self.detach,
            initial_term=self.initial_term,
        )

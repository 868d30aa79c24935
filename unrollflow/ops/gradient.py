"""Spatial derivatives of a field, and their edge weights from an image."""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from unrollflow.ops.precision import full_precision

Operator = Literal["forward", "sobel", "sobel_unnormalised"]
Order = Literal[1, 2]
SOBEL_MASS = 8
"""Sum of the absolute values of a Sobel kernel."""


def _forward(field: Tensor) -> tuple[Tensor, Tensor]:
    return field.diff(dim=-1), field.diff(dim=-2)


def _sobel(field: Tensor) -> tuple[Tensor, Tensor]:
    gx, gy = _correlate_sobel(F.pad(field, [1] * 4, mode="replicate"), padding=0)
    return gx / SOBEL_MASS, gy / SOBEL_MASS


def _sobel_unnormalised(field: Tensor) -> tuple[Tensor, Tensor]:
    return _correlate_sobel(field, padding=1)  # with zeros, as in the released code


def _correlate_sobel(field: Tensor, *, padding: int) -> tuple[Tensor, Tensor]:
    # not kornia's operator, which copies its kernel from the host and makes the GPU wait
    channels = field.shape[1]
    difference = torch.arange(-1, 2, device=field.device, dtype=field.dtype)
    along_x = torch.outer(2 - difference.abs(), difference)  # (3, 3): (1, 2, 1) times (-1, 0, 1)
    kernel = torch.stack([along_x, along_x.T]).unsqueeze(1)  # (2, 1, 3, 3): x, y
    gradient = F.conv2d(field, kernel.repeat(channels, 1, 1, 1), padding=padding, groups=channels)
    pair = rearrange(gradient, "b (c d) h w -> b c d h w", d=2)
    return pair[:, :, 0], pair[:, :, 1]


OPERATORS = {"forward": _forward, "sobel": _sobel, "sobel_unnormalised": _sobel_unnormalised}


@full_precision
def image_gradient(field: Tensor, *, operator: Operator = "forward", order: Order = 1) -> tuple[Tensor, Tensor]:
    """Derivatives of every channel along x and y; order 2 applies the operator twice, without mixed terms.

    Convention: `forward` computes differences to the next pixel, without padding, so gx is (B, C, H, W - order) and gy
    (B, C, H - order, W); `sobel` is normalised, with replicated borders (a unit ramp gives 1); `sobel_unnormalised`,
    the operator of the released code, is padded with zeros and not normalised (a unit ramp gives 8, and the border is
    an edge).

    Args:
        field: (B, C, H, W), any unit.
        operator: kind of differences.
        order: 1 or 2.

    Returns:
        (gx, gy), with different shapes, in the unit of the field per pixel (per pixel squared for order 2).

    Raises:
        ValueError: if the operator or order is unknown, or the field is too small for a difference.

    Source: algorithm of the released code (losses/flow_loss.py, models/admm.py).

    >>> ramp = torch.arange(4.0).expand(1, 1, 3, 4)
    >>> image_gradient(ramp)[0].unique().item()
    1.0
    """
    if operator not in OPERATORS or order not in (1, 2):
        raise ValueError(
            f"operator={operator!r}, order={order!r}; expected an operator in {sorted(OPERATORS)} and order 1 or 2."
        )
    if field.ndim != 4 or min(field.shape[-2:]) <= order:
        raise ValueError(
            f"field has shape {tuple(field.shape)}; order {order} needs (B, C, H, W) with sides of at least "
            f"{order + 1}."
        )
    gx, gy = OPERATORS[operator](field)
    if order == 1:
        return gx, gy
    return OPERATORS[operator](gx)[0], OPERATORS[operator](gy)[1]


@full_precision
def edge_weights(
    image: Tensor, *, alpha: float, operator: Operator = "forward", order: Order = 1
) -> tuple[Tensor, Tensor]:
    """Weights exp(-alpha * mean over channels of |grad I|), from first differences of the image for both orders.

    Args:
        image: (B, C, H, W); its range scales the exponent: [-1, 1] doubles it relative to [0, 1].
        alpha: sensitivity to edges, >= 0; 0 gives ones.
        operator: operator of the weighted field.
        order: order of the derivative of the field; with `forward` and order 2, the weight of (x - 1, x, x + 1) is
            from the difference of the image between x and x + 1.

    Returns:
        (wx, wy), (B, 1, ...), with the sizes of :func:`image_gradient` for that order.

    >>> edge_weights(torch.zeros(1, 3, 4, 4), alpha=10.0)[0].unique().item()
    1.0
    """
    gx, gy = image_gradient(image, operator=operator)
    wx, wy = (torch.exp(-alpha * g.abs().mean(dim=1, keepdim=True)) for g in (gx, gy))
    if operator == "forward":
        return wx[..., order - 1 :], wy[..., order - 1 :, :]
    return wx, wy

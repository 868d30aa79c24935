"""The unrolled cost and its slope in one pass: what :func:`~unrollflow.ops.unrolled_cost` computes."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

BLOCK = 2**17
"""Elements that a CPU takes through all steps before it turns to the next ones: their iterates stay in its cache."""


class Constants(NamedTuple):
    """Of the cost, see :func:`~unrollflow.ops.unrolled_cost`."""

    lam: float
    rho: float
    eta: float
    steps: int
    detach: bool
    initial_term: bool


class FusedCost(torch.autograd.Function):
    """Cost of c, elementwise, its slope computed on the way: one tensor is saved for the backward pass, whatever T."""

    @staticmethod
    def forward(ctx: Any, c: Tensor, constants: Constants) -> Tensor:
        """Cost in the shape of c."""
        c = c.contiguous()
        start = constants.initial_term  # e_0 = -c
        squares, slopes = (c.square(), c.clone()) if start else (torch.zeros_like(c), torch.zeros_like(c))
        # few launches, one kernel, or nothing that would be come back to
        whole = c.device.type != "cpu" or torch.compiler.is_compiling() or constants.steps == 1
        block = c.numel() if whole else BLOCK
        flat = (x.view(-1) for x in (c, squares, slopes))
        for parts in zip(*(torch.split(x, block) for x in flat), strict=True):
            accumulate(*parts, constants=constants)
        ctx.save_for_backward(slopes)
        return squares

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Slope times gradient.

        Raises:
            RuntimeError: if it should itself be differentiable.
        """
        if torch.is_grad_enabled():
            raise RuntimeError(
                "unrolled_cost has a first derivative only, but backward(create_graph=True) asks for a second; average "
                "rho / 2 * (q - c + beta)**2 over the iterates of `unroll` instead, which is plain autograd."
            )
        (slopes,) = ctx.saved_tensors
        return gradient * slopes, None


def accumulate(c: Tensor, squares: Tensor, slopes: Tensor, *, constants: Constants) -> None:
    """Make of e_0^2 and e_0 e_0' in `squares` and `slopes` the mean over t of rho/2 e_t^2, and its derivative by c.

    e_t = q_t - c + beta_t = beta_t - s_t, where s_t = c - q_t is beta_{t-1} plus v = c - beta_{t-1} clamped to the
    threshold. Derivatives are carried along (forward mode): q's is v's where |v| is at least the threshold, else 0. The
    first step, which starts from beta = 0, is written in closed form. Masks are 1.0 and 0.0 (bool is slow on CPUs).

    Source: the recursion that autograd finds for the released code (models/admm.py, losses/flow_loss.py).
    """
    lam, rho, eta, steps, detach, initial_term = constants
    threshold, gain = lam / rho, 1 + eta
    s = c.clamp(-threshold, threshold)
    squares.addcmul_(s, s, value=gain**2)
    if detach:  # q and beta are constants: the derivative of e is -1
        slopes.add_(s, alpha=gain)
    else:
        above = c.abs().ge_(threshold)
        slopes.add_(s, alpha=gain**2).addcmul_(s, above, value=-(gain**2))
        v_slope = above.mul_(-eta).add_(gain)
    beta = s.mul_(-eta)
    for _ in range(steps - 1):
        v = c - beta
        s = v.clamp(-threshold, threshold).add_(beta)
        beta.sub_(s, alpha=eta)
        e = torch.sub(beta, s, out=s)
        squares.addcmul_(e, e)
        if detach:
            slopes.sub_(e)
            continue
        q_slope = v.abs_().ge_(threshold).mul_(v_slope)
        v_slope.sub_(q_slope, alpha=eta).add_(eta)
        slopes.addcmul_(e, q_slope.sub_(v_slope))
    terms = steps + initial_term
    squares.mul_(rho / 2 / terms)
    slopes.mul_(rho / terms)

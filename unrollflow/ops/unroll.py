"""Cost Unrolling: a few ADMM steps on the weighted flow gradient c, whose constraint terms are a differentiable cost.

Symbols are those of the paper (Lifshitz & Raviv, Cost Function Unrolling in Unsupervised Optical Flow, IEEE TPAMI 2024,
arXiv 2011.14814) and its released code: c is the weighted gradient, q its sparse copy, beta the scaled multiplier of
the constraint q = c, rho the weight of that constraint, lam the weight of |q|, eta the step of the multiplier.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from unrollflow.ops.precision import full_precision


def soft_threshold(x: Tensor, threshold: float) -> Tensor:
    """Proximal map of threshold * |x|, elementwise; its derivative is 1 if |x| >= threshold, otherwise 0.

    >>> soft_threshold(torch.tensor([-3.0, 0.5, 2.0]), 1.0).tolist()
    [-2.0, 0.0, 1.0]
    """
    return x - F.hardtanh(x, -threshold, threshold)  # not softshrink, whose derivative at the threshold is 0


@full_precision
def unroll(c: Tensor, *, lam: float, rho: float, eta: float = 1.0, steps: int = 1) -> list[tuple[Tensor, Tensor]]:
    """Iterates (q_t, beta_t) for t = 0..steps, elementwise on a tensor c of any shape.

    Args:
        c: weighted gradient, in the unit of the threshold lam / rho.
        lam, rho: their quotient is the threshold; lam >= 0, rho > 0.
        eta: step of the multiplier.
        steps: T >= 1.

    Raises:
        ValueError: if a value is out of range.

    >>> q, beta = unroll(torch.tensor([0.4, 3.0]), lam=1.0, rho=1.0)[-1]
    >>> q.tolist(), beta.tolist()
    ([0.0, 2.0], [-0.4000000059604645, -1.0])
    """
    check(lam=lam, rho=rho, steps=steps)
    q = beta = torch.zeros_like(c)
    iterates = [(q, beta)]
    for _ in range(steps):
        q = soft_threshold(c - beta, lam / rho)  # Eq. (a)
        beta = beta + eta * (q - c)  # Eq. (b)
        iterates.append((q, beta))
    return iterates


@full_precision
def unrolled_cost(
    c: Tensor,
    *,
    lam: float,
    rho: float,
    eta: float = 1.0,
    steps: int = 1,
    detach: bool = False,
    initial_term: bool = True,
) -> Tensor:
    """Mean over t of rho/2 (q_t - c + beta_t)^2, elementwise, with the shape of c.

    Two choices determine the shape of the penalty. Slopes at lam = rho = eta = 1 for c = 0.6 / 1.1 / 5 / 20:

    | steps | detach | initial_term | slope | character |
    |---|---|---|---|---|
    | 1 | False | True (both as released) | 1.5 / 0.55 / 2.5 / 10 | quadratic, steeper below the threshold |
    | 1 | False | False | 2.4 / 0 / 0 / 0 | truncated quadratic: no force on strong edges |
    | 4 | True | False | 1.15 / 1.25 / 1.25 / 1.25 | bounded, like total variation |

    Args:
        c, lam, rho, eta, steps: as in :func:`unroll`.
        detach: True: q and beta are constants in the primal step, as in ADMM; False: differentiate through them, as in
            the released code.
        initial_term: True (released): include t = 0, where q = beta = 0, a quadratic term; False: average t = 1..T.

    Raises:
        ValueError: as :func:`unroll`.

    Source: algorithm of the released code (models/admm.py, losses/flow_loss.py).

    >>> unrolled_cost(torch.tensor([0.5, 4.0]), lam=1.0, rho=1.0).tolist()
    [0.3125, 5.0]
    """
    iterates = unroll(c.detach() if detach else c, lam=lam, rho=rho, eta=eta, steps=steps)
    counted = iterates if initial_term else iterates[1:]
    squares = [F.mse_loss(c, q + beta, reduction="none") for q, beta in counted]
    return rho / 2 / len(squares) * sum(squares, start=torch.zeros_like(c))  # Eq. (c)


def check(*, lam: float, rho: float, steps: int) -> None:
    """Raise ValueError unless lam >= 0, rho > 0 and steps >= 1."""
    if not (lam >= 0 and rho > 0 and steps >= 1):
        raise ValueError(
            f"lam={lam}, rho={rho}, steps={steps}: the unrolled cost needs lam >= 0, rho > 0 and steps >= 1."
        )

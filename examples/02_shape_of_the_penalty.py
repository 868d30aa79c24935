"""
Shape of the penalty
====================

Compare total variation with the unrolled cost: the value and the slope for a flow gradient of each size.
"""

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from unrollflow import unrolled_cost

# %%
# The unrolled cost has three settings that decide its shape. `steps` is the number T of ADMM steps. `detach=True`
# does not differentiate through the iterates. `initial_term=False` omits the quadratic term of t = 0. With
# `lam = rho = 1` the threshold is 1, so the horizontal axis shows the gradient in thresholds.

penalties = {
    "total variation": torch.abs,
    "T = 1, as released": lambda c: unrolled_cost(c, lam=1, rho=1),
    "T = 1, without t = 0": lambda c: unrolled_cost(c, lam=1, rho=1, initial_term=False),
    "T = 4, detached, without t = 0": lambda c: unrolled_cost(
        c, lam=1, rho=1, steps=4, detach=True, initial_term=False
    ),
}

# %%
# The slope is what training uses: the derivative that autograd returns. For a detached form it is not the derivative
# of the plotted value, because the iterates are constants.


def value_and_slope(penalty: object, c: Tensor) -> tuple[Tensor, Tensor]:
    """Elementwise penalty and its derivative."""
    c = c.clone().requires_grad_()
    value = penalty(c)
    (slope,) = torch.autograd.grad(value.sum(), c)
    return value.detach(), slope


gradient = torch.linspace(-4, 4, 800)  # an even number of points: none is 0, where |c| has no slope
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name, penalty in penalties.items():
    value, slope = value_and_slope(penalty, gradient)
    left.plot(gradient, value, label=name)
    right.plot(gradient, slope)
left.set(title="penalty", xlabel="gradient (thresholds)", ylim=(0, 6))
right.set(title="slope", xlabel="gradient (thresholds)", ylim=(-4.2, 4.2))
left.legend(fontsize="small")
plt.show()

# %%
# Total variation has the slope 1 for every gradient, however small. The unrolled forms have a small slope near 0.
# Beyond the threshold they differ: the released form grows with the gradient, the second form has no slope, and the
# third form has a constant slope, like total variation.

points = torch.tensor([0.1, 0.5, 2.0, 10.0])
print(f"{'gradient':32}", *(f"{float(point):6.2f}" for point in points))
for name, penalty in penalties.items():
    print(f"{name:32}", *(f"{float(slope):6.2f}" for slope in value_and_slope(penalty, points)[1]))

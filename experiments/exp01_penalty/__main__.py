"""Which loss and slope does each penalty have for a flow gradient of each size?

Question: loss and slope against the gradient's size, for total variation, Charbonnier, Huber and the unrolled cost at
T = 1, 2, 4, 8, detached and not, with and without the t = 0 term; closed forms beside them.

Command: make reproduce EXP=01. CPU minutes: less than 1.

Unit: the gradient in thresholds (lam = rho = eta = 1; Charbonnier's epsilon and Huber's delta are also 1). The slope is
the derivative that torch returns. For a detached form it is not the derivative of the plotted loss, because q and beta
are constants: the same loss has two slopes.
"""

import argparse
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from torch import Tensor

from experiments.common.penalties import HARD, Penalty, unrolled_name, unrolled_penalties
from experiments.common.results import write_table

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RESULTS = Path(__file__).with_name("results")

STEPS = (1, 2, 4, 8)
POINTS = (0.1, 0.5, 0.99, 1.01, 2.0, 5.0, 20.0)


def loss_and_slope(penalty: Penalty, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return the elementwise loss and its derivative."""
    c = c.clone().requires_grad_()
    loss = penalty(c)
    (slope,) = torch.autograd.grad(loss.sum(), c)
    return loss.detach(), slope


def closed_slope(name: str, c: Tensor) -> Tensor | None:
    """Return closed forms of the slope for c >= 0 in thresholds: hard penalties, and the unrolled cost for T = 1.

    With q = S(c), beta = q - c: at t = 1 the residual q - c + beta is -2 c below the threshold and -2 beyond, so the
    cost is 2 c^2 below and 2 beyond. Attached, its derivative is 4 c below and 0 beyond; detached, it is the negative
    residual: 2 c below and 2 beyond. The t = 0 term is c^2 / 2 with slope c; the cost is the mean of the terms.
    """
    below = c < 1
    forms = {
        "tv": c.sign(),
        "charbonnier": c / (c.square() + 1).sqrt(),
        "huber": c.clamp(max=1),
        unrolled_name(1, detach=False, initial_term=False): torch.where(below, 4 * c, 0.0),
        unrolled_name(1, detach=False, initial_term=True): torch.where(below, 4 * c, 0.0) / 2 + c / 2,
        unrolled_name(1, detach=True, initial_term=False): torch.where(below, 2 * c, 2.0),
        unrolled_name(1, detach=True, initial_term=True): torch.where(below, 2 * c, 2.0) / 2 + c / 2,
    }
    return forms.get(name)


def far_slope(name: str, c: Tensor, steps: int) -> Tensor:
    """Return the slope beyond the threshold for any T: beta_t = -1 for all t >= 1, q_1 = c - 1, q_t = c for t > 1."""
    force = 0.0 if "attached" in name else (steps + 1.0)  # residuals 2, 1, 1, ...: T + 1 in all
    return (force + c) / (steps + 1) if name.endswith("t0") else torch.full_like(c, force / steps)


def largest_difference(name: str, penalty: Penalty, c: Tensor) -> float:
    """Return the largest difference between torch's slope and the closed form; for T > 1, beyond the threshold only."""
    closed = closed_slope(name, c)
    if closed is None:
        c = c[c > 1]
        closed = far_slope(name, c, int(name.split("=")[1].split()[0]))
    return float((loss_and_slope(penalty, c)[1] - closed).abs().max())


def draw(folder: Path, c: Tensor) -> None:
    """Write figure.png: losses above, slopes below; hard penalties, and the four forms of the unrolled cost."""
    groups = [HARD] + [
        {name: p for name, p in unrolled_penalties(STEPS).items() if name.split(maxsplit=2)[2] == kind}
        for kind in ("attached t0", "attached", "detached t0", "detached")
    ]
    titles = ["hard", "attached, with t = 0 (released)", "attached, without t = 0", "detached, with t = 0"]
    titles += ["detached, without t = 0"]
    figure, axes = plt.subplots(2, 5, figsize=(19, 7), sharex=True, sharey="row", layout="constrained")
    for column, (group, title) in enumerate(zip(groups, titles, strict=True)):
        draw_group(axes[0, column], axes[1, column], group, c)
        axes[0, column].set(title=title, ylim=(0, 6))
        axes[1, column].set(xlabel="size of the gradient (thresholds)", ylim=(-0.1, 4.1))
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("slope (total variation = 1)")
    figure.savefig(folder / "figure.png", dpi=80)
    plt.close(figure)


def draw_group(above: Axes, below: Axes, group: dict[str, Penalty], c: Tensor) -> None:
    """Draw the curves of one column, with dotted closed forms and a mark at the threshold."""
    for name, penalty in group.items():
        loss, slope = loss_and_slope(penalty, c)
        above.plot(c, loss, label=name.removeprefix("unrolled ").split()[0])
        below.plot(c, slope)
        closed = closed_slope(name, c)
        if closed is not None:
            below.plot(c, closed, "k:", label="by hand" if name in ("tv", unrolled_name(1, detach=False,
                       initial_term=True)) else None)  # fmt: skip
    for axis in (above, below):
        axis.axvline(1, color="grey", linewidth=0.5)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="small")


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Write the table of slopes and the figure.

    Args:
        smoke: use few points.
        folder: output folder.
    """
    c = torch.linspace(0, 4, 41 if smoke else 801, dtype=torch.float64)[1:]
    c = c[c != 1]  # at the threshold the slope is not unique
    rows = []
    for name, penalty in (HARD | unrolled_penalties(STEPS)).items():
        slopes = loss_and_slope(penalty, torch.tensor(POINTS, dtype=torch.float64))[1]
        rows.append([name, *slopes.tolist(), largest_difference(name, penalty, c)])
    headings = ["penalty", *(f"slope at {point:g}" for point in POINTS), "largest difference from the slope by hand"]
    write_table(folder, headings, rows)
    draw(folder, c)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    main()

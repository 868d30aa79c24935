"""Flow by direct minimisation of the package's objective with torch's optimizers, without a network, coarse to fine."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from unrollflow.losses.masking import photometric_loss
from unrollflow.losses.photometric import Photometric
from unrollflow.losses.smoothness import Smoothness
from unrollflow.losses.visibility import Visibility
from unrollflow.ops.choice import check_choice
from unrollflow.ops.resize import Size, resize_flow, resize_image
from unrollflow.ops.warp import warp
from unrollflow.variational.checks import check_flow, check_pair
from unrollflow.variational.median import median_flow

Optimizer = Literal["sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "lbfgs"]
OnStep = Callable[[Tensor, float], None]
"""Callback of each step, with the flow (B, 2, h, w), in pixels of its level, and the energy before the step."""


OPTIMIZERS: Mapping[Optimizer, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    # one iteration per step, so that steps are comparable; the curvature is kept between steps
    "lbfgs": partial(torch.optim.LBFGS, max_iter=1, history_size=10, line_search_fn="strong_wolfe"),
}

SMALLEST = 8
"""Smallest side of the coarsest level, pixels."""

WINDOW = 10
"""Number of steps for the relative decrease of the energy."""


def estimate_flow(
    image1: Tensor,
    image2: Tensor,
    *,
    photometric: Photometric,
    smoothness: Smoothness,
    smoothness_weight: float,
    optimizer: Optimizer = "adam",
    rate: float = 0.1,
    steps: int = 100,
    levels: int = 1,
    factor: float = 0.5,
    visibility: Visibility | None = None,
    median: int | None = 5,
    tolerance: float = 0.0,
    initial: Tensor | None = None,
    initial_backward: Tensor | None = None,
    on_step: OnStep | None = None,
    progress: bool = False,
) -> Tensor:
    """Flow that minimises photometric difference + smoothness_weight * smoothness, by descent from coarse to fine.

    The sum over the pixels is minimised, in pixels of the level, so that the same rates are valid for every size.

    Args:
        image1, image2: (B, 3, H, W), RGB in [0, 1].
        photometric: photometric term.
        smoothness: smoothness term of a flow, guided by its image.
        smoothness_weight: weight of the mean smoothness term relative to the mean difference, >= 0.
        optimizer: name of one of torch's optimizers.
        rate: its learning rate.
        steps: number of steps per level.
        levels: number of pyramid levels; 1: only the size of the images.
        factor: ratio of the sides of a level to the next finer one, in (0, 1).
        visibility: selects the compared pixels; the backward flow is estimated jointly. None: all pixels, and no
            backward flow.
        median: side of the median filter after each level except the last, 3 or 5 pixels, or None.
        tolerance: a level ends if the energy decreases by less than this share in ten steps; 0: after all its steps.
        initial: (B, 2, H, W), initial flow, such as that of a network, pixels; None: zero.
        initial_backward: initial backward flow; None: the inverse of `initial`.
        on_step: receives flow (with `visibility`, of both directions, 2 B) and energy of every step.
        progress: show a progress bar.

    Returns:
        (B, 2, H, W), pixels, without gradient.

    Raises:
        ValueError: if images or flow are invalid, or settings out of range.

    Source: Horn and Schunck, Determining optical flow, Artificial Intelligence 1981, for the formulation.

    >>> from unrollflow.losses import L1, TotalVariation
    >>> frame = torch.rand(1, 3, 32, 32)
    >>> flow = estimate_flow(frame, frame, photometric=L1(), smoothness=TotalVariation(), smoothness_weight=1, steps=2)
    >>> tuple(flow.shape)
    (1, 2, 32, 32)
    """
    check_pair(image1, image2)
    check_settings(rate, steps, levels, factor)
    check_choice("optimizer", optimizer, Optimizer)
    energy = FlowEnergy(photometric, smoothness, smoothness_weight=smoothness_weight, visibility=visibility)
    frames, others, flow = image1, image2, start(initial, image1)
    if visibility is not None:
        frames, others = torch.cat([image1, image2]), torch.cat([image2, image1])
        back = -warp(flow, -flow) if initial_backward is None else start(initial_backward, image2)
        flow = torch.cat([flow, back])
    grids = level_sizes((image1.shape[-2], image1.shape[-1]), levels, factor)
    if min(grids[0]) < SMALLEST:
        raise ValueError(
            f"the coarsest of {levels} levels is too small: {grids[0][0]}x{grids[0][1]}; use fewer levels."
        )
    with tqdm(total=levels * steps, desc="descent", disable=not progress) as bar:
        for level, size in enumerate(grids):
            first, second = (resize_image(images, size) for images in (frames, others))
            flow = flow if flow.shape[-2:] == size else resize_flow(flow, size, align_corners=False)
            moves = descend(partial(energy, first, second), flow, optimizer, rate=rate, steps=steps)
            for flow, cost in until_settled(moves, tolerance):
                bar.update()
                if on_step is not None:
                    on_step(flow, cost)
            flow = median_flow(flow, median) if median is not None and level < levels - 1 else flow
    return flow[: len(image1)]


class FlowEnergy:
    """Minimised energy: mean photometric difference of visible pixels + weight * smoothness.

    Args: see :func:`estimate_flow`.   Raises: ValueError if the weight is negative.
    """

    def __init__(
        self,
        photometric: Photometric,
        smoothness: Smoothness,
        *,
        smoothness_weight: float,
        visibility: Visibility | None = None,
    ) -> None:
        if not smoothness_weight >= 0:
            raise ValueError(f"smoothness_weight is negative: {smoothness_weight}; it must be at least 0.")
        self.photometric, self.smoothness = photometric, smoothness
        self.smoothness_weight, self.visibility = smoothness_weight, visibility

    def __call__(self, image1: Tensor, image2: Tensor, flow: Tensor) -> Tensor:
        """Scalar energy of a flow (B, 2, H, W) from image1 to image2, (B, 3, H, W) each.

        With a visibility test, the second half of the batch is the backward direction of the first half.
        """
        visible = torch.ones_like(flow[:, :1])
        if self.visibility is not None:
            visible = self.visibility(flow, flow.roll(len(flow) // 2, dims=0))
        difference = photometric_loss(self.photometric, image1, warp(image2, flow), visible, masking="image")
        roughness: Tensor = self.smoothness(flow, image1)
        return difference + self.smoothness_weight * roughness


def descend(
    energy: Callable[[Tensor], Tensor], flow: Tensor, optimizer: Optimizer, *, rate: float, steps: int
) -> Iterator[tuple[Tensor, float]]:
    """Yield the flow after each step, and the energy before it.

    Args:
        energy: function of a flow (B, 2, H, W), mean over the pixels.
        flow: initial flow; not changed.
        optimizer: name of one of torch's optimizers.
        rate: its learning rate, for the sum over the pixels.
        steps: number of steps.

    Raises:
        ValueError: if the energy is not finite.
    """
    moved = flow.detach().clone().requires_grad_()
    mover = OPTIMIZERS[optimizer]([moved], lr=rate)
    pixels = moved[:, 0].numel()

    def closure() -> float:
        """Return the sum over the pixels, and set its gradient for the optimizer."""
        with torch.enable_grad():
            total = pixels * energy(moved)
            (moved.grad,) = torch.autograd.grad(total, [moved])
        return float(total.detach())

    for number in range(steps):
        cost = float(mover.step(closure)) / pixels
        if not math.isfinite(cost):
            raise ValueError(f"the energy is {cost} after {number} steps of {optimizer}; use a rate below {rate}.")
        yield moved.detach(), cost


def until_settled(moves: Iterator[tuple[Tensor, float]], tolerance: float) -> Iterator[tuple[Tensor, float]]:
    """Yield moves up to the first whose energy is not lower by a share of `tolerance` than ten steps before."""
    costs: list[float] = []
    for flow, cost in moves:
        yield flow, cost
        costs.append(cost)
        if tolerance > 0 and len(costs) > WINDOW and costs[-1 - WINDOW] - cost < tolerance * abs(cost):
            return


def level_sizes(size: Size, levels: int, factor: float) -> list[Size]:
    """Heights and widths of a pyramid, coarsest first.

    >>> level_sizes((48, 64), 2, 0.5)
    [(24, 32), (48, 64)]
    """
    return [(round(size[0] * factor**i), round(size[1] * factor**i)) for i in reversed(range(levels))]


def start(flow: Tensor | None, image: Tensor) -> Tensor:
    """Initial flow (B, 2, H, W) of an image (B, 3, H, W); zero for None."""
    if flow is None:
        return torch.zeros_like(image[:, :2])
    check_flow(flow, image)
    return flow.detach().to(image)


def check_settings(rate: float, steps: int, levels: int, factor: float) -> None:
    """Raise ValueError for settings out of range."""
    if not (rate > 0 and steps >= 1 and levels >= 1 and 0 < factor < 1):
        raise ValueError(
            f"a value is out of range: rate={rate}, steps={steps}, levels={levels}, factor={factor}; expected "
            "rate > 0, steps >= 1, levels >= 1 and 0 < factor < 1."
        )

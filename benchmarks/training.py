"""A training step of PWC-Lite: both directions, ternary loss, unrolled term, backward, Adam.

The reference is the same step in the form of the released code: one direction decoded after the other, the cost volume
by a loop over shifts, the census by plain autograd. The released code itself is not run.
"""

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import Row, in_turn, matrix_rate, peak_rise
from benchmarks.references import OneAfterTheOther, composed_census, shifted_products
from experiments.common.assembly import CONFIGS, build_model
from unrollflow import PWCLite
from unrollflow.contracts import FlowSample
from unrollflow.losses import photometric
from unrollflow.models import pwclite
from unrollflow.training.precision import bfloat16_ratio

RECIPE = CONFIGS / "experiment" / "arflow_sintel_raw_unrolled.yaml"
SIZES = {"4 x 128x192": (4, 128, 192), "1 x 384x832": (1, 384, 832), "1 x 64x128": (1, 64, 128)}
*FULL, SHORT = SIZES
LATE_STEP = 10**6
"""Step at which the recipe uses its ternary loss."""

IMAGE_CHANNELS = 3
TARGET = 0.6
BFLOAT16_TARGET = 0.45
"""For processors with bfloat16 products."""

Step = Callable[[], None]


def training_step(kind: str, size: str) -> Step:
    """Return a step of "ours", of the "reference", or of ours in "bfloat16" mixed precision, on noise."""
    batch, height, width = SIZES[size]
    torch.manual_seed(0)
    model = build_model(RECIPE)
    if kind == "reference":
        model.backbone = OneAfterTheOther()
    optimizer = torch.optim.Adam(model.backbone.parameters(), lr=1e-4)
    sample = FlowSample(image1=torch.rand(batch, 3, height, width), image2=torch.rand(batch, 3, height, width), name="")

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
            forward, backward = model.backbone.bidirectional(sample["image1"], sample["image2"])
            total = model.objective(sample, forward, backward, step=LATE_STEP).total
        total.backward()
        optimizer.step()

    return partial(as_released, run) if kind == "reference" else run


def as_released(run: Step) -> None:
    """Run a step with the plain implementations instead of ours."""
    with (
        mock.patch.object(pwclite, "cost_volume", shifted_products),
        mock.patch.object(photometric, "census", composed_census),
    ):
        run()


class Convolutions(TorchFunctionMode):
    """Records the arguments of each convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[..., Tensor]] = []
        self.leaves: list[list[Tensor]] = []

    def __torch_function__(
        self, function: Callable[..., Any], _: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function; record convolutions, with features and weight as leaves."""
        options = kwargs or {}
        if function is F.conv2d:
            features, weight = (x.detach().requires_grad_() for x in args[:2])
            self.calls.append(partial(function, features, weight, *args[2:], **options))
            self.leaves.append([features, weight][features.shape[1] == IMAGE_CHANNELS :])  # images have no gradient
        return function(*args, **options)


def convolutions(size: str) -> tuple[Step, float]:
    """Return a function for forward and backward of the convolutions of a step, one by one, and their GFLOP."""
    batch, height, width = SIZES[size]
    images = torch.rand(2, batch, IMAGE_CHANNELS, height, width)
    with Convolutions() as recorded:
        PWCLite().bidirectional(*images)

    def run() -> None:
        for call, leaves in zip(recorded.calls, recorded.leaves, strict=True):
            output = call()
            torch.autograd.grad(output, leaves, torch.ones_like(output))

    with FlopCounterMode(display=False) as counter:
        run()
    return run, counter.get_total_flops() / 1e9


def smoothness_share(size: str) -> list[float]:
    """Return the milliseconds of the recipe's unrolled term, both directions, and of the whole step."""
    batch, height, width = SIZES[size]
    term = build_model(RECIPE).objective.smoothness
    flow = torch.randn(2 * batch, 2, height // 4, width // 4).requires_grad_()
    image = torch.rand(2 * batch, 3, height, width)
    return in_turn([lambda: term(flow, image).backward(), training_step("ours", size)], repeats=5)


def rows(*, short: bool) -> list[Row]:
    """Return times and memory at both sizes, and the ratio to the time of the convolutions."""
    repeats = 1 if short else 5
    found = []
    for size in [SHORT] if short else FULL:
        alone, operations = convolutions(size)
        pair = [training_step(kind, size) for kind in ("ours", "reference")]
        ours, reference, floor = in_turn([*pair, alone], repeats=repeats)
        found += [
            Row(f"training step {size} / as released arranges it", "ms", ours, reference, TARGET),
            Row(f"training step {size} / its convolutions alone", "ms", ours, floor),
            Row(
                f"training step {size} / {operations:.0f} GFLOP at the matrix rate",
                "ms",
                ours,
                1000 * operations / matrix_rate(),
            ),
        ]
        if short:
            continue
        memory = [peak_rise(training_step, kind, size) for kind in ("ours", "reference")]
        found.append(Row(f"training step {size} / as released arranges it, peak memory", "MB", *memory, TARGET))
        found.append(Row(f"unrolled term / training step {size}", "ms", *smoothness_share(size), 0.01))
        found += mixed_precision(size)
    return found


def mixed_precision(size: str) -> list[Row]:
    """Return the time of a step in bfloat16 against float32 and against the reference."""
    native = bfloat16_ratio() < 1  # without bfloat16 products, a step takes half a minute
    steps = [training_step(kind, size) for kind in ("bfloat16", "ours", "reference")]
    bfloat16, float32, reference = in_turn(steps, repeats=5 if native else 1)
    return [
        Row(f"training step {size} in bfloat16 / in float32", "ms", bfloat16, float32),
        Row(
            f"training step {size} in bfloat16 / as released arranges it, float32",
            "ms",
            bfloat16,
            reference,
            BFLOAT16_TARGET if native else None,
        ),
    ]

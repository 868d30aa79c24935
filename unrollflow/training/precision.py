"""`--trainer.precision auto`: bfloat16 on processors that compute faster with it, float32 on the others."""

import time
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pytorch_lightning import Trainer

AUTO = "auto"

PRECISIONS = ("64-true", "32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed")
"""Lightning's names of precisions that need no other library."""

SHORT_FORMS = ("64", "32", "16", "bf16", 64, 32, 16)
"""Lightning's other names of them."""

LARGEST_RATIO = 0.75
"""Of the times of a convolution, bfloat16 to float32. Above it, the rest of a step and the casts outweigh the gain."""

PROBE_SHAPE = (4, 32, 40, 40)
"""Batch, channels and sides of the probe: a hidden layer of PyramidMatcher in a step of the quickstart."""

REPEATS = 5


class Choice(NamedTuple):
    """What "auto" stands for on this machine.

    Attributes:
        precision: "bf16-mixed" or "32-true", or what a run has recorded.
        reason: one clause.
    """

    precision: str | int
    reason: str


class AutoPrecisionTrainer(Trainer):
    """Lightning's Trainer whose `precision` the command line also takes as "auto", and replaces by its choice.

    Args:
        precision: one of :data:`PRECISIONS` or :data:`SHORT_FORMS`; "auto" in a configuration only; None: 32-true.
        kwargs: Lightning's.
    """

    def __init__(self, *, precision: str | int | None = None, **kwargs: Any) -> None:
        super().__init__(precision=precision, **kwargs)  # type: ignore[arg-type]  # the command line has checked it


def chosen_precision(accelerator: object) -> Choice:
    """The precision that "auto" stands for with one of Lightning's accelerators.

    No random number is drawn. Processes of one training may choose differently: their weights, gradients and
    optimizers are float32 with either choice.
    """
    if accelerator != "cpu":
        return Choice("32-true", "auto chooses for --trainer.accelerator cpu only")
    ratio = bfloat16_ratio()
    precision = "bf16-mixed" if ratio <= LARGEST_RATIO else "32-true"
    return Choice(precision, f"a bfloat16 convolution takes {ratio:.2f} of float32's time on this processor")


def bfloat16_ratio() -> float:
    """Processor time of a convolution's forward and backward pass under bfloat16 autocast, in units of float32's.

    The smallest of a few repeats in turn on one thread, which other processes affect little. Takes less than 0.1 s
    where the processor has bfloat16 instructions.
    """
    batch, channels, *sides = PROBE_SHAPE
    features = torch.ones(batch, channels, *sides, requires_grad=True)
    weight = torch.ones(channels, channels, 3, 3, requires_grad=True)
    times: dict[bool, list[float]] = {True: [], False: []}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several wait for each other, which counts as processor time
    for _ in range(1 + REPEATS):  # the first one also prepares
        for bfloat16, taken in times.items():
            begun = time.process_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                output = F.conv2d(features, weight, padding=1)
            torch.autograd.grad(output, (features, weight), torch.ones_like(output))
            taken.append(time.process_time() - begun)
    torch.set_num_threads(threads)
    return min(times[True][1:]) / min(times[False][1:])

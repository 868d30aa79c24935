"""`--trainer.precision auto`: bfloat16 on processors that are faster with it, float32 on others."""

import time
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pytorch_lightning import Trainer

AUTO = "auto"

PRECISIONS = ("64-true", "32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed")
"""Lightning's precisions that do not need another library."""

SHORT_FORMS = ("64", "32", "16", "bf16", 64, 32, 16)
"""Lightning's short names of these precisions."""

LARGEST_RATIO = 0.75
"""Largest ratio of the times of a convolution, bfloat16 to float32, for which a whole training step is faster."""

PROBE_SHAPE = (4, 32, 40, 40)
"""Batch, channels and sides of the test convolution: a hidden layer of PyramidMatcher in the quickstart."""

REPEATS = 5


class Choice(NamedTuple):
    """Precision that replaces "auto".

    Attributes:
        precision: "bf16-mixed", "32-true", or the recorded precision of a run.
        reason: the reason, for the log.
    """

    precision: str | int
    reason: str


class AutoPrecisionTrainer(Trainer):
    """Lightning's Trainer, whose `precision` may be "auto" in a configuration; the command line replaces it.

    Args:
        precision: one of :data:`PRECISIONS` or :data:`SHORT_FORMS`; "auto" only in a configuration; None: 32-true.
        kwargs: arguments of Lightning's Trainer.
    """

    def __init__(self, *, precision: str | int | None = None, **kwargs: Any) -> None:
        super().__init__(precision=precision, **kwargs)  # type: ignore[arg-type]  # the command line has checked it


def chosen_precision(accelerator: object) -> Choice:
    """Precision that replaces "auto" for one of Lightning's accelerators.

    It does not draw random numbers. Processes of one training may have different results, because weights, gradients
    and optimizers are float32 with both precisions.
    """
    if accelerator != "cpu":
        return Choice("32-true", "auto selects bfloat16 only for --trainer.accelerator cpu")
    ratio = bfloat16_ratio()
    precision = "bf16-mixed" if ratio <= LARGEST_RATIO else "32-true"
    return Choice(precision, f"a bfloat16 convolution takes {ratio:.2f} of the float32 time on this processor")


def bfloat16_ratio() -> float:
    """Ratio of the processor times of a convolution, forward and backward, with bfloat16 autocast and float32.

    It uses the minimum of a few alternating repeats on one thread, which other processes affect only slightly. It takes
    less than 0.1 s if the processor has bfloat16 instructions.
    """
    batch, channels, *sides = PROBE_SHAPE
    features = torch.ones(batch, channels, *sides, requires_grad=True)
    weight = torch.ones(channels, channels, 3, 3, requires_grad=True)
    times: dict[bool, list[float]] = {True: [], False: []}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with several threads, waiting adds to the processor time
    for _ in range(1 + REPEATS):  # the first is a warm-up
        for bfloat16, taken in times.items():
            begun = time.process_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                output = F.conv2d(features, weight, padding=1)
            torch.autograd.grad(output, (features, weight), torch.ones_like(output))
            taken.append(time.process_time() - begun)
    torch.set_num_threads(threads)
    return min(times[True][1:]) / min(times[False][1:])

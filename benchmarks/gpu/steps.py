"""Training steps per second and peak memory in every precision, and compiled; loss scaler; steps without waiting."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from unittest import mock

import torch
from torch import nn

from benchmarks.gpu.agreement import smooth_pair
from benchmarks.gpu.findings import Check, Finding
from benchmarks.gpu.modes import Mode, precision_of
from experiments.common.assembly import CONFIGS, build_model
from unrollflow.contracts import FlowSample
from unrollflow.training.compile import StepParts, compiled
from unrollflow.training.module import UnsupervisedFlow

MODES: tuple[Mode, ...] = ("float32", "TF32", "bf16-mixed", "16-mixed")
AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
LATE_STEP = 10**6
"""Step at which every part of an objective is active."""

MOST_TRIES = 30
"""Number of steps in which the loss scale must reach a suitable value."""


class Case(NamedTuple):
    """A training step.

    Attributes:
        experiment: name of the file in configs/experiment.
        batch: number of pairs.
        size: (H, W), pixels.
    """

    experiment: str
    batch: int
    size: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.experiment}, {self.batch} x {self.size[0]}x{self.size[1]}"


CASES = (
    Case("quickstart", 5, (80, 80)),
    Case("arflow_sintel_raw_unrolled", 4, (384, 832)),
    Case("raft_sintel_unrolled", 1, (368, 496)),
)
"""Shipped network, and PWC-Lite and RAFT with their published sizes."""

SHORT_CASES = (Case("quickstart", 1, (64, 64)),)


class Step:
    """A training step on a pair of smooth noise: both directions, objective, backward, clipping, AdamW.

    Args:
        case: network, objective and size.
        device: device of network and pair.
        mode: precision; the calls must be within `precision_of`.
        compile_parts: whether to compile network and objective.
    """

    def __init__(self, case: Case, device: torch.device, mode: Mode, *, compile_parts: bool = False) -> None:
        torch.manual_seed(0)
        self.device, self.dtype = device, AUTOCAST.get(mode)
        self.model = build_model(CONFIGS / "experiment" / f"{case.experiment}.yaml").to(device).train()
        self.parts = StepParts(self.model.backbone, self.model.objective)
        if compile_parts:
            self.parts = compiled(*self.parts, device=device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5)
        self.scaler = torch.amp.GradScaler(device.type, enabled=mode == "16-mixed")
        images = [image.expand(case.batch, -1, -1, -1).contiguous().to(device) for image in smooth_pair(case.size)]
        self.sample = FlowSample(image1=images[0], image2=images[1], name="")

    def __call__(self, *, factor: float = 1.0) -> None:
        """Run a step with the loss times a factor; an infinite factor is an overflow."""
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            flows = self.parts.network.bidirectional(self.sample["image1"], self.sample["image2"])
            total = self.parts.objective(self.sample, *flows, step=LATE_STEP).total
        self.scaler.scale(factor * total).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()


def checks(device: torch.device, *, short: bool) -> dict[str, Check]:
    """Return the checks of speed and memory of each case and mode, and of the loss scaler."""
    cases, steps = (SHORT_CASES, 1) if short else (CASES, 10)
    modes = MODES[::2] if short else MODES
    found: dict[str, Check] = {
        f"{case}: {mode}": partial(speed, case, device, mode, steps) for case in cases for mode in modes
    }
    found["16-mixed: recovery from an overflow"] = partial(recovery, cases[0], device)
    return found


def compiled_checks(device: torch.device, *, short: bool) -> dict[str, Check]:
    """Return the checks of speed of each compiled case; a dry run compiles nothing, because it would take a minute."""
    modes: tuple[Mode, ...] = ("float32", "bf16-mixed")
    cases = () if short else CASES
    return {
        f"{case}: {mode}, compiled": partial(speed, case, device, mode, 10, compile_parts=True)
        for case in cases
        for mode in modes
    }


def waiting_checks(device: torch.device, *, short: bool) -> dict[str, Check]:
    """Return the checks that a step does not make the host wait for the GPU, by torch's detection."""
    cases = SHORT_CASES if short else CASES
    return {f"{case}: waits": partial(waiting, case, device) for case in cases}


def speed(case: Case, device: torch.device, mode: Mode, steps: int, *, compile_parts: bool = False) -> list[Finding]:
    """Measure the median steps per second after three warm-up steps, and the peak of allocated memory on a GPU."""
    name = f"{case}: {mode}{', compiled' if compile_parts else ''}"
    with precision_of(mode):
        step = Step(case, device, mode, compile_parts=compile_parts)
        begun = time.perf_counter()
        seconds_of(step, device)
        first = time.perf_counter() - begun
        for _ in range(2):
            step()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        median = statistics.median(seconds_of(step, device) for _ in range(steps))
    found = [
        Finding(f"{name}, training steps", 1 / median, "1/s", note=f"first step {first:.1f} s" if compile_parts else "")
    ]
    if device.type == "cuda":
        found.append(Finding(f"{name}, peak memory", torch.cuda.max_memory_allocated() / 2**20, "MB"))
    return found


def seconds_of(step: Callable[[], None], device: torch.device) -> float:
    """Return the time of a step, until the device has finished it."""
    begun = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def recovery(case: Case, device: torch.device) -> list[Finding]:
    """Check that a step with an overflow is skipped and lowers the scale, and that the weights stay finite."""
    step = Step(case, device, "16-mixed")
    weights = [p for p in step.model.parameters() if p.requires_grad]
    step()
    before, scale = [p.detach().clone() for p in weights], step.scaler.get_scale()
    step(factor=float("inf"))
    kept = all(torch.equal(p, q) for p, q in zip(weights, before, strict=True))
    lowered = step.scaler.get_scale() < scale
    tries = 0
    while tries < MOST_TRIES and all(torch.equal(p, q) for p, q in zip(weights, before, strict=True)):
        step()
        tries += 1
    finite = all(p.isfinite().all() for p in weights)
    met = kept and lowered and tries < MOST_TRIES and bool(finite)
    expected = "the overflow is skipped, the scale falls, training continues"
    return [Finding("16-mixed: steps from an overflow to the next update", tries, "steps", expected, met)]


def waiting(case: Case, device: torch.device) -> list[Finding]:
    """Find the first operation of a step for which the host waits, if there is one."""
    name = f"{case}: step, backward and update without waiting for the GPU"
    step = Step(case, device, "float32")
    run = partial(lightning_step, step)
    run()
    if device.type != "cuda":
        return [Finding(name, None, note="needs a GPU")]
    run()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    except RuntimeError as error:
        return [Finding(name, None, "", "no wait", met=False, note=" ".join(str(error).split())[:200])]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [Finding(name, 0, "waits", "no wait", met=True)]


def lightning_step(step: Step) -> None:
    """Run a step of the LightningModule without a trainer."""
    step.optimizer.zero_grad()
    batch = step.sample | {"name": ["noise"] * len(step.sample["image1"])}
    with (
        mock.patch.object(UnsupervisedFlow, "global_step", LATE_STEP),
        mock.patch.object(UnsupervisedFlow, "log_dict"),
        mock.patch.object(UnsupervisedFlow, "log"),
    ):
        step.model.training_step(batch, 0).backward()
        step.model.on_before_optimizer_step(step.optimizer)
    step.optimizer.step()

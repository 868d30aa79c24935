"""Compare the speed of MovingLayers, rendered by CPU workers, with that of training steps on the device."""

import os
import time
from functools import partial

import torch
import yaml

from benchmarks.gpu.findings import Check, Finding
from benchmarks.gpu.modes import precision_of
from benchmarks.gpu.steps import Case, Step, seconds_of
from experiments.common.assembly import CONFIGS, build
from unrollflow.data import FlowDataModule

DATA = CONFIGS / "data" / "moving_layers_crops.yaml"
WORKERS = (1, 4, 8, 16)
BATCHES, WARM_UP = 40, 10
"""Timed batches, and batches before them while the workers start."""


def checks(device: torch.device, *, short: bool) -> dict[str, Check]:
    """Return the checks of samples per second for several numbers of workers, against the steps of the quickstart."""
    return {
        "MovingLayers on CPU workers": partial(keeping_up, device, short=short),
        "MovingLayers on the GPU": not_rendered_on_a_gpu,
    }


def keeping_up(device: torch.device, *, short: bool) -> list[Finding]:
    """Measure the samples per second that workers load and that bf16-mixed steps use."""
    atom = yaml.safe_load(DATA.read_text())
    batch, side = (1, 64) if short else (atom["batch_size"], 80)
    case = Case("quickstart", batch, (side, side))
    with precision_of("bf16-mixed"):
        step = Step(case, device, "bf16-mixed")
        times = [seconds_of(step, device) for _ in range(2 if short else 13)]
    used = batch / sorted(times)[len(times) // 2]
    cores = os.cpu_count() or 1
    counts = (0,) if short else [n for n in WORKERS if n <= cores]
    found = [Finding(f"samples used by steps of {case}, bf16-mixed", used, "1/s")]
    for workers in counts:
        speed = loaded(
            atom | {"workers": workers, "batch_size": batch}, BATCHES if not short else 2, 0 if short else WARM_UP
        )
        last = workers == counts[-1]
        expected, met = ("at least what steps use", None if short else speed >= used) if last else ("", None)
        found.append(Finding(f"MovingLayers, {workers} of {cores} cores load", speed, "samples/s", expected, met))
    return found


def loaded(atom: dict[str, object], batches: int, warm_up: int) -> float:
    """Return the samples per second of the training batches of a data module."""
    module = build(FlowDataModule, atom)
    iterator = iter(module.train_dataloader())
    for _ in range(warm_up):
        next(iterator)
    begun = time.perf_counter()
    samples = sum(len(next(iterator)["image1"]) for _ in range(batches))
    return samples / (time.perf_counter() - begun)


def not_rendered_on_a_gpu() -> list[Finding]:
    """Return a row that states that rendering is on the CPU: NumPy draws textures and outlines of single samples."""
    note = "the code renders on the CPU only: outlines and textures are drawn by NumPy, a sample at a time"
    return [Finding("MovingLayers rendered on the GPU in batches", None, note=note)]

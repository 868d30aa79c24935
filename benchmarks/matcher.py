"""PyramidMatcher: a training step of the quickstart on one thread, inference at Sintel's size on two threads, scaling.

    python -m benchmarks.matcher

Steps include only the objective, clipping and AdamW (no loading). Inference is in the forward direction only. The title
of a row names its reference after the slash: a target, or a multiple of the time for fewer pixels.
"""

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
import yaml
from torch import nn

from benchmarks.inference import SIZE, by_network
from benchmarks.measuring import Row, in_turn, machine, peak_rise, table
from experiments.common.assembly import CONFIGS, build_model
from unrollflow.contracts import FlowSample
from unrollflow.data import MovingLayers
from unrollflow.models import PyramidMatcher, strips

RECIPE = CONFIGS / "experiment" / "quickstart.yaml"
DATA = CONFIGS / "data" / "moving_layers_crops.yaml"
BATCH, CROP = 5, 80
STEP_TARGET = 1000 / 2.4  # milliseconds per step on one thread
STEP_MEMORY_TARGET = 1000.0  # MB
FLOW_TARGET, FLOW_MEMORY_TARGET = 700.0, 500.0  # milliseconds on two threads, MB
LATE_STEP = 10**6
"""Step at which the visibility test is active."""


def training_step(batch: int, crop: int, *, recipe: Path = RECIPE, bfloat16: bool = False) -> Callable[[], None]:
    """Return a step of the quickstart or of another recipe, on noise; in float32 or with bfloat16 autocast."""
    torch.manual_seed(0)
    model = build_model(recipe)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    images = torch.rand(2, batch, 3, crop, crop)
    sample = FlowSample(image1=images[0], image2=images[1], name="")

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            total = model.objective(sample, *model.backbone.bidirectional(*images), step=LATE_STEP).total
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return run


def pair(height: int, width: int, *, most_pixels: int = strips.MOST_PIXELS) -> Callable[[], object]:
    """Return a function for the forward flow of a pair of noise, in strips with a largest number of pixels."""
    flow = by_network(PyramidMatcher())
    images = torch.rand(2, 1, 3, height, width)

    def run() -> None:
        with mock.patch.object(strips, "MOST_PIXELS", most_pixels):
            flow(images[0], images[1])

    return run


def whole_pair(height: int, width: int) -> Callable[[], object]:
    """Return :func:`pair` without strips."""
    return pair(height, width, most_pixels=2 * height * width)


def on_threads(count: int, functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Return the median milliseconds on a number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        return in_turn(functions, repeats=repeats)
    finally:
        torch.set_num_threads(before)


def rendering(samples: int) -> Callable[[], object]:
    """Return a function that renders samples of the quickstart's training set."""
    data = MovingLayers(**yaml.safe_load(DATA.read_text())["train"]["init_args"])
    return lambda: [data[index] for index in range(samples)]


def rows(*, short: bool) -> list[Row]:
    """Return times and memory against their targets, and their growth with the number of pixels."""
    repeats, (height, width) = (1, (64, 96)) if short else (7, SIZE)
    batch, crop = (1, 64) if short else (BATCH, CROP)
    step, double, render = on_threads(
        1, [training_step(batch, crop), training_step(2 * batch, crop), rendering(batch)], repeats
    )
    half, whole, large = (pair(height * k // 2, width * k // 2) for k in (1, 2, 4))
    times = on_threads(2, [half, whole, large], repeats)
    name = f"PyramidMatcher, {batch} x {crop}x{crop}"
    found = [
        Row(f"{name}: training step, one thread / target", "ms", step, STEP_TARGET, 1.0),
        Row(f"{name}: step of twice the batch / twice the step", "ms", double, 2 * step),
        Row(f"{name}: rendering the batch / training step", "ms", render, step),
        Row(f"PyramidMatcher, {height}x{width}: flow, two threads / target", "ms", times[1], FLOW_TARGET, 1.0),
        Row(f"PyramidMatcher, {height}x{width}: flow / 4 times that of a quarter", "ms", times[1], 4 * times[0]),
        Row(
            f"PyramidMatcher, {2 * height}x{2 * width}: flow / 4 times that of a quarter", "ms", times[2], 4 * times[1]
        ),
    ]
    if short:
        return found
    in_strips, at_once = on_threads(1, [pair(height, width), whole_pair(height, width)], repeats)
    found.append(
        Row(f"PyramidMatcher, {height}x{width}: flow in strips / at once, one thread", "ms", in_strips, at_once)
    )
    strip_memory, whole_memory = (peak_rise(make, 2160, 3840) for make in (pair, whole_pair))
    found.append(Row("PyramidMatcher, 2160x3840: peak memory in strips / at once", "MB", strip_memory, whole_memory))
    step_memory = peak_rise(training_step, batch, crop)
    flow_memory, large_memory = (peak_rise(pair, height * k, width * k) for k in (1, 2))
    return [
        *found,
        Row(f"{name}: training step, peak memory / target", "MB", step_memory, STEP_MEMORY_TARGET, 1.0),
        Row(
            f"PyramidMatcher, {height}x{width}: flow, peak memory / target", "MB", flow_memory, FLOW_MEMORY_TARGET, 1.0
        ),
        Row(f"PyramidMatcher, {2 * height}x{2 * width}: peak memory / 4 times", "MB", large_memory, 4 * flow_memory),
    ]


if __name__ == "__main__":
    print(f"{table(rows(short=False))}\n\n{machine()}")

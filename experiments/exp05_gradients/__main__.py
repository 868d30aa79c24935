"""Are the gradients of the unrolled term more stable than those of hard penalties?

Question: along a training run, the smoothness gradient in the network's weights on consecutive batches: its cosine, its
norm, and the share of weights whose sign flips, for each term.

Command: make reproduce EXP=05. Minutes on two quiet CPU cores, one process each: about 7, estimated from smoke runs;
finished runs are skipped.

Every term is measured at the same weights and on the same batches, along trainings of the small PWC-Lite on
MovingLayers (as in experiment 04). The trainings use no smoothness, total variation, or the unrolled term in its
released form; 3 seeds each. At 20 points of 400 steps of 4 pairs, two successive batches are measured, each before its
step. Thresholds, epsilon and delta are 0.3 pixels per pixel (Charbonnier: 0.03); nothing was tuned for this.
"""

import argparse
import os
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from experiments.common.flow_training import fit, flow_model, smoothness_term, training_batches
from experiments.common.grid import Results, Row, check_again, run_grid
from experiments.common.results import write_table
from experiments.common.stored_layers import StoredLayers
from unrollflow.contracts import FlowSample
from unrollflow.losses import Smoothness
from unrollflow.training.module import UnsupervisedFlow

matplotlib.use("Agg")
from matplotlib import pyplot as plt

RESULTS = Path(__file__).with_name("results")

DRIVERS = {"none": ("none", 0.0), "tv": ("tv", 0.1), "unrolled": ("unrolled T=1 attached t0", 1.0)}
"""Smoothness of the trainings, by name: term and weight at the end of the ramp."""

RATE = 1.4e-3
FORMS = [(steps, detach, initial) for steps in (1, 4) for detach in (False, True) for initial in (True, False)]


def terms() -> dict[str, tuple[Smoothness, float]]:
    """Return every measured term, and its factor to the unit of total variation."""
    hard = {"tv": 1.0, "charbonnier": 0.03, "huber": 0.3}
    measured = {name: smoothness_term(name, scale, 1, False, True) for name, scale in hard.items()}
    for steps, detach, initial in FORMS:
        name = f"unrolled T={steps} {'detached' if detach else 'attached'}{' t0' if initial else ''}"
        measured[name] = smoothness_term("unrolled", 0.3, steps, detach, initial)
    return measured | {"none": smoothness_term("none", 1.0, 1, False, True)}


def gradients(model: UnsupervisedFlow, batch: FlowSample, step: int) -> dict[str, Tensor]:
    """Return the gradients of each term and of the photometric loss in the network's weights, as vectors."""
    model.train()
    ways = model.backbone.bidirectional(batch["image1"], batch["image2"])
    costs = {"photometric": model.objective(batch, *ways, step=step).photometric}
    images = (batch["image1"], batch["image2"])
    for name, (term, factor) in terms().items():
        if name != "none":
            both = [term(way[-1].raw, image) for way, image in zip(ways, images, strict=True)]
            costs[name] = factor * torch.stack(both).mean()
    weights = list(model.backbone.parameters())
    found = {}
    for name, cost in costs.items():
        parts = torch.autograd.grad(cost, weights, retain_graph=True, allow_unused=True)
        found[name] = torch.cat([part.flatten() for part in parts if part is not None])
    return found


def compared(first: Tensor, second: Tensor) -> tuple[float, float, float]:
    """Return the cosine of two gradients, the mean of their norms, and the share of weights whose sign differs.

    Weights with gradient 0 in one of the two have no sign.

    >>> [round(x, 3) for x in compared(torch.tensor([3.0, 4.0, 0.0]), torch.tensor([3.0, -4.0, 0.0]))]
    [-0.28, 5.0, 0.5]
    """
    signs = first.sign() * second.sign()
    count = max(1, int((signs != 0).sum()))
    norm = (float(first.norm()) + float(second.norm())) / 2
    return float(torch.cosine_similarity(first, second, dim=0)), norm, float((signs < 0).sum()) / count


class Watch(pl.Callback):
    """Compares the gradients before a step with those before the next one, from each of some steps on.

    Args:
        starts: steps whose gradients are the first of two.

    Attributes:
        curves: of each term [step, cosine, norm, share of flipped signs] at the second of two.
    """

    def __init__(self, starts: set[int]) -> None:
        self.starts = starts
        self.curves: dict[str, list[list[float]]] = {}
        self.before: dict[str, Tensor] = {}

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, index: int) -> None:
        """Measure, if it is due."""
        step = trainer.global_step
        if step not in self.starts and step - 1 not in self.starts:
            return
        now = gradients(cast(UnsupervisedFlow, pl_module), batch, step)
        if step - 1 in self.starts:
            for name, gradient in now.items():
                self.curves.setdefault(name, []).append([step, *compared(self.before[name], gradient)])
        self.before = now


def watch(*, driver: str, seed: int, steps: int, points: int, samples: int) -> Results:
    """Train with a driver; return [step, cosine, norm, share of flipped signs] of each term at each point."""
    torch.manual_seed(seed)
    name, weight = DRIVERS[driver]
    term, factor = terms()[name]
    model = flow_model(term, learning_rate=RATE, steps=steps, weight=factor * weight)
    callback = Watch({round(i * steps / points) for i in range(points)})
    fit(model, training_batches(samples, seed), steps=steps, callback=callback)
    return callback.curves


def values(rows: list[Row], driver: str, name: str) -> np.ndarray:
    """Return [step, cosine, norm, flips] of a term along every run of a driver, (seeds, points, 4)."""
    return np.array([row["results"][name] for row in rows if row["settings"]["driver"] == driver])


def write_report(folder: Path, rows: list[Row]) -> None:
    """Write the table of the means over points, with the smallest and largest mean of a seed, and the figure."""
    table: list[list[str | int | float]] = []
    drivers = list(dict.fromkeys(row["settings"]["driver"] for row in rows))
    names = list(rows[0]["results"])
    for driver in drivers:
        for name in names:
            by_seed = values(rows, driver, name).mean(axis=1)  # (seeds, 4)
            cells = [f"{m:.3g} [{low:.3g}, {high:.3g}]" for m, low, high in zip(
                by_seed.mean(0), by_seed.min(0), by_seed.max(0), strict=True)][1:]  # fmt: skip
            table.append([driver, len(by_seed), name, *cells])
    headings = ["training driven by", "seeds", "gradient of", "cosine (mean, [least, greatest seed])", "norm"]
    write_table(folder, [*headings, "share of flipped signs"], table)
    draw(folder, rows, drivers, names)


def style(name: str) -> dict[str, str]:
    """Return the style of a term: a colour for each kind, dashes for attached forms, dots with t = 0."""
    if not name.startswith("unrolled"):
        hard = {"photometric": "black", "tv": "tab:blue", "charbonnier": "tab:cyan", "huber": "tab:purple"}
        return {"color": hard[name], "linestyle": "-"}
    attached, initial = "attached" in name, name.endswith("t0")
    lines = {(False, False): "-", (False, True): "-.", (True, False): "--", (True, True): ":"}
    return {"color": "tab:orange" if "T=1 " in name else "tab:green", "linestyle": lines[attached, initial]}


def draw(folder: Path, rows: list[Row], drivers: list[str], names: list[str]) -> None:
    """Write figure.png: every measure against the step, with mean and range of the seeds."""
    figure, axes = plt.subplots(len(drivers), 3, figsize=(18, 4.5 * len(drivers)), layout="constrained", squeeze=False)
    for line, driver in zip(axes, drivers, strict=True):
        for name in names:
            runs = values(rows, driver, name)
            steps = runs[0, :, 0]
            for axis, course in zip(line, np.moveaxis(runs, 2, 0)[1:], strict=True):
                axis.plot(steps, course.mean(axis=0), label=name, **style(name))
                colour = style(name)["color"]
                axis.fill_between(steps, course.min(axis=0), course.max(axis=0), color=colour, alpha=0.06)
        line[0].set(ylabel=f"training driven by: {driver}\n\ncosine of consecutive gradients")
        line[1].set(ylabel="norm of the gradient (TV's unit)", yscale="log")
        line[2].set(ylabel="share of weights whose sign flips")
        for axis in line:
            axis.set_xlabel("step (mean and range of seeds)")
    axes[0, 0].legend(fontsize="x-small", ncols=2)
    figure.savefig(folder / "figure.png", dpi=70)
    plt.close(figure)


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Run the missing cells, then write table and figure.

    Args:
        smoke: use one driver, one seed and three steps.
        folder: output folder.
    """
    size = {"steps": 3, "points": 1, "samples": 8} if smoke else {"steps": 400, "points": 20, "samples": 4000}
    StoredLayers(split="train", length=size["samples"])
    drivers, seeds = (("unrolled",), (1,)) if smoke else (tuple(DRIVERS), (1, 2, 3))
    cells = [{"driver": driver, "seed": seed, **size} for seed in seeds for driver in drivers]
    processes = 1 if smoke else os.cpu_count() or 1
    rows = run_grid(cells, watch, folder / "rows.jsonl", processes=processes, about="trainings")
    write_report(folder, rows)
    if not smoke:
        check_again(rows, watch, lambda results: float(np.mean(results["photometric"], axis=0)[2]))  # the norm


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    main()

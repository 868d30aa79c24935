"""Is a training better with easy motions first and hard motions second than with both from the start?

Question: FlowNet 2.0 found that the order of the training data matters: Chairs, then Things, was better than Things
alone and than a mixture. Is this also true for a small network that learns without labels?

Command: make reproduce EXP=09; finished runs are skipped. Minutes on two quiet CPU cores, one process each: about 12.

Equal for all: the small PWC-Lite, photometric loss, visibility, the unrolled term of the quickstart and its ramp,
optimizer, initial rate and its cosine schedule to 0, number of steps, and the batches of a seed: half of them are of
easy samples, half of hard ones. Only their order differs: easy first, mixed at random, or hard first. (The second half
of the batches always has a low rate, the full smoothness weight and masked occlusions; the first half has a high rate,
a weight that rises from 0, and no mask for 200 steps.)

- Hard: MovingLayers as in the quickstart, motions up to 6 px. Easy: all translations, rotations and zooms a third.
- Three seeds of weights, data and the mixture. Measured on the test split, which was not used for any choice: hard
  samples and easy ones.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from experiments.common.flow_measures import averages
from experiments.common.flow_training import AfterSteps, fit, flow_model, points_of
from experiments.common.grid import Results, Row, check_again, run_grid
from experiments.common.results import write_table
from unrollflow.contracts import FlowSample
from unrollflow.data import Compose, FlowDataModule, MovingLayers, RandomHorizontalFlip, RandomVerticalFlip
from unrollflow.data.moving_layers.textures import Split
from unrollflow.losses import UnrolledTotalVariation
from unrollflow.metrics import endpoint_error

RESULTS = Path(__file__).with_name("results")

matplotlib.use("Agg")  # also works without a display

SCALES = {"easy": 1 / 3, "hard": 1.0}
ARMS = {"easy first": "tab:green", "mixed": "tab:blue", "hard first": "tab:red"}
SEEDS = (1, 2, 3)
BATCH = 4
RATE = 1.4e-3
WEIGHT = 0.5
FULL = {"steps": 800, "images": 128, "points": 16}
SMOKE = {"steps": 4, "images": 2, "points": 2}


def layers(split: Split, difficulty: str, length: int, seed: int = 0) -> MovingLayers:
    """Return the samples of the quickstart with scaled motions."""
    scale = SCALES[difficulty]
    return MovingLayers(
        split=split,
        seed=seed,
        length=length,
        size=(64, 64),
        background_translation=3.0 * scale,
        background_rotation=1.0 * scale,
        background_zoom=0.02 * scale,
        foreground_translation=6.0 * scale,
        foreground_rotation=4.0 * scale,
        foreground_zoom=0.06 * scale,
    )


def order(arm: str, seed: int, steps: int) -> list[str]:
    """Return the difficulty of the batch of each step; every arm has equal numbers of both.

    Raises:
        ValueError: if the arm is unknown or the number of steps is odd.
    """
    if arm not in ARMS or steps % 2:
        raise ValueError(f"arm={arm!r}, steps={steps}; take one of {', '.join(ARMS)} and an even number.")
    halves = ["easy"] * (steps // 2) + ["hard"] * (steps // 2)
    if arm == "mixed":
        return [str(word) for word in np.random.default_rng(seed).permutation(halves)]
    return halves if arm == "easy first" else halves[::-1]


def batches(arm: str, seed: int, steps: int) -> Iterator[FlowSample]:
    """Yield the batches in the order of the arm; the batches of each difficulty are the same for all arms."""
    flips = Compose(transforms=[RandomHorizontalFlip(), RandomVerticalFlip()])
    sources = {
        difficulty: iter(
            FlowDataModule(
                train=layers("train", difficulty, BATCH * steps // 2, seed), batch_size=BATCH, workers=0, seed=seed,
                transform=flips,
            ).train_dataloader()
        )
        for difficulty in SCALES
    }  # fmt: skip
    for difficulty in order(arm, seed, steps):
        yield next(sources[difficulty])


def trained(*, arm: str, seed: int, steps: int, images: int, points: int) -> Results:
    """Return errors on held-out samples of both kinds, during and after a training, and those of zero flow."""
    torch.manual_seed(seed)
    smoothness = UnrolledTotalVariation(lam=0.3, rho=1.0)
    model = flow_model(smoothness, learning_rate=RATE, steps=steps, weight=WEIGHT)
    held_out = {difficulty: list(layers("test", difficulty, images)) for difficulty in SCALES}
    curves: dict[str, list[float]] = {"step": [], **{difficulty: [] for difficulty in SCALES}}

    def _measure(step: int) -> None:
        curves["step"].append(step)
        for difficulty, samples in held_out.items():
            curves[difficulty].append(averages(model, samples)["epe"])

    fit(model, batches(arm, seed, steps), steps=steps, callback=AfterSteps(points_of(steps, points), _measure))
    zero = {difficulty: zero_error(samples) for difficulty, samples in held_out.items()}
    return {"curves": curves, "zero": zero}


def zero_error(samples: Sequence[FlowSample]) -> float:
    """Return the end-point error of zero flow, mean of images."""
    flows = torch.stack([sample["flow"] for sample in samples])
    return endpoint_error(torch.zeros_like(flows), flows).mean().item()


def runs(rows: Sequence[Row], arm: str, difficulty: str) -> np.ndarray:
    """Return the curves (seeds, points) of an arm, pixels."""
    return np.array([row["results"]["curves"][difficulty] for row in rows if row["settings"]["arm"] == arm])


def write_report(folder: Path, rows: Sequence[Row]) -> None:
    """Write table and figure."""
    lines: list[list[str | int | float]] = []
    for arm in ARMS:
        ends = [runs(rows, arm, difficulty)[:, -1] for difficulty in SCALES]
        spread = [float(end.std(ddof=1)) if len(end) > 1 else float("nan") for end in ends]
        lines.append([
            arm, len(ends[0]), float(ends[1].mean()), spread[1], float(ends[0].mean()), spread[0],
        ])  # fmt: skip
    zero = rows[0]["results"]["zero"]
    lines.append(["zero flow", "", zero["hard"], "", zero["easy"], ""])
    headings = [
        "order", "seeds", "EPE of hard samples (px)", "its deviation over seeds", "EPE of easy samples (px)",
        "its deviation over seeds",
    ]  # fmt: skip
    write_table(folder, headings, lines)
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, difficulty in zip(figure.subplots(1, 2), reversed(SCALES), strict=True):
        for arm, colour in ARMS.items():
            curves, steps = runs(rows, arm, difficulty), rows[0]["results"]["curves"]["step"]
            axes.plot(steps, curves.mean(axis=0), color=colour, label=f"{arm} (n = {len(curves)})")
            axes.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.2)
        axes.axhline(zero[difficulty], color="k", ls=":", label="zero flow")
        axes.axvline(rows[0]["settings"]["steps"] / 2, color="0.8", zorder=0)
        axes.set(
            xlabel="training steps", ylabel="EPE (px), test", title=f"{difficulty} samples: mean and range of the seeds"
        )
        axes.legend(fontsize="small")
    figure.savefig(folder / "figure.png", dpi=110)


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Train the missing runs by seed, and write table and figure."""
    seeds, settings = (SEEDS[:1], SMOKE) if smoke else (SEEDS, FULL)
    cells = [{"arm": arm, "seed": seed, **settings} for seed in seeds for arm in ARMS]
    processes = 1 if smoke else os.cpu_count() or 1
    rows = run_grid(cells, trained, folder / "rows.jsonl", processes=processes, about="trainings")
    write_report(folder, rows)
    if not smoke:
        check_again(rows, trained, lambda results: float(results["curves"]["hard"][-1]))


if __name__ == "__main__":
    main()

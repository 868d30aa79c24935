"""Does unrolling help a network that is trained on real footage only?

Question: experiments 04 and 10 train on synthetic samples. Here the same network is trained without labels on videos
and films only, with total variation or with the unrolled term, and is tested on Middlebury and Sintel.

Command: make reproduce EXP=12, which repeats one stored run and compares it with its row. FULL=1 make reproduce EXP=12
runs the grid, and continues it after a stop. UNROLLFLOW_DATA_DIR names the folder of the data. Hours on two CPU cores,
one process each: about 1.5.

Protocol:
- Training data: the videos and folders of frames in `video`, without the scenes that are tested (alley_1, alley_2 and
  bandage_1 of Sintel). Frames have 144 pixels on the shorter side and are cropped to 80x80 (configs/data/video.yaml).
- Recipe: that of the quickstart, 600 steps. Only the smoothness term and its strength differ. The rounding of the
  unrolled term is that of the quickstart.
- Three strengths for each term, seeds 0 to 2. A strength trades errors at motion boundaries against errors elsewhere,
  so all points are reported, and the terms are compared at their best strengths. The best strength has the lowest mean
  error on Sintel final and is reported on Middlebury and Sintel clean; on Sintel final itself it is optimistic.
- The interval of a change is a paired bootstrap over seeds and images. With four images in a set, it says nothing about
  other images.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage import data as photographs

from experiments.common.accuracy import benchmark_sets, data_folder, held_out, image_errors, network_flow, required_data
from experiments.common.grid import Results, Row, Settings, check_again, identity, read_rows, run_grid
from experiments.common.recipe import fit_quickstart
from experiments.common.results import write_table
from experiments.exp10_smoothness_front.forms import arguments
from unrollflow.data import write_image
from unrollflow.metrics.paired import relative_change

RESULTS = Path(__file__).with_name("results")

TESTED_SCENES = ("alley_1", "alley_2", "bandage_1")
TERMS = {"total variation": 0.0, "unrolled, T = 4, detached": 0.3}
"""Roundings of the terms, px/px."""

STRENGTHS = (0.25, 0.75, 2.0)
SEEDS = (0, 1, 2)
STEPS = 600
CHOSEN_ON = "sintel final"
SETS = ("middlebury", "sintel", CHOSEN_ON)
SMOKE_STEPS = 2


def footage(folder: Path) -> Path:
    """Link the training clips into an empty folder, and return it."""
    source = required_data("video, middlebury and sintel") / "video"
    for clip in sorted(source.iterdir()):
        if not any(scene in clip.name for scene in TESTED_SCENES):
            (folder / clip.name).symlink_to(clip.resolve())
    return folder


def generated(folder: Path) -> Path:
    """Write a short clip of a camera that moves over a photograph, for smoke runs."""
    photograph = torch.from_numpy(photographs.astronaut()).movedim(-1, 0) / 255
    for i in range(7):
        write_image(folder / "clip" / f"{i}.png", photograph[:, 100:244, 100 + 2 * i : 292 + 2 * i])
    return folder


def trained(*, term: str, strength: float, seed: int, steps: int, smoke: bool = False) -> Results:
    """Train once, and return the errors of each image of each set, pixels.

    Args:
        term: one of :data:`TERMS`.
        strength: weight of the term, in the unit of total variation.
        seed: seed of weights, order and crops.
        steps: number of training steps.
        smoke: train on a generated clip, and measure synthetic samples.
    """
    changes = arguments(term, rounding=TERMS[term], strength=strength, ramp=0)
    with tempfile.TemporaryDirectory() as name:
        root = str((generated if smoke else footage)(Path(name)))
        parts = [word for part in ("train", "validation") for word in (f"--data.{part}.root", root)]
        whole = [word for part in ("train", "validation") for word in (f"--data.{part}.split", "all")]
        source = ["--data", "configs/data/video.yaml", *parts, *whole]
        module = fit_quickstart(changes, seed=seed, steps=steps, data=source).module
    sets = {name: [held_out()[0], held_out()[1]] for name in SETS} if smoke else benchmark_sets(data_folder(), *SETS)
    return {name: image_errors(network_flow(module), pairs, ("epe",))["epe"] for name, pairs in sets.items()}


def cells() -> list[Settings]:
    """Return all runs, seed by seed."""
    return [
        {"term": term, "strength": strength, "seed": seed, "steps": STEPS}
        for seed in SEEDS
        for term in TERMS
        for strength in STRENGTHS
    ]


def errors(rows: Sequence[Row], term: str, strength: float, place: str) -> NDArray[np.float64]:
    """Return the errors (seeds, images) of a term at a strength, pixels."""
    own = [row for row in rows if (row["settings"]["term"], row["settings"]["strength"]) == (term, strength)]
    own.sort(key=lambda row: row["settings"]["seed"])
    return np.array([row["results"][place] for row in own], dtype=np.float64)


def write_report(folder: Path, rows: Sequence[Row]) -> None:
    """Write all points (`points`), the comparison (`table`) and figure.png."""
    strengths = sorted({row["settings"]["strength"] for row in rows})
    means = {(t, s): [float(errors(rows, t, s, place).mean()) for place in SETS] for t in TERMS for s in strengths}
    headings = ["term", "strength", "seeds", *(f"EPE {name} (px)" for name in SETS)]
    seeds = len({row["settings"]["seed"] for row in rows})
    write_table(folder / "points", headings, [[*key, seeds, *values] for key, values in means.items()])
    best = {t: min(strengths, key=lambda s, t=t: means[t, s][SETS.index(CHOSEN_ON)]) for t in TERMS}
    hard, unrolled = TERMS
    lines: list[list[str | int | float]] = []
    for place in SETS:
        arms = [errors(rows, term, best[term], place) for term in (unrolled, hard)]
        change = [100 * value for value in relative_change(*arms)]
        lines.append([place, *arms[0].shape, float(arms[0].mean()), float(arms[1].mean()), *change])
    names = [f"{term}, strength {best[term]} (px)" for term in (unrolled, hard)]
    write_table(folder, ["set", "seeds", "images", *names, "change by unrolling (%)", "from", "to"], lines)
    figure = Figure(figsize=(4 * len(SETS), 3.2), layout="constrained")
    for axes, place in zip(figure.subplots(1, len(SETS)), SETS, strict=True):
        for term in TERMS:
            runs = np.array([errors(rows, term, strength, place).mean(axis=1) for strength in strengths])
            axes.plot(strengths, runs.mean(axis=1), "o-", label=term)
            axes.fill_between(strengths, runs.min(axis=1), runs.max(axis=1), alpha=0.2)
        axes.set(xscale="log", xlabel="strength", ylabel="EPE (px), mean and range of seeds", title=place)
    axes.legend(fontsize="small")
    figure.savefig(folder / "figure.png", dpi=110)


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Verify a run, or run all with FULL=1; then write tables and figure of the stored rows."""
    store = folder / "rows.jsonl"
    if smoke:
        shared = {"strength": STRENGTHS[1], "seed": 0, "steps": SMOKE_STEPS, "smoke": True}
        run_grid([{"term": term, **shared} for term in TERMS], trained, store)
    elif os.environ.get("FULL") == "1":
        run_grid(cells(), trained, store, processes=os.cpu_count() or 1, about="trainings")
    else:
        known = [row for row in read_rows(store) if identity(row["settings"]) == identity(cells()[0])]
        check_again(known, trained, lambda results: float(np.mean(results[CHOSEN_ON])))
    write_report(folder, read_rows(store))


if __name__ == "__main__":
    main()

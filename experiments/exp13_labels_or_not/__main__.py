"""Where does ground truth help a small network, and where does training without labels generalise better?

Question: the same network is trained on the same synthetic samples (MovingLayers) with their ground truth and without
it. Which one has the lower error on held-out samples of the same kind, and which one on photographs and films?

Command: make reproduce EXP=13, which repeats one stored run and compares it with its row. FULL=1 make reproduce EXP=13
runs the grid, and continues it after a stop. Hours on two CPU cores, one process each: about 1.

Protocol:
- Controlled: PyramidMatcher (57,390 parameters), the quickstart's samples, crops, flips, batch, optimizer, schedule,
  averaged weights and 900 steps. Only the objective differs. Frames are not exchanged at random, as in the quickstart,
  because that would drop the ground truth.
- Without labels: the quickstart's objective (census, unrolled term, visibility test). With labels: end-point error of
  all estimates (configs/objective/supervised.yaml). The learning rate was chosen for the first one; with labels, twice
  and half of it are trained as well, with seed 0, and the best one on validation samples is used for all seeds.
- Seeds 0 to 4. Errors on 256 test samples of MovingLayers, and, below UNROLLFLOW_DATA_DIR, on Middlebury, Sintel clean
  and final, KITTI 2012 and 2015, FlyingChairs. None of these images was trained on.
- The interval of a change is a paired bootstrap over seeds and images. With few images (four of Middlebury), it says
  nothing about other images.
- `data`: statistics of every set that may explain the difference: the length of the motion, the contrast of the
  images, and the census difference that remains under the true flow on visible pixels.
"""

import os
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.common.accuracy import benchmark_sets, data_folder, final_layers, held_out, image_errors, network_flow
from experiments.common.grid import Results, Row, Settings, check_again, identity, read_rows, run_grid
from experiments.common.recipe import fit_quickstart, without_exchange
from experiments.common.results import write_table
from unrollflow.contracts import FlowSample
from unrollflow.losses import census
from unrollflow.metrics.paired import relative_change
from unrollflow.ops import warp

RESULTS = Path(__file__).with_name("results")

STEPS, IMAGES = 900, 256
SEEDS = (0, 1, 2, 3, 4)
RATE = 5e-3
RATES = (0.5 * RATE, RATE, 2 * RATE)
MEASURES = ("epe", "epe_noc", "epe_occ")
BENCHMARKS = ("middlebury", "sintel", "sintel final", "kitti2012", "kitti2015", "chairs")
WITHOUT, WITH = "without labels", "with labels"
SMOKE: Settings = {"steps": 4, "images": 2}


def trained(*, labels: bool, rate: float, seed: int, steps: int, images: int, test: bool) -> Results:
    """Train once, and return the errors of each image.

    Args:
        labels: train with ground truth.
        rate: maximum of the learning rate.
        seed: seed of weights, samples and order.
        steps: number of training steps.
        images: largest number of images of each set.
        test: measure test images and benchmarks; False: validation images.
    """
    changes = ["--model.scheduler.init_args.max_lr", str(rate), "--data.transform", without_exchange()]
    module = fit_quickstart(changes, seed=seed, steps=steps, supervised=labels).module
    layers = final_layers() if test else held_out()
    sets: dict[str, Iterable[FlowSample]] = {"layers": [layers[index] for index in range(images)]}
    if test:
        found = benchmark_sets(data_folder(), *BENCHMARKS)
        sets |= {name: islice(pairs, images) for name, pairs in found.items()}
    return {name: image_errors(network_flow(module), pairs, MEASURES) for name, pairs in sets.items()}


def search_cells() -> list[Settings]:
    """Return the trials of the learning rate with labels."""
    common = {"labels": True, "seed": 0, "steps": STEPS, "images": len(held_out()), "test": False}
    return [{"rate": rate, **common} for rate in RATES]


def final_cells(rate: float) -> list[Settings]:
    """Return the runs that are compared, seed by seed; `rate` is that of the runs with labels."""
    common = {"steps": STEPS, "images": IMAGES, "test": True}
    arms = ({"labels": False, "rate": RATE}, {"labels": True, "rate": rate})
    return [{**arm, "seed": seed, **common} for seed in SEEDS for arm in arms]


def mean_error(results: Results) -> float:
    """Return the mean end-point error on MovingLayers, pixels."""
    return mean(results["layers"]["epe"])


def errors(rows: Sequence[Row], *, labels: bool, place: str, measure: str) -> NDArray[np.float64]:
    """Return the errors (seeds, images) of one arm on a set, pixels; NaN for images without such pixels."""
    chosen = sorted((row for row in rows if row["settings"]["labels"] is labels), key=lambda r: r["settings"]["seed"])
    return np.array([row["results"][place][measure] for row in chosen], dtype=np.float64)


@torch.no_grad()
def statistics(pairs: Iterable[FlowSample]) -> list[float]:
    """Return mean and 95 % quantile of the flow's length (px), contrast, and the census difference under true flow."""
    lengths, contrasts, differences = [], [], []
    for pair in pairs:
        image1, image2, flow = (pair[name].unsqueeze(0) for name in ("image1", "image2", "flow"))
        known = pair["valid"] & ~pair["occluded"] if "occluded" in pair else pair["valid"]
        lengths.append(flow[0].norm(dim=0)[pair["valid"]])
        contrasts.append((image1[..., 1:] - image1[..., :-1]).abs().mean())
        remaining = census(image1, warp(image2, flow), border="zero")[0, 0]
        differences.append(remaining[known].mean())
    length = torch.cat(lengths)
    longest = length.sort().values[int(0.95 * (len(length) - 1))]
    return [
        float(value)
        for value in (length.mean(), longest, torch.stack(contrasts).mean(), torch.stack(differences).mean())
    ]


def write_report(folder: Path, rows: Sequence[Row]) -> None:
    """Write the comparison (`table`) and figure.png."""
    places = [name for name in ("layers", *BENCHMARKS) if name in rows[0]["results"]]
    lines: list[list[str | int | float]] = []
    changes: list[tuple[str, float, float, float]] = []
    for place in places:
        for measure in MEASURES if place == "layers" else MEASURES[:1]:
            ours, truth = (errors(rows, labels=labels, place=place, measure=measure) for labels in (False, True))
            means = [mean(value for run in arm for value in run if value is not None) for arm in (ours, truth)]
            change = relative_change(
                *([[float("nan") if v is None else v for v in run] for run in arm] for arm in (ours, truth))
            )
            lines.append([place, measure, len(ours), len(ours[0]), *means, *(100 * value for value in change)])
            if measure == "epe":
                changes.append((place, *(100 * value for value in change)))
    headings = ["set", "measure", "seeds", "images", f"{WITHOUT} (px)", f"{WITH} (px)"]
    write_table(folder, [*headings, "change without labels (%)", "from", "to"], lines)
    figure = Figure(figsize=(7, 1.2 + 0.45 * len(changes)), layout="constrained")
    axes = figure.subplots()
    for i, (_, estimate, low, high) in enumerate(changes):
        axes.plot([low, high], [i, i], color="0.4")
        axes.plot(estimate, i, "o", color="tab:blue" if estimate < 0 else "tab:red")
    axes.axvline(0, color="k", lw=0.8)
    axes.set_yticks(range(len(changes)), [name for name, *_ in changes])
    axes.invert_yaxis()
    axes.set(xlabel="change of the end-point error without labels, against with labels (%), 95 % interval")
    figure.savefig(folder / "figure.png", dpi=110)


def write_statistics(folder: Path, images: int) -> None:
    """Write the table `data`: statistics of each set."""
    layers = final_layers()
    sets: dict[str, Iterable[FlowSample]] = {"layers": [layers[index] for index in range(images)]}
    sets |= benchmark_sets(data_folder(), *BENCHMARKS)
    headings = ["set", "mean motion (px)", "95 % quantile (px)", "contrast", "census difference under true flow"]
    write_table(folder / "data", headings, [[name, *statistics(pairs)] for name, pairs in sets.items()])


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Verify a run, or run all with FULL=1; then write tables and figure of the stored rows."""
    store = folder / "rows.jsonl"
    if smoke:
        arms = ({"labels": False, "rate": RATE}, {"labels": True, "rate": RATE})
        finals = run_grid([{**arm, "seed": 0, "test": True, **SMOKE} for arm in arms], trained, store)
    elif os.environ.get("FULL") == "1":
        processes = os.cpu_count() or 1
        trials = run_grid(search_cells(), trained, store, processes=processes, about="rates")
        rate = min(trials, key=lambda row: mean_error(row["results"]))["settings"]["rate"]
        finals = run_grid(final_cells(rate), trained, store, processes=processes, about="trainings")
    else:
        trial = identity(search_cells()[1])
        check_again([row for row in read_rows(store) if identity(row["settings"]) == trial], trained, mean_error)
        finals = [row for row in read_rows(store) if row["settings"]["test"]]
    write_report(folder, finals)
    write_statistics(folder, SMOKE["images"] if smoke else IMAGES)


if __name__ == "__main__":
    main()

"""Which parts of the quickstart's recipe matter, and what would improve it?

Command: make reproduce EXP=08. Minutes on two CPU cores: 20.

Each lever changes one setting of configs/experiment/quickstart.yaml; everything else is equal. Every run is a `fit` of
the command line with 200 steps, whose visibility test starts at the same share of the run as the quickstart's. L1 +
SSIM keeps the recipe's smoothness weight, although its loss has another scale. Errors are those of the averaged
weights on the quickstart's validation samples and, where UNROLLFLOW_DATA_DIR names their folder, on Middlebury and
Sintel clean. Remove rows.jsonl after a change of the recipe.
"""

import json
import os
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from experiments.common.accuracy import benchmark_sets, data_folder, errors, held_out, network_flow
from experiments.common.grid import Results, Row, check_again, run_grid
from experiments.common.results import write_table
from unrollflow.cli.main import main as unrollflow
from unrollflow.training.module import UnsupervisedFlow

RESULTS = Path(__file__).with_name("results")

STEPS, SEEDS = 200, (0, 1)
VISIBILITY_START = 200 / 900
"""Share of the quickstart's steps after which occluded pixels no longer count."""

SMOKE_STEPS, SMOKE_IMAGES = 2, 2
RECIPE = "the recipe"
NETWORK, SMOOTHNESS = "--model.backbone.init_args", "--model.smoothness"
OBJECTIVE, TRAIN = "--model.objective.init_args", "--data.train"
LEVERS: dict[str, str] = {
    RECIPE: "",
    "one round of propagation": f"{NETWORK}.propagations 1",
    "L1 + SSIM in place of the census": "--model.photometric configs/photometric/l1_ssim.yaml",
    "smoothness weight 1": f"{OBJECTIVE}.smoothness_weight 1.0",
    "total variation": f"{SMOOTHNESS} configs/smoothness/tv_l1.yaml",
    "motions of twice the size": f"{TRAIN}.background_translation 8.0 {TRAIN}.foreground_translation 16.0",
}
"""What each lever adds to the command line."""

METRICS = {
    "moving layers": ("moving_layers", "epe"),
    "... visible": ("moving_layers", "visible"),
    "... occluded": ("moving_layers", "occluded"),
    "Middlebury": ("middlebury", "epe"),
    "Sintel clean": ("sintel", "epe"),
}
"""Columns: the set and the figure of each."""


def trained(*, arguments: str, seed: int, steps: int, images: int) -> Results:
    """Fit the quickstart with a lever, and measure the averaged weights.

    Args:
        arguments: of the command line.
        seed: of weights, samples and order.
        steps: of training.
        images: of the validation samples that are measured.
    """
    seeds = ["--seed_everything", str(seed), "--data.seed", str(100 * seed), "--data.train.seed", str(seed)]
    length = ["--trainer.max_steps", str(steps), "--model.scheduler.init_args.total_steps", str(steps + 1)]
    starts = f"[0, {max(1, round(VISIBILITY_START * steps))}]"
    length += ["--model.objective.init_args.visibility.init_args.starts", starts]
    quiet = ["--trainer.enable_model_summary", "false", "--trainer.limit_val_batches", "1", "--data.workers", "0"]
    with tempfile.TemporaryDirectory() as folder:
        logger = {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": {"save_dir": folder, "name": "run"}}
        files = ["--trainer.val_check_interval", str(steps), "--trainer.logger", json.dumps([logger])]
        config = ["fit", "--config", "configs/experiment/quickstart.yaml"]
        unrollflow([*config, *seeds, *length, *quiet, *files, *shlex.split(arguments)])
        module = UnsupervisedFlow.load_from_checkpoint(Path(folder) / "run" / "version_0" / "checkpoints" / "last.ckpt")
    flow_of, layers = network_flow(module), held_out()
    sets = {"moving_layers": [layers[index] for index in range(images)]}
    sets |= benchmark_sets(data_folder(), "middlebury", "sintel")
    return {
        name: {key: value for key, value in errors(flow_of, pairs)._asdict().items() if key != "images"}
        for name, pairs in sets.items()
    }


def write_report(folder: Path, rows: Sequence[Row]) -> None:
    """Write table and figure: means over the seeds, and the change of the error by each lever."""
    names = {arguments: name for name, arguments in LEVERS.items()}
    columns = {title: place for title, place in METRICS.items() if place[0] in rows[0]["results"]}
    figures: dict[str, list[list[float]]] = {}
    for row in rows:
        found = [row["results"][group][key] for group, key in columns.values()]
        figures.setdefault(names[row["settings"]["arguments"]], []).append(found)
    means = {name: [mean(values) for values in zip(*found, strict=True)] for name, found in figures.items()}
    lines = [[name, len(figures[name]), *values] for name, values in means.items()]
    write_table(folder, ["lever", "seeds", *(f"EPE, {title} (px)" for title in columns)], lines)
    others = [name for name in means if name != RECIPE]
    figure = Figure(figsize=(2 + 2.2 * len(columns), 1 + 0.35 * len(others)), layout="constrained")
    grid = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for i, (axes, title) in enumerate(zip(grid, columns, strict=True)):
        base = means[RECIPE][i]
        for seed in range(min(map(len, figures.values()))):
            points = [100 * (figures[name][seed][i] / figures[RECIPE][seed][i] - 1) for name in others]
            axes.plot(points, range(len(others)), "o", ms=3, color="0.6")
        axes.barh(range(len(others)), [100 * (means[name][i] / base - 1) for name in others], alpha=0.6)
        axes.axvline(0, color="k", lw=0.8)
        axes.set(title=f"{title}\n(recipe {base:.3f} px)", xlabel="change of EPE (%)")
    grid[0].set_yticks(range(len(others)), others)
    grid[0].invert_yaxis()
    figure.savefig(folder / "figure.png", dpi=110)


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Train what is missing, seed by seed, and write table and figure."""
    chosen = list(LEVERS)[:2] if smoke else list(LEVERS)
    length = {"steps": SMOKE_STEPS, "images": SMOKE_IMAGES} if smoke else {"steps": STEPS, "images": len(held_out())}
    seeds = SEEDS[:1] if smoke else SEEDS
    cells = [{"arguments": LEVERS[name], "seed": seed, **length} for seed in seeds for name in chosen]
    processes = 1 if smoke else os.cpu_count() or 1
    rows = run_grid(cells, trained, folder / "rows.jsonl", processes=processes, about="trainings")
    write_report(folder, rows)
    if not smoke:
        check_again(rows, trained, lambda results: float(results["moving_layers"]["epe"]))


if __name__ == "__main__":
    main()

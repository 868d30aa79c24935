"""Which parts of the quickstart's recipe matter, and which changes would improve it?

Command: make reproduce EXP=08. Minutes on two CPU cores: 60.

Each lever changes one setting of configs/experiment/quickstart.yaml; everything else is equal. Every run is a `fit` of
the command line with 200 steps; its visibility test starts at the same share of the run as in the quickstart. L1 + SSIM
keeps the smoothness weight of the recipe, although its loss has another scale. Errors are those of the averaged weights
on the validation samples of the quickstart and, if UNROLLFLOW_DATA_DIR names their folder, on Middlebury and Sintel
clean. Remove rows.jsonl after a change of the recipe.
"""

import json
import os
import shlex
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from experiments.common.accuracy import benchmark_sets, data_folder, errors, held_out, network_flow
from experiments.common.grid import Results, Row, check_again, run_grid
from experiments.common.recipe import crops_transform, fit_quickstart, scheduled, self_supervision
from experiments.common.results import write_table

RESULTS = Path(__file__).with_name("results")

STEPS, SEEDS = 200, (0, 1)
SMOKE_STEPS, SMOKE_IMAGES = 2, 2
RECIPE = "the recipe"
BENCHMARKS = ("middlebury", "sintel")
BACKBONE, NETWORK, SMOOTHNESS = "--model.backbone", "--model.backbone.init_args", "--model.smoothness"
OBJECTIVE, TRAIN = "--model.objective.init_args", "--data.train.init_args"
RAMP, RATE = f"{OBJECTIVE}.smoothness_ramp", "--model.scheduler.init_args.max_lr"


def student(name: str) -> str:
    """Return a file of configs/distillation as JSON, from step 100 on."""
    return json.dumps([scheduled(self_supervision(name), STEPS)])


def crops(side: int) -> str:
    """Return the transform of configs/data/moving_layers_crops.yaml as JSON, with crops of another size."""
    transform = crops_transform()
    transform["init_args"]["transforms"][0]["init_args"]["size"] = [side, side]
    return json.dumps(transform)


VARIANTS = "experiments.exp08_levers.variants"
TEXTURES = "DATA/textures"
"""Folder of photographs below UNROLLFLOW_DATA_DIR; levers that need it are omitted if it does not exist."""

LEVERS: dict[str, str] = {
    RECIPE: "",
    "one update at the image's size at test time": f"{NETWORK}.full_iterations 1",
    "one round of propagation": f"{NETWORK}.propagations 1",
    "unrolled total variation after the propagation": f"{BACKBONE} {VARIANTS}.UnrolledPropagation",
    "unrolled total variation in its place": f"{BACKBONE} {VARIANTS}.UnrolledPropagation {NETWORK}.propagations 0",
    "wide network (392 k)": f"{BACKBONE} configs/backbone/pyramid_matcher_wide.yaml",
    "L1 + SSIM in place of the census": "--model.photometric configs/photometric/l1_ssim.yaml",
    "smoothness weight 1": f"{OBJECTIVE}.smoothness_weight 1.0",
    "smoothness weight 4": f"{OBJECTIVE}.smoothness_weight 4.0",
    "threshold 0.1, weight 7.5": f"{SMOOTHNESS}.init_args.lam 0.1 {OBJECTIVE}.smoothness_weight 7.5",
    "total variation": f"{SMOOTHNESS} configs/smoothness/tv_l1.yaml",
    "second order, weight 7.5": f"{SMOOTHNESS}.init_args.order 2 {OBJECTIVE}.smoothness_weight 7.5",
    "smoothness ramp over 100 steps": f"{RAMP}.class_path unrollflow.losses.Ramp {RAMP}.init_args.steps 100",
    "occlusion-aware smoothness": (
        f"--model.objective.class_path {VARIANTS}.OcclusionAwareObjective {OBJECTIVE}.occluded_weight 3.0"
    ),
    "solver as teacher from step 100": f"--model.distillation {shlex.quote(student('refined'))}",
    "self-supervision from step 100": f"--model.distillation {shlex.quote(student('affine'))}",
    "colour jitter": "--model.jitter configs/jitter/arflow.yaml",
    "photographs as textures": f"{TRAIN}.textures {TEXTURES}",
    "200 samples, repeated": f"--data.train.class_path {VARIANTS}.RepeatedLayers {TRAIN}.samples 200",
    "small motions first": f"--data.train.class_path {VARIANTS}.GrowingMotion {TRAIN}.samples {5 * STEPS // 2}",
    "motions of twice the size": f"{TRAIN}.background_translation 8.0 {TRAIN}.foreground_translation 16.0",
    "crops of 64x64, batch 8": f"--data.batch_size 8 --data.transform {shlex.quote(crops(64))}",
    "batch of 10": "--data.batch_size 10",
    "half the rate": f"{RATE} 2.5e-3",
    "twice the rate": f"{RATE} 1.0e-2",
}
"""Arguments that each lever adds to the command line."""

METRICS = {
    "moving layers": ("moving_layers", "epe"),
    "... visible": ("moving_layers", "visible"),
    "... occluded": ("moving_layers", "occluded"),
    "Middlebury": ("middlebury", "epe"),
    "Sintel clean": ("sintel", "epe"),
}
"""Columns of the table: set and figure of each."""


def trained(*, arguments: str, seed: int, steps: int, images: int) -> Results:
    """Fit the quickstart with a lever, and measure the averaged weights.

    Args:
        arguments: arguments of the command line.
        seed: seed of weights, samples and order.
        steps: number of training steps.
        images: largest number of measured samples of each set.
    """
    lever = shlex.split(arguments.replace("DATA/", f"{data_folder()}/"))
    module = fit_quickstart(lever, seed=seed, steps=steps).module
    flow_of, layers = network_flow(module), held_out()
    sets = {"moving_layers": [layers[index] for index in range(images)]}
    sets |= {name: list(islice(pairs, images)) for name, pairs in benchmark_sets(data_folder(), *BENCHMARKS).items()}
    return {
        name: {key: value for key, value in errors(flow_of, pairs)._asdict().items() if key != "images"}
        for name, pairs in sets.items()
    }


def write_report(folder: Path, rows: Sequence[Row]) -> None:
    """Write table and figure: means over the seeds, and the change of the error with each lever."""
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
    """Train the missing runs by seed, and write table and figure."""
    photographs = (data_folder() or Path()) / "textures"
    chosen = [name for name, lever in LEVERS.items() if TEXTURES not in lever or photographs.is_dir()]
    chosen = chosen[:2] if smoke else chosen
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

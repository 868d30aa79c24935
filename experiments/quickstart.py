"""Train without labels, compare with OpenCV DIS, and predict the flow of real photographs.

Command: make quickstart, or make quickstart SEED=1. Minutes on two CPU cores: 4 to 10.
The comparison alone, for another network: python -m experiments.quickstart --checkpoint FILE.

The real photographs are the motorcycle pair that scikit-image contains. If the environment variable UNROLLFLOW_DATA_DIR
names a folder with `middlebury`, they are these sequences instead; if it contains `sintel`, its clean frames are
measured as well. They are not used for training.
"""

import argparse
import itertools
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from experiments.common.accuracy import (
    Errors,
    benchmark_sets,
    data_folder,
    dis_flow,
    errors,
    held_out,
    network_flow,
    zero_flow,
)
from experiments.common.recipe import logged_to
from experiments.common.results import write_table
from unrollflow.cli.main import main as unrollflow
from unrollflow.data import Middlebury, StereoMotorcycle, write_image
from unrollflow.training.module import UnsupervisedFlow

RUNS = Path("runs/flow")
HEADINGS = ("set", "image", "network", "OpenCV DIS", "zero flow")
CLOSING = """
Done in {minutes:.1f} minutes.
  {report}
      training curves and sample pictures, for a browser
  {real_report}
      the same network on real photographs
  {table}
      the table above
  {flow}
      flow of these photographs: .flo files, colours (.png) and maps of visible pixels (_visible.png)

Next steps:
  unrollflow predict FOLDER_OF_FRAMES --ckpt_path {checkpoint} --output flow
      flow of your own frames
  unrollflow fit --config configs/experiment/thirty_minutes.yaml
      a better network
  unrollflow fit --config configs/experiment/video.yaml --data.train.root FOLDER --data.validation.root FOLDER
      the same recipe on your own videos
"""


def new_run() -> Path:
    """Create the directory of the next run; simultaneous quickstarts get different directories."""
    RUNS.mkdir(parents=True, exist_ok=True)
    numbers = [int(path.name.removeprefix("version_")) for path in RUNS.glob("version_*")]
    for number in itertools.count(max(numbers, default=-1) + 1):
        with suppress(FileExistsError):
            (RUNS / f"version_{number}").mkdir()
            break
    return RUNS / f"version_{number}"


def real_frames(folder: Path) -> tuple[list[str], dict[str, list[Path]]]:
    """Return the arguments that validate on real photographs, and the pairs to predict, by name."""
    data = data_folder()
    if data is not None and (data / "middlebury").is_dir():
        root = data / "middlebury"
        pairs = {pair.name: [pair.image1, pair.image2] for pair in Middlebury(root=root).pairs}
        return ["--data", "configs/data/middlebury.yaml", "--data.validation.root", str(root)], pairs
    sample = StereoMotorcycle()[0]
    views = [folder / "left.png", folder / "right.png"]
    for path, name in zip(views, ("image1", "image2"), strict=True):
        write_image(path, sample[name])
    return ["--data", "configs/data/motorcycle.yaml"], {"motorcycle": views}


def compare(checkpoint: Path, folder: Path) -> None:
    """Print and write end-point errors of the network, OpenCV DIS and zero flow on each set that exists."""
    flow_of = network_flow(UnsupervisedFlow.load_from_checkpoint(checkpoint))
    real = benchmark_sets(data_folder(), "middlebury", "sintel") or {"motorcycle": [StereoMotorcycle(reduction=4)[0]]}
    rows: list[list[str | float]] = []
    for name, pairs in ({"held-out moving layers": held_out()} | real).items():
        network, dis, zero = (errors(method, pairs) for method in (flow_of, dis_flow, zero_flow))
        rows += set_rows(name, network, dis, zero, each=name in real)
    write_table(folder, HEADINGS, rows)
    print("\nEnd-point error in pixels; none of these images were used for training:\n")
    print((folder / "table.md").read_text(), flush=True)


def set_rows(name: str, network: Errors, dis: Errors, zero: Errors, *, each: bool) -> list[list[str | float]]:
    """Return the rows of a set: mean, visible and occluded pixels if they are known, and optionally each image."""
    methods = (network, dis, zero)
    rows: list[list[str | float]] = [[name, "mean", *(found.epe for found in methods)]]
    if not math.isnan(network.occluded) and not each:
        rows.append([name, "visible pixels", *(found.visible for found in methods)])
        rows.append([name, "occluded pixels", *(found.occluded for found in methods)])
    if each:
        rows += [[name, image, *(found.images[image] for found in methods)] for image in network.images]
    return rows


def fit(run: Path, *arguments: str, seed: int) -> None:
    """Train the quickstart into the directory of a run, with further arguments of the command line."""
    seeds = ["--seed_everything", str(seed), "--data.seed", str(seed), "--data.train.seed", str(seed)]
    unrollflow(["fit", "--config", "configs/experiment/quickstart.yaml", *seeds, *logged_to(run), *arguments])


def train_and_compare(seed: int) -> None:
    """Run everything, and print where the results are."""
    start = time.perf_counter()
    run = new_run()
    fit(run, seed=seed)
    checkpoint = run / "checkpoints" / "last.ckpt"  # best.ckpt is chosen by the reported ground truth
    compare(checkpoint, run / "comparison")
    arguments, pairs = real_frames(run / "real")
    real = new_run()
    unrollflow(["validate", "--ckpt_path", str(checkpoint), *arguments, *logged_to(real)])
    for name, (first, second) in pairs.items():
        unrollflow(
            ["predict", str(first), str(second), "--ckpt_path", str(checkpoint), "--output", str(run / "real" / name)]
        )
    reports = {"report": run / "report.html", "real_report": real / "report.html"}
    minutes = (time.perf_counter() - start) / 60
    table = run / "comparison" / "table.md"
    print(CLOSING.format(minutes=minutes, **reports, table=table, flow=run / "real", checkpoint=checkpoint))


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, compare, validate on real photographs and predict them; with --checkpoint, only compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of weights, samples and their order (default: %(default)s)"
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="only compare this trained network, and write the table beside it"
    )
    chosen = parser.parse_args(arguments)
    if chosen.checkpoint is not None:
        compare(chosen.checkpoint, chosen.checkpoint.parent / "comparison")
    else:
        train_and_compare(chosen.seed)


if __name__ == "__main__":
    main()

"""Minutes until the quickstart's recipe reaches given errors: half of zero flow's, and those of OpenCV DIS.

    python -m benchmarks.time_to_quality

Fits configs/experiment/quickstart.yaml with all threads, and saves the averaged weights every 25 steps; the time of a
file is the time of its weights, from the start of the command on. The errors are measured after the training, on
held-out MovingLayers and, where UNROLLFLOW_DATA_DIR names their folder, on the Middlebury sequences.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import machine
from experiments.common.accuracy import benchmark_sets, data_folder, dis_flow, errors, held_out, network_flow, zero_flow
from experiments.common.recipe import logged_to
from unrollflow.cli.main import main as unrollflow
from unrollflow.contracts import FlowSample
from unrollflow.training.module import UnsupervisedFlow

EVERY = 25
"""Steps between two measured weights."""


class Goal(NamedTuple):
    """An error to reach.

    Attributes:
        name: of the row.
        pairs: on which the error is measured.
        error: mean end-point error, pixels.
    """

    name: str
    pairs: Iterable[FlowSample]
    error: float


class Snapshot(NamedTuple):
    """Weights of a training.

    Attributes:
        step: after which they were saved.
        minutes: from the start of the command to then.
        file: their checkpoint.
    """

    step: int
    minutes: float
    file: Path


def goals() -> list[Goal]:
    """Half of zero flow's error and DIS's error on held-out samples, and DIS's on the sequences that are there."""
    layers = held_out()
    found = [
        Goal("half of zero flow, held-out MovingLayers", layers, errors(zero_flow, layers).epe / 2),
        Goal("OpenCV DIS, held-out MovingLayers", layers, errors(dis_flow, layers).epe),
    ]
    sequences = benchmark_sets(data_folder(), "middlebury")
    return found + [Goal("OpenCV DIS, Middlebury", pairs, errors(dis_flow, pairs).epe) for pairs in sequences.values()]


def snapshots(folder: Path, *arguments: str, every: int = EVERY, seed: int = 0) -> list[Snapshot]:
    """Train the quickstart with further arguments of the command line; its weights every few steps."""
    run = folder / "flow" / "version_0"
    saved = {"dirpath": str(folder / "steps"), "every_n_train_steps": every, "save_top_k": -1, "filename": "{step}"}
    saver = {"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": saved}
    seeds = ["--seed_everything", str(seed), "--data.seed", str(seed), "--data.train.seed", str(seed)]
    command = ["fit", "--config", "configs/experiment/quickstart.yaml", *seeds, *logged_to(run)]
    start = time.time()
    unrollflow([*command, "--trainer.callbacks+", json.dumps(saver), *arguments])
    files = {int(path.stem.removeprefix("step=")): path for path in (folder / "steps").iterdir()}
    return [Snapshot(step, (file.stat().st_mtime - start) / 60, file) for step, file in sorted(files.items())]


def first_below(goal: float, found: Iterable[Snapshot], error: Callable[[Snapshot], float]) -> Snapshot | None:
    """The first weights whose error is at most a goal; None if there are none."""
    return next((snapshot for snapshot in found if error(snapshot) <= goal), None)


def table(reached: Mapping[Goal, Snapshot | None]) -> str:
    """A table of Markdown, one goal a row."""
    lines = ["| goal | error, px | step | minutes |", "|---|---|---|---|"]
    for goal, snapshot in reached.items():
        when = "never | never" if snapshot is None else f"{snapshot.step} | {snapshot.minutes:.1f}"
        lines.append(f"| {goal.name} | {goal.error:.3f} | {when} |")
    return "\n".join(lines)


def main() -> None:
    """Train, measure, and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.time_to_quality", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of weights, samples and their order (%(default)s)")
    seed = parser.parse_args().seed
    with tempfile.TemporaryDirectory() as folder:
        found = snapshots(Path(folder), seed=seed)
        reached = {goal: first_below(goal.error, found, lambda at, g=goal: error_of(at, g.pairs)) for goal in goals()}
    print(machine())
    print(table(reached))


def error_of(snapshot: Snapshot, pairs: Iterable[FlowSample]) -> float:
    """End-point error of some weights, pixels."""
    return errors(network_flow(UnsupervisedFlow.load_from_checkpoint(snapshot.file)), pairs).epe


if __name__ == "__main__":
    main()

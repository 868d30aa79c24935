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
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import machine
from experiments.common.accuracy import benchmark_sets, data_folder, dis_flow, errors, held_out, network_flow, zero_flow
from experiments.quickstart import fit
from unrollflow.contracts import FlowSample
from unrollflow.training.module import UnsupervisedFlow

EVERY = 25
"""Steps between two measured weights."""


class Goal(NamedTuple):
    """An error to reach.

    Attributes:
        name: of the row.
        place: set on which the error is measured, a key of :func:`measured_sets`.
        error: mean end-point error, pixels.
    """

    name: str
    place: str
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


def measured_sets() -> dict[str, Iterable[FlowSample]]:
    """Held-out samples, and the Middlebury sequences if they exist."""
    return {"held-out MovingLayers": held_out()} | benchmark_sets(data_folder(), "middlebury")


def goals(sets: Mapping[str, Iterable[FlowSample]]) -> list[Goal]:
    """Half of zero flow's error on the first set, and OpenCV DIS's error on every set."""
    first, pairs = next(iter(sets.items()))
    half = Goal(f"half of zero flow, {first}", first, errors(zero_flow, pairs).epe / 2)
    return [half] + [Goal(f"OpenCV DIS, {name}", name, errors(dis_flow, pairs).epe) for name, pairs in sets.items()]


def snapshots(folder: Path, *arguments: str, every: int = EVERY, seed: int = 0) -> list[Snapshot]:
    """Train the quickstart with further arguments of the command line; its weights every few steps."""
    run = folder / "flow" / "version_0"
    saved = {"dirpath": str(folder / "steps"), "every_n_train_steps": every, "save_top_k": -1, "filename": "{step}"}
    saver = {"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": saved}
    start = time.time()
    fit(run, "--trainer.callbacks+", json.dumps(saver), *arguments, seed=seed)
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
        found, sets = snapshots(Path(folder), seed=seed), measured_sets()

        @cache  # two goals share a set
        def _error(at: Snapshot, place: str) -> float:
            network = network_flow(UnsupervisedFlow.load_from_checkpoint(at.file))
            return errors(network, sets[place]).epe

        reached = {goal: first_below(goal.error, found, partial(_error, place=goal.place)) for goal in goals(sets)}
    print(machine())
    print(table(reached))


if __name__ == "__main__":
    main()

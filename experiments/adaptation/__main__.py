"""Does adapting the shipped weights to a scene, without labels, lower the error on other frames of the scene?

Command: python -m experiments.adaptation; finished runs are skipped. Minutes on two CPU cores, one process each:
about 8. It needs the benchmark sequences in the folder UNROLLFLOW_DATA_DIR.

For each of three Sintel scenes, `unrollflow fit --config configs/experiment/adapt.yaml` runs on frames of the scene.
The initial weights and the result (best.ckpt, chosen without labels) are measured on pairs with ground truth. alley_1
is adapted to frames 16 to 25 and measured on the pairs of frames 1 to 4. alley_2 and bandage_1 have four frames: the
adaptation reads the first two and the last two as pairs. The pair in the middle is measured; the adaptation never
computes its flow. The solver as teacher, the number of steps and the score were chosen while looking at the errors of
alley_1 and alley_2. The score is the forward-backward mismatch; the census difference rises while the error falls.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from experiments.common.accuracy import benchmark_sets, errors, network_flow, refined, required_data
from experiments.common.assembly import CONFIGS
from experiments.common.grid import Results, Row, run_grid
from experiments.common.results import write_table
from unrollflow.cli.main import main as unrollflow
from unrollflow.inference import pretrained

RESULTS = Path(__file__).with_name("results")

STEPS = 240


class Scene(NamedTuple):
    """Frames below UNROLLFLOW_DATA_DIR for the adaptation, and the set for the measurement.

    Attributes:
        clips: frame numbers of each clip; the clips are not neighbours of each other.
        folder: folder of the frames.
        measured: name of a set of :func:`~experiments.common.accuracy.benchmark_sets`.
    """

    clips: list[list[int]]
    folder: str
    measured: str


SCENES = {
    "alley_1": Scene([list(range(16, 26))], "video/frames_alley_1", "sintel"),
    "alley_2": Scene([[1, 2], [3, 4]], "sintel/training/clean/alley_2", "sintel"),
    "bandage_1": Scene([[34, 35], [36, 37]], "sintel/training/final/bandage_1", "sintel final"),
}


def adapted(*, scene: str, steps: int) -> Results:
    """Return the errors before and after the adaptation to a scene, and whether the initial weights were kept."""
    data = required_data("sintel and video")
    clips, place, measured = SCENES[scene]
    pairs = [pair for pair in benchmark_sets(data, measured)[measured] if scene in pair["name"]]
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for number, frames in enumerate(clips):
            (clip := Path("frames", str(number))).mkdir(parents=True)
            for frame in frames:
                shutil.copy(data / place / f"frame_{frame:04d}.png", clip)
        roots = [word for part in ("train", "validation") for word in (f"--data.{part}.root", "frames")]
        length = ["--trainer.max_steps", str(steps), "--model.scheduler.init_args.total_steps", str(steps + 1)]
        often = ["--trainer.val_check_interval", str(max(1, steps // 3)), "--data.workers", "0"]
        config = str(CONFIGS / "experiment" / "adapt.yaml")
        unrollflow(["fit", "--config", config, *roots, *length, *often, "--trainer.precision", "32-true"])
        checkpoints = Path("runs", "flow", "version_0", "checkpoints")
        flows = {name: network_flow(pretrained(checkpoints / f"{name}.ckpt")) for name in ("start", "best")}
    found = {
        title: errors(method, pairs)._asdict()
        for name, flow_of in flows.items()
        for title, method in ((name, flow_of), (f"{name}, refined", refined(flow_of)))
    }
    return {"errors": found, "start kept": found["start"] == found["best"]}


def write_report(folder: Path, rows: Sequence[Row]) -> None:
    """Write table and figure: errors before and after."""
    lines: list[list[str | int | float]] = []
    for row in rows:
        found: Mapping[str, Mapping[str, float]] = row["results"]["errors"]
        before, after = found["start"]["epe"], found["best"]["epe"]
        lines.append([
            row["settings"]["scene"], before, after, 100 * (after / before - 1), found["start, refined"]["epe"],
            found["best, refined"]["epe"], "yes" if row["results"]["start kept"] else "no", row["seconds"] / 60,
        ])  # fmt: skip
    headings = [
        "scene", "EPE before (px)", "after (px)", "change (%)", "before, refined (px)", "after, refined (px)",
        "start kept", "minutes",
    ]  # fmt: skip
    write_table(folder, headings, lines)
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for offset, (column, label) in enumerate(
        ((1, "before"), (2, "after"), (4, "before, refined"), (5, "after, refined"))
    ):
        places = [i + 0.2 * (offset - 1.5) for i in range(len(lines))]
        axes.bar(places, [float(line[column]) for line in lines], width=0.2, label=label)
    axes.set_xticks(range(len(lines)), [str(line[0]) for line in lines])
    axes.set(ylabel="EPE (px)", title="Shipped weights, adapted to a scene without labels")
    axes.legend(fontsize="small")
    figure.savefig(folder / "figure.png", dpi=110)


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Adapt to each scene, and write table and figure."""
    cells = [{"scene": scene, "steps": 2 if smoke else STEPS} for scene in (list(SCENES)[1:2] if smoke else SCENES)]
    rows = run_grid(
        cells, adapted, folder / "rows.jsonl", processes=1 if smoke else os.cpu_count() or 1, about="scenes"
    )
    write_report(folder, rows)


if __name__ == "__main__":
    main()

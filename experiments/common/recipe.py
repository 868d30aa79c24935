"""Train the recipe of the quickstart by the command line, with changed settings."""

import csv
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from experiments.common.assembly import CONFIGS
from unrollflow.cli.main import main as unrollflow
from unrollflow.training.module import UnsupervisedFlow

VISIBILITY_START = 200 / 900
"""Share of the quickstart's steps after which the loss omits occluded pixels."""

CURVE = {"epe": "val/epe", "visible": "val/epe_noc", "occluded": "val/epe_occ"}


class Trained(NamedTuple):
    """Result of a training.

    Attributes:
        module: module with the averaged weights of the last step.
        curve: `step`, and errors of the validation samples at these steps in pixels; empty without validations.
    """

    module: UnsupervisedFlow
    curve: dict[str, list[float]]


def fit_quickstart(
    arguments: Sequence[str],
    *,
    seed: int,
    steps: int,
    validations: int = 0,
    supervised: bool = False,
    data: Sequence[str] = (),
) -> Trained:
    """Fit configs/experiment/quickstart.yaml in a temporary folder.

    The learning-rate schedule and the start of the visibility test are scaled to the number of steps.

    Args:
        arguments: arguments of the command line that change the recipe.
        seed: seed of weights, samples and order.
        steps: number of training steps.
        validations: number of validations, at equal distances; 0: one validation of one batch at the end.
        supervised: train with the ground truth of the samples, by configs/objective/supervised.yaml.
        data: arguments that select other data; (): the quickstart's samples of this seed.
    """
    samples = [*data, "--data.seed", str(100 * seed), *([] if data else ["--data.train.seed", str(seed)])]
    seeds = ["--seed_everything", str(seed), *samples]
    length = ["--trainer.max_steps", str(steps), "--model.scheduler.init_args.total_steps", str(steps + 1)]
    starts = f"[0, {max(1, round(VISIBILITY_START * steps))}]"
    if supervised:
        length += ["--model.objective", "configs/objective/supervised.yaml"]
    else:
        length += ["--model.objective.init_args.visibility.init_args.starts", starts]
    quiet = ["--trainer.enable_model_summary", "false", "--data.workers", "0"]
    interval = ["--trainer.val_check_interval", str(steps // max(1, validations))]
    interval += [] if validations else ["--trainer.limit_val_batches", "1"]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run" / "version_0"
        config = ["fit", "--config", "configs/experiment/quickstart.yaml"]
        unrollflow([*config, *seeds, *length, *quiet, *interval, *logged_to(run), *arguments])
        module = UnsupervisedFlow.load_from_checkpoint(run / "checkpoints" / "last.ckpt", trusted=["experiments."])
        return Trained(module, read_curve(run / "metrics.csv") if validations else {})


def crops_transform() -> dict[str, Any]:
    """Return the transform of the quickstart's samples, configs/data/moving_layers_crops.yaml."""
    atom: dict[str, Any] = yaml.safe_load((CONFIGS / "data" / "moving_layers_crops.yaml").read_text())["transform"]
    return atom


def without_exchange() -> str:
    """Return the quickstart's transform without the random exchange of frames, which drops the true flow, as JSON."""
    atom = crops_transform()
    parts = atom["init_args"]["transforms"]
    atom["init_args"]["transforms"] = [part for part in parts if not part["class_path"].endswith("RandomTemporalSwap")]
    return json.dumps(atom)


def scheduled(term: dict[str, Any], steps: int) -> dict[str, Any]:
    """Return a term of the self-supervision that starts at half of the steps, with a ramp over a tenth of them."""
    schedule = {"start": steps // 2, "ramp": steps // 10}
    return {"class_path": "unrollflow.losses.Distillation", "init_args": term | schedule}


def self_supervision(name: str) -> dict[str, Any]:
    """Return the arguments of the term in a file of configs/distillation."""
    (term,) = yaml.safe_load((CONFIGS / "distillation" / f"{name}.yaml").read_text())
    found: dict[str, Any] = term["init_args"]
    return found


def logged_to(run: Path) -> list[str]:
    """Return the arguments that set the directory of the run, NAME/version_N."""
    version = int(run.name.removeprefix("version_"))
    arguments = {"save_dir": str(run.parent.parent), "name": run.parent.name, "version": version}
    logger = {"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": arguments}
    return ["--trainer.logger", json.dumps([logger])]


def read_curve(metrics: Path) -> dict[str, list[float]]:
    """Return the steps and errors of the validations in the metrics.csv of a run."""
    with metrics.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[CURVE["epe"]]]
    curve = {"step": [float(row["step"]) + 1 for row in rows]}  # steps are counted from 0
    return curve | {name: [float(row[column]) for row in rows] for name, column in CURVE.items()}

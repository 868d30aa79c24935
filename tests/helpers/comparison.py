"""Groups of runs and samples as a comparison page takes them, and folders of runs, without a training."""

import math
from pathlib import Path
from typing import Any

import torch
import yaml

from unrollflow.metrics.names import MEASURES, UNLABELLED
from unrollflow.visualization.compared import ComparedGroup, ComparedRun, ComparedSample, group_label
from unrollflow.visualization.report import Curve

SIZE = (24, 32)
"""Height and width of the samples, pixels."""

SMOOTHNESS = {"class_path": "unrollflow.losses.TotalVariation", "init_args": {"penalty": "l1"}}


def sample(number: int, *, labelled: bool = True) -> ComparedSample:
    """Noise that moves by one pixel to the right."""
    image = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(number))
    flow = torch.tensor([1.0, 0.0]).view(2, 1, 1).expand(2, *SIZE) if labelled else None
    return ComparedSample(f"sample {number}", image, image.roll(1, dims=-1), flow, None)


def run(error: float, *, seed: int = 0, samples: int = 2, labelled: bool = True, **changes: Any) -> ComparedRun:
    """A run whose flow is `error` pixels too long everywhere, and whose curve ends at this error."""
    names = MEASURES | UNLABELLED if labelled else UNLABELLED
    means = {name: [math.nan] * samples for name in names}
    means |= {"epe": [error] * samples} if labelled else {"census": [error] * samples}
    flow = torch.zeros(2, *SIZE)
    flow[0] = 1 + error
    found = ComparedRun(
        folder=f"runs/flow/version_{seed}",
        checkpoint="best.ckpt, step 20",
        seeds=f"seed {seed}",
        pair=seed,
        curves={"val/epe": Curve([0, 10, 20], [4 * error, 2 * error, error])},
        figures={"steps": 20, "seconds": 3.5},
        means=means,
        flows=[flow] * samples,
    )
    return found._replace(**changes)


def group(number: int, *runs: ComparedRun, **settings: object) -> ComparedGroup:
    """A group with the label that the command gives it."""
    return ComparedGroup(group_label(number, settings), settings, list(runs))


def write_run(folder: Path, *, seed: int = 0, checkpoint: str = "best.ckpt", **model: Any) -> Path:
    """A run's files without a training; its checkpoint is empty."""
    config = {
        "seed_everything": seed,
        "trainer": {"max_steps": 1, "default_root_dir": str(folder), "logger": [{"save_dir": str(folder)}]},
        "model": {"smoothness": SMOOTHNESS} | model,
        "data": {
            "validation": {"class_path": "unrollflow.data.MovingLayers", "init_args": {"length": 2}},
            "seed": seed,
        },
    }
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "checkpoints" / checkpoint).touch()
    return folder

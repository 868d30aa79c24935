"""Compare a fit of two minutes with OpenCV DIS, and a resumed fit with an uninterrupted one."""

import contextlib
import io
import os
import tempfile
import time
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
import yaml
from torch import Tensor

from benchmarks.gpu.findings import Check, Finding
from experiments.common.accuracy import benchmark_sets, data_folder, dis_flow, errors, held_out, network_flow
from experiments.common.assembly import CONFIGS, build, build_model
from unrollflow.cli.main import main as unrollflow
from unrollflow.data import FlowDataModule, StereoMotorcycle
from unrollflow.training.module import UnsupervisedFlow

QUICKSTART = CONFIGS / "experiment" / "quickstart.yaml"
DATA = CONFIGS / "data" / "moving_layers_crops.yaml"
MOST_TIME = "00:00:02:00"
SHORT_DATA = {"workers": 0, "batch_size": 2}
MOST_NOISE = 3.0
"""Tolerated difference of a resumed and an uninterrupted run, in differences of two uninterrupted runs."""


def fit_checks(device: torch.device, *, short: bool) -> dict[str, Check]:
    """Return the check of the quickstart, trained for at most two minutes."""
    return {"a fit of two minutes": partial(fit_against_dis, device, short=short)}


def resume_checks(device: torch.device, *, short: bool) -> dict[str, Check]:
    """Return the check of a resumed run."""
    return {"a resumed fit": partial(resumed, device, short=short)}


def fit_against_dis(device: torch.device, *, short: bool) -> list[Finding]:
    """Measure end-point errors of the network and of DIS on held-out samples and on the existing photographs."""
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    workers = "0" if short else str(min(8, os.cpu_count() or 1))
    brief = ["--trainer.max_steps", "1", "--trainer.val_check_interval", "1", "--data.batch_size", "1"] if short else []
    brief += ["--data.validation.length", "1"] if short else []
    with tempfile.TemporaryDirectory() as folder:
        place = ["--trainer.logger.init_args.save_dir", folder, "--trainer.default_root_dir", folder]
        device_options = ["--trainer.accelerator", accelerator, "--trainer.enable_progress_bar", "false"]
        options = [*place, *device_options, "--trainer.max_time", MOST_TIME, "--data.workers", workers, *brief]
        begun = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            unrollflow(["fit", "--config", str(QUICKSTART), *options])
        seconds = time.perf_counter() - begun
        (last,) = Path(folder).rglob("last.ckpt")
        steps = torch.load(last, weights_only=True)["global_step"]
        network = UnsupervisedFlow.load_from_checkpoint(last)
    found = [Finding("quickstart: whole command", seconds, "s", note=f"{steps} steps")]
    return found + against_dis(network, short=short)


def against_dis(network: UnsupervisedFlow, *, short: bool) -> list[Finding]:
    """Return a row for each set: the error of the network, with the error of DIS as expected value."""
    samples = held_out()
    sets = {"held-out moving layers": [samples[i] for i in range(2 if short else len(samples))]}
    if not short:
        photographs = benchmark_sets(data_folder(), "middlebury", "sintel")
        sets |= photographs or {"motorcycle": [StereoMotorcycle(reduction=4)[0]]}
    found = []
    for name, pairs in sets.items():
        ours, dis = (errors(method, pairs).epe for method in (network_flow(network), dis_flow))
        met = None if short else ours < dis
        found.append(Finding(f"quickstart: end-point error, {name}", ours, "px", f"below DIS: {dis:.3f}", met))
    return found


def resumed(device: torch.device, *, short: bool) -> list[Finding]:
    """Return the mean differences of weights: interrupted and uninterrupted runs, and two uninterrupted runs."""
    steps = 2 if short else 20
    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder) / "half.ckpt"
        one = trained(device, steps, save=half, short=short)
        again = trained(device, steps, resume=half, short=short)
    other = trained(device, steps, short=short)
    apart, noise = ((weights - one).abs().mean().item() for weights in (again, other))
    expected = "0" if noise == 0 else f"at most {MOST_NOISE:g} times the noise of torch's backward passes"
    met = apart <= MOST_NOISE * noise
    return [
        Finding("two runs of the same seed: mean difference of weights", noise, note="0 where torch is deterministic"),
        Finding("resumed against uninterrupted: mean difference of weights", apart, "", expected, met),
    ]


class SaveHalfway(pl.Callback):
    """Saves a checkpoint after half of the steps.

    Args:
        path: file to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Save if the step is that of the checkpoint."""
        if trainer.global_step == trainer.max_steps // 2:
            trainer.save_checkpoint(self.path)


def trained(
    device: torch.device, steps: int, *, save: Path | None = None, resume: Path | None = None, short: bool
) -> Tensor:
    """Return all weights of the quickstart after some steps as one vector on the CPU."""
    pl.seed_everything(0, verbose=False)
    model = build_model(QUICKSTART)
    atom = yaml.safe_load(DATA.read_text()) | (SHORT_DATA if short else {})
    trainer = pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        max_steps=steps,
        limit_val_batches=0,
        deterministic="warn",
        callbacks=[SaveHalfway(save)] if save else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, build(FlowDataModule, atom), ckpt_path=resume, weights_only=True)
    return torch.cat([p.detach().flatten().cpu() for p in model.parameters()])

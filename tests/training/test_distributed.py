"""Two processes on the CPU (gloo): their gradient is that of one process with the joined batch."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from experiments.common.assembly import CONFIGS
from tests.helpers.command import csv_logger, words
from tests.training.test_module import NETWORK, OBJECTIVE, layers, parts, trainer
from unrollflow.callbacks import EvaluationTable
from unrollflow.cli.main import main
from unrollflow.contracts import FlowSample
from unrollflow.data import AppearanceJitter, FlowDataModule, MovingLayers, RandomCrop
from unrollflow.data.datamodule import collate
from unrollflow.losses import (
    SSIM,
    Appearance,
    Census,
    Distillation,
    ForwardBackward,
    HallucinatedOcclusion,
    RandomAffine,
    RandomWindow,
    RangeMap,
    UnrolledTotalVariation,
    WeightedSum,
)
from unrollflow.models import RAFT, PWCLite
from unrollflow.training.module import UnsupervisedFlow

SIZE, SAMPLES, PROCESSES = (64, 64), 4, 2
SMALL: dict[str, Any] = {
    "encoder_channels": (4, 6, 8),
    "feature_channels": 8,
    "hidden_channels": 6,
    "context_channels": 6,
    "motion_channels": (8, 6, 6, 4, 8),
    "head_channels": 6,
    "correlation_levels": 3,
    "radius": 2,
    "iterations": 2,
}
BACKBONES = {
    "pwclite": partial(PWCLite, **NETWORK),
    "raft_instance": partial(RAFT, context_norm="instance", **SMALL),
    "raft_frozen": partial(RAFT, context_norm="frozen", **SMALL),
}


def module(backbone: str) -> UnsupervisedFlow:
    """Parts with random draws or averages: census, SSIM, occlusion, jitter, whole frames, three distillation terms."""
    torch.manual_seed(0)
    gamma = 0.0 if backbone == "pwclite" else 0.8
    options: dict[str, Any] = {"visibility": RangeMap(threshold=0.2), "weight": 0.3, "gamma": gamma}
    noise = {"blur_probability": 0.5, "eraser_probability": 0.5, "eraser_size": (5, 9)}
    return UnsupervisedFlow(
        backbone=BACKBONES[backbone](),
        photometric=WeightedSum(parts=[Census(patch_size=3), SSIM()], weights=[1.0, 0.5]),
        smoothness=UnrolledTotalVariation(edge_alpha=10.0),
        objective=partial(OBJECTIVE, visibility=ForwardBackward(bias=20.0)),
        optimizer=partial(torch.optim.SGD, lr=0.1),
        jitter=AppearanceJitter(**noise),
        distillation=[
            Distillation(views=[RandomAffine(), Appearance(jitter=AppearanceJitter(**noise))], **options),
            Distillation(views=[HallucinatedOcclusion(count=(2, 4), superpixels=16)], **options),
            Distillation(views=[RandomWindow(size=SIZE)], pixels="newly_occluded", **options),
        ],
    ).double()


def batch(indices: list[int]) -> FlowSample:
    """Crops with their whole frames and checkerboard superpixels; which samples depends on the indices alone."""
    samples = []
    for index in indices:
        whole = MovingLayers(split="train", size=(80, 88))[index]
        crop = RandomCrop(size=SIZE, keep_whole=True)(whole, torch.Generator().manual_seed(index))
        rows, columns = torch.meshgrid(torch.arange(64) // 16, torch.arange(64) // 16, indexing="ij")
        samples.append(crop | {"segments": 4 * rows + columns})
    joined = collate(samples)
    return {k: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in joined.items()}  # type: ignore[return-value]


class Step(nn.Module):
    """A training step as a module's forward pass, which DistributedDataParallel wraps."""

    def __init__(self, inner: UnsupervisedFlow) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, sample: FlowSample) -> Tensor:
        return self.inner.training_step(sample, 0)


def gradients(inner: UnsupervisedFlow) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in inner.named_parameters() if p.grad is not None}


def work(rank: int, backbone: str, port: int, folder: str) -> None:
    """One process: its samples, as distributed by the sampler, and the averaged gradient."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=PROCESSES)
    inner = module(backbone)
    step = DistributedDataParallel(Step(inner), find_unused_parameters=True)
    torch.manual_seed(7)  # the run's seed, of which the draws are made
    step(batch(list(range(rank, SAMPLES, PROCESSES)))).backward()
    torch.save(gradients(inner), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_two_processes_have_the_gradient_of_the_joined_batch(backbone: str) -> None:
    inner = module(backbone)
    torch.manual_seed(7)
    loss = inner.training_step(batch(list(range(SAMPLES))), 0)
    loss.backward()  # type: ignore[no-untyped-call]
    expected = gradients(inner)
    assert any(value.abs().max() > 1e-4 for value in expected.values())
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, (backbone, free_port(), folder), nprocs=PROCESSES)
        shared = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]
    scale = max(value.abs().max() for value in expected.values())
    for name, value in expected.items():
        assert torch.equal(shared[0][name], shared[1][name])
        assert (shared[0][name] - value).abs().max() <= 1e-5 * scale, name


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["validate", "test"])
def test_two_processes_with_the_default_sampler_evaluate_every_sample_once(stage: str, tmp_path: Path) -> None:
    tables = []
    for name, options in (("one", {}), ("two", {"devices": 2, "strategy": "ddp_spawn"})):
        inner = UnsupervisedFlow(**parts())
        samples = layers(5, "validation")
        data = FlowDataModule(train=None, validation=samples, test=samples, validation_batch_size=2, workers=0)
        runner = trainer(tmp_path / name, callbacks=[EvaluationTable()], **options)
        getattr(runner, stage)(inner, data, verbose=False)
        averages = json.loads((tmp_path / name / "evaluation.json").read_text())
        logged = runner.callback_metrics[f"{'val' if stage == 'validate' else stage}/epe"].item()
        tables.append(((tmp_path / name / "per_sample.csv").read_text(), averages["epe"], logged))
    (rows, epe, logged), (shared_rows, shared_epe, shared_logged) = tables
    assert [row.partition(",")[0] for row in shared_rows.splitlines()[1:]] == [f"validation-{i:06d}" for i in range(5)]
    assert epe["images"] == 5
    assert shared_rows == rows
    assert shared_epe == epe
    assert shared_logged == pytest.approx(logged, rel=1e-6)


def fit_arguments(directory: Path, *, batch_size: int) -> list[str]:
    """A fit of the quickstart, of two steps and one validation, that writes below a directory."""
    size = "[96, 96]"
    options = {
        "trainer.max_epochs": "1",
        "trainer.val_check_interval": "2",
        "trainer.enable_model_summary": "false",
        "data.batch_size": str(batch_size),
    }
    options |= {"data.train.length": "8", "data.validation.length": "3", "data.workers": "0"}
    options |= {"data.train.size": size, "data.validation.size": size, "trainer.logger": csv_logger(directory)}
    files = ("--config", str(CONFIGS / "experiment" / "quickstart.yaml"))
    return ["fit", *files, *words({f"--{key}": value for key, value in options.items()})]


@pytest.mark.slow
def test_torchrun_trains_as_one_process_does_and_writes_one_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    several = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    arguments = ["-m", "unrollflow", *fit_arguments(tmp_path / "two", batch_size=2), *several]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]
    assert "sync_dist" not in done.stderr
    main(fit_arguments(tmp_path / "one", batch_size=4))
    assert [path.name for path in (tmp_path / "two" / "flow").iterdir()] == ["version_0"]
    two, one = (tmp_path / name / "flow" / "version_0" for name in ("two", "one"))
    assert sorted(p.relative_to(two) for p in two.rglob("*")) == sorted(p.relative_to(one) for p in one.rglob("*"))
    figures = [json.loads((run / "metrics.json").read_text()) for run in (two, one)]
    assert figures[0]["steps"] == figures[1]["steps"] == 2
    for name in ("epe", "photometric"):
        assert figures[0][name] == pytest.approx(figures[1][name], rel=1e-4), name


@pytest.mark.slow
def test_the_command_line_starts_the_processes_by_itself(tmp_path: Path) -> None:
    """As overnight.yaml does, with averaged weights: the average copies a module whose factories know the trainer."""
    command = [sys.executable, "-m", "unrollflow", *fit_arguments(tmp_path, batch_size=2), "--trainer.devices", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]
    run = tmp_path / "flow" / "version_0"
    assert json.loads((run / "metrics.json").read_text())["steps"] == 2
    assert (run / "checkpoints" / "last.ckpt").is_file()

import shutil
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from torch.utils.data import DataLoader

from unrollflow.callbacks import KeepStart
from unrollflow.checkpoints import read_checkpoint


class Scored(pl.LightningModule):
    """One weight, which counts the steps; its validations have given scores."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.weight, self.scores = torch.nn.Parameter(torch.zeros(1)), iter(scores)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return -self.weight.sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/consistency", next(self.scores))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def fit(folder: Path, scores: list[float], *, best: bool = True, resume: str | None = None, **options: Any) -> Path:
    """Checkpoints of a training of three steps, each validated."""
    checkpoint = ModelCheckpoint(
        monitor="val/consistency",
        mode="min",
        filename="best",
        save_last=True,
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=CSVLogger(folder, name="run", version="0"),
        callbacks=[*([checkpoint] if best else []), KeepStart()],
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_steps": 3, "num_sanity_val_steps": -1, "val_check_interval": 1} | options,
    )
    batches: Any = [torch.zeros(1)] * 3
    trainer.fit(Scored(scores), DataLoader(batches), DataLoader(batches[:1]), ckpt_path=resume)
    return folder / "run" / "0" / "checkpoints"


def kept(folder: Path) -> float:
    return float(read_checkpoint(folder / "best.ckpt")["state_dict"]["weight"])


@pytest.mark.parametrize(
    ("scores", "weight"),
    [
        ([0.5, 0.4, 0.3, 0.6], 2.0),
        ([0.5, 0.6, 0.7, 0.8], 0.0),
        ([0.5, 0.5, 0.5, 0.5], 0.0),
        ([0.5, float("inf"), 0.9, 0.4], 3.0),
    ],
)
def test_the_best_of_start_and_validations_is_kept(
    scores: list[float], weight: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kept(fit(tmp_path, scores)) == weight
    said = capsys.readouterr().out
    assert "val/consistency: 0.50000 before the training" in said
    assert ("contains the initial weights" in said) == (weight == 0)


def test_a_resumed_training_is_compared_with_its_own_start(tmp_path: Path) -> None:
    folder = fit(tmp_path, [0.5, 0.6], max_steps=1)
    assert kept(folder) == 0.0
    first = str(shutil.copy(folder / "last.ckpt", tmp_path / "first.ckpt"))
    assert kept(fit(tmp_path, [0.55, 0.52], resume=first)) == 0.0
    assert kept(fit(tmp_path, [0.55, 0.4], resume=first)) == 3.0


def test_missing_requirements_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a validation before the first step: num_sanity_val_steps is 2"):
        fit(tmp_path, [], num_sanity_val_steps=2)
    with pytest.raises(ValueError, match="no ModelCheckpoint with monitor val/consistency and mode min"):
        fit(tmp_path, [], best=False)


def test_a_fast_dev_run_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a run directory that is not the logger's would be below it
    fit(tmp_path, [0.5], best=False, fast_dev_run=True)
    assert not list(tmp_path.rglob("*.ckpt"))

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import wandb
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from torch.utils.data import DataLoader

from tests.helpers.wandb_file import records
from tests.training.test_module import layers, trainer
from unrollflow.callbacks import FlowPanels, RunReport
from unrollflow.callbacks.evaluation_table import EvaluationTable
from unrollflow.callbacks.flow_panels import safe_name
from unrollflow.callbacks.run_directory import run_directory
from unrollflow.metrics import image_measures


class Still(pl.LightningModule):
    """Predicts no motion, at once, with the outputs of UnsupervisedFlow; its measures are those of the last batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.log_dict({"loss/total": self.weight, "loss/smoothness": self.weight})
        return self.weight.square()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        return self.evaluate(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        return self.evaluate(batch, "test")

    def evaluate(self, batch: Any, stage: str) -> dict[str, Any]:
        frame = batch["image1"]
        outputs = {"flow": torch.zeros_like(frame[:, :2]), "visible": torch.ones_like(frame[:, :1])}
        self.log(f"{stage}/photometric", 0.5, batch_size=1)
        if "flow" not in batch:
            return outputs
        measures = image_measures(outputs["flow"], batch["flow"], occluded=batch["occluded"])
        logged = {f"{stage}/{name}": values.mean() for name, values in measures.mean.items()}
        self.log_dict(logged, batch_size=1)
        return outputs | {"measures": measures}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def validate(directory: Path, *callbacks: pl.Callback, path: Path | None = None, **options: Any) -> pl.Trainer:
    runner = trainer(directory, callbacks=list(callbacks), **options)
    loader = DataLoader(layers(3, "validation"), batch_size=2)
    runner.validate(Still(), loader, verbose=False, ckpt_path=path, weights_only=True)
    return runner


def test_directory_of_a_run_is_that_of_its_first_logger(tmp_path: Path) -> None:
    assert run_directory(trainer(tmp_path)) == tmp_path
    csv = CSVLogger(str(tmp_path), name="flow", version=3)
    assert run_directory(trainer(tmp_path, logger=csv)) == tmp_path / "flow" / "version_3"


def test_panels_of_the_first_samples_only(tmp_path: Path) -> None:
    validate(tmp_path, FlowPanels(samples=2))
    names = [path.name for path in sorted((tmp_path / "panels").iterdir())]
    assert names == ["step-000000_00-validation-000000.png", "step-000000_01-validation-000001.png"]


def test_panels_of_a_fit_skip_the_sanity_check_and_further_loaders(tmp_path: Path) -> None:
    drawing = FlowPanels(samples=3, every_n_validations=2)
    runner = trainer(tmp_path, callbacks=[drawing], max_steps=3, val_check_interval=1, num_sanity_val_steps=1)
    loaders = [DataLoader(layers(1, "validation")), DataLoader(layers(3, "test"))]
    runner.fit(Still(), DataLoader(layers(6), batch_size=2), loaders)
    names = [path.name for path in sorted((tmp_path / "panels").iterdir())]
    assert names == [f"step-00000{step}_00-validation-000000.png" for step in (1, 3)]


def test_panels_of_a_resumed_fit_keep_their_interval(tmp_path: Path) -> None:
    path = None
    for step in (1, 2, 3):
        options = {"max_steps": step, "val_check_interval": 1, "num_sanity_val_steps": 0}
        runner = trainer(tmp_path, callbacks=[FlowPanels(samples=1, every_n_validations=2)], **options)
        loaders = DataLoader(layers(6), batch_size=2), DataLoader(layers(1, "validation"))
        runner.fit(Still(), *loaders, ckpt_path=path, weights_only=True)
        path = tmp_path / f"{step}.ckpt"
        runner.save_checkpoint(path)
    names = [path.name for path in sorted((tmp_path / "panels").iterdir())]
    assert names == [f"step-00000{step}_00-validation-000000.png" for step in (1, 3)]


def test_a_resumed_fit_reports_the_seconds_and_the_figures_of_both_parts(tmp_path: Path) -> None:
    """The second part has no step left, so that it does not validate."""
    for path in (None, tmp_path / "x.ckpt"):
        report = RunReport()
        runner = trainer(tmp_path, callbacks=[report], max_steps=1, val_check_interval=1)
        loaders = DataLoader(layers(1)), DataLoader(layers(1, "validation"))
        runner.fit(Still(), *loaders, ckpt_path=path, weights_only=True)
        report.started -= 1000
        runner.save_checkpoint(tmp_path / "x.ckpt")
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["photometric"] == 0.5
    assert figures["epe"] > 0
    assert 1000 < figures["seconds"] < 2000


def test_the_seconds_of_a_validation_are_its_own(tmp_path: Path) -> None:
    report = RunReport()
    runner = trainer(tmp_path, callbacks=[report])
    runner.fit(Still(), DataLoader(layers(1)), DataLoader(layers(1, "validation")))
    report.started -= 1000
    runner.save_checkpoint(tmp_path / "x.ckpt")
    validate(tmp_path, RunReport(), path=tmp_path / "x.ckpt")
    assert json.loads((tmp_path / "metrics.json").read_text())["seconds"] < 1000


class Unlabelled(torch.utils.data.Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image1": torch.rand(3, 32, 48), "image2": torch.rand(3, 32, 48), "name": "a/b"}


def test_without_ground_truth_there_are_panels_and_a_report_but_no_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = trainer(tmp_path, callbacks=[FlowPanels(), EvaluationTable(), RunReport()])
    runner.validate(Still(), DataLoader(Unlabelled()), verbose=False)
    assert [path.name for path in (tmp_path / "panels").iterdir()] == ["step-000000_00-a-b.png"]
    assert not (tmp_path / "per_sample.csv").exists()
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert figures["epe"] is None
    assert figures["photometric"] > 0
    assert "median flow" not in capsys.readouterr().out


def test_panels_reach_weights_and_biases_offline_at_their_own_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(project="unrollflow", save_dir=str(tmp_path), offline=True)
    options = {"log_every_n_steps": 2, "max_steps": 3, "limit_val_batches": 1, "val_check_interval": 3}
    runner = trainer(tmp_path, callbacks=[FlowPanels(samples=1)], logger=logger, **options)
    runner.fit(Still(), DataLoader(layers(3)), DataLoader(layers(1, "validation")))
    logger.experiment.finish()
    wandb.teardown()  # waits for the process that writes the file, which finish() does not
    assert len(list(tmp_path.glob("wandb/offline-run-*/files/media/images/*.png"))) == 1
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    rows = [{i.key or ".".join(i.nested_key): i.value_json for i in r.history.item} for r in records(file)]
    assert [row["trainer/global_step"] for row in rows if "panels.filenames" in row] == ["3"]


def test_panels_reach_tensorboard_at_their_own_step(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install '.[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(str(tmp_path), name="flow", version=0)
    options = {"log_every_n_steps": 2, "max_steps": 3, "limit_val_batches": 1, "val_check_interval": 3}
    runner = trainer(tmp_path, callbacks=[FlowPanels(samples=1)], logger=logger, **options)
    runner.fit(Still(), DataLoader(layers(3)), DataLoader(layers(1, "validation")))
    events = EventAccumulator(logger.log_dir).Reload()
    (file,) = (tmp_path / "flow" / "version_0" / "panels").glob("*.png")
    (tag,) = events.Tags()["images"]
    assert tag == f"panels/{file.stem.partition('_')[2]}"
    (image,) = events.Images(tag)
    assert image.step == 3
    shown = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(shown.astype(int) - cv2.imread(str(file))).max() <= 1
    assert "val/photometric" in events.Tags()["scalars"]


def test_a_fit_is_reported_and_its_checkpoint_keeps_its_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = pl.callbacks.ModelCheckpoint(monitor="val/epe", save_last=True)
    logger = CSVLogger(str(tmp_path), name="flow", version=0, flush_logs_every_n_steps=1000)
    options = {"enable_checkpointing": True, "log_every_n_steps": 1, "logger": logger}
    runner = trainer(tmp_path, callbacks=[checkpoints, RunReport(), EvaluationTable()], max_steps=2, **options)
    runner.fit(Still(), DataLoader(layers(2)), DataLoader(layers(1, "validation")))
    run = tmp_path / "flow" / "version_0"
    shown = capsys.readouterr().out
    assert checkpoints.best_model_path in shown
    assert checkpoints.last_model_path in shown
    assert "mean of" not in shown
    assert (run / "report.html").read_text().count("<img") == 3  # loss, smoothness, end-point error
    figures = json.loads((run / "metrics.json").read_text())
    assert figures["steps"] == 2
    assert figures["epe"] == pytest.approx(float(runner.callback_metrics["val/epe"]))

    later = trainer(tmp_path, callbacks=[RunReport(), FlowPanels(samples=1)])
    loaded = {"ckpt_path": checkpoints.last_model_path, "weights_only": True}
    later.test(Still(), DataLoader(layers(1, "validation")), verbose=False, **loaded)
    assert json.loads((tmp_path / "metrics.json").read_text())["steps"] == 2
    later.validate(Still(), DataLoader(layers(1, "validation")), verbose=False, **loaded)
    assert [path.name for path in (tmp_path / "panels").iterdir()] == ["step-000002_00-validation-000000.png"]


def test_the_paths_of_the_files_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validate(tmp_path, RunReport())
    shown = capsys.readouterr().out
    for name in ("metrics.json", "report.html"):
        assert str(tmp_path / name) in shown
        assert (tmp_path / name).is_file()


def test_names_become_parts_of_file_names() -> None:
    assert safe_name("../a b/c") == "-a-b-c"

import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger, WandbLogger
from torch.utils.data import DataLoader

from tests.test_module import layers, parts, trainer
from unrollflow.callbacks import FlowPanels, FlowWriter, PerSampleTable, RunReport, run_directory, safe_name
from unrollflow.data import read_flo
from unrollflow.module import Prediction, UnsupervisedFlow
from unrollflow.tables import column_means, format_table


def validate(directory: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    runner = trainer(directory, callbacks=list(callbacks), **options)
    runner.validate(UnsupervisedFlow(**parts()), DataLoader(layers(3, "validation"), batch_size=2), verbose=False)
    return runner


def test_directory_of_a_run_is_that_of_its_first_logger(tmp_path: Path) -> None:
    assert run_directory(trainer(tmp_path)) == tmp_path
    csv = CSVLogger(str(tmp_path), name="flow", version=3)
    assert run_directory(trainer(tmp_path, logger=csv)) == tmp_path / "flow" / "version_3"


def test_panels_of_the_first_samples_only(tmp_path: Path) -> None:
    validate(tmp_path, FlowPanels(samples=2))
    names = [path.name for path in sorted((tmp_path / "panels").iterdir())]
    assert names == ["step-000000_00-validation-000000.png", "step-000000_01-validation-000001.png"]


def test_panels_reach_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(project="unrollflow", save_dir=str(tmp_path), offline=True)
    validate(tmp_path, FlowPanels(samples=1), logger=logger)
    logger.experiment.finish()
    assert len(list(tmp_path.glob("wandb/offline-run-*/files/media/images/*.png"))) == 1
    assert len(list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))) == 1


def test_table_has_a_row_a_sample_and_the_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validate(tmp_path, PerSampleTable(most_rows=3))
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == ["name", *(f"validation-00000{i}" for i in range(3)), "mean"]
    assert len((tmp_path / "per_sample.csv").read_text().splitlines()) == 4


def test_a_long_table_is_only_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validate(tmp_path, PerSampleTable(most_rows=2))
    shown = capsys.readouterr().out
    assert "validation-000000" not in shown
    assert "mean of 3" in shown
    assert "The 3 rows are in" in shown


def test_report_says_where_things_lie(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validate(tmp_path, RunReport())
    shown = capsys.readouterr().out
    for name in ("metrics.json", "report.html"):
        assert str(tmp_path / name) in shown
        assert (tmp_path / name).is_file()


def test_predictions_become_files_below_the_folder(tmp_path: Path) -> None:
    flow = torch.randn(1, 2, 5, 6)
    prediction = Prediction(flow, -flow, torch.ones(1, 1, 5, 6))
    writer, module = FlowWriter(tmp_path / "out"), UnsupervisedFlow(**parts())

    def write(name: str) -> None:
        batch = {"image1": torch.rand(1, 3, 5, 6), "image2": torch.rand(1, 3, 5, 6), "name": [name]}
        writer.write_on_batch_end(trainer(tmp_path), module, prediction, None, batch, 0, 0)

    write("clean/alley.v2")
    assert read_flo(tmp_path / "out" / "clean" / "alley.v2.flo").equal(flow[0])
    assert (tmp_path / "out" / "clean" / "alley.v2_visible.png").is_file()
    for outside in ("../escape", "/tmp/escape", "a/../../escape"):
        with pytest.raises(ValueError, match="outside"):
            write(outside)


def test_names_become_parts_of_file_names() -> None:
    assert safe_name("../a b/c") == "-a-b-c"


def test_means_leave_out_what_is_undefined() -> None:
    means = column_means([[1.0, math.nan], [3.0, math.nan]])
    assert means[0] == 2
    assert math.isnan(means[1])
    assert format_table(["EPE"], [("x", [math.nan])]).splitlines()[1].split() == ["x", "-"]

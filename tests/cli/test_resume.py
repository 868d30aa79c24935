import csv
import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import Namespace
from pytorch_lightning.loggers import CSVLogger

from tests.helpers.command import run_one_step
from unrollflow.cli.resume import ASIDE, continue_version, keep_configuration, keep_figures, run_that_ended_at

QUICKSTART = "configs/experiment/quickstart.yaml"


def checkpoints(run: Path, **seconds: int) -> Path:
    """Empty checkpoints of a run by their time."""
    folder = run / "checkpoints"
    folder.mkdir(parents=True)
    for name, second in seconds.items():
        (folder / f"{name}.ckpt").touch()
        os.utime(folder / f"{name}.ckpt", (second, second))
    return folder


def test_a_run_has_ended_at_the_newer_of_two_checkpoints(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "version_0", last=1, stopped=2, best=3)
    assert run_that_ended_at(folder / "stopped.ckpt") == tmp_path / "version_0"
    assert run_that_ended_at(folder / "last.ckpt") is None
    assert run_that_ended_at(folder / "best.ckpt") is None
    os.utime(folder / "last.ckpt", (4, 4))
    assert run_that_ended_at(folder / "last.ckpt") == tmp_path / "version_0"


def test_a_checkpoint_outside_a_run_is_not_the_end_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    assert run_that_ended_at(tmp_path / "last.ckpt") is None


def logger(folder: Path, name: str | None = "flow", version: str | None = None) -> Namespace:
    return Namespace(init_args=Namespace(save_dir=str(folder), name=name, version=version))


def test_only_a_logger_of_the_same_folder_continues(tmp_path: Path) -> None:
    run = tmp_path / "flow" / "version_2"
    loggers = [logger(tmp_path), logger(tmp_path / "other"), logger(tmp_path, None), logger(tmp_path, version="mine")]
    assert continue_version(loggers, run) == [0]
    assert [entry.init_args.version for entry in loggers] == ["version_2", None, None, "mine"]
    assert not continue_version([True, logger(tmp_path / "other")], run)


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["metrics.csv", ASIDE])  # the second: a start before was killed just then
def test_figures_up_to_the_checkpoint_stay_and_later_ones_are_logged_again(tmp_path: Path, name: str) -> None:
    (tmp_path / "flow" / "version_0").mkdir(parents=True)
    (tmp_path / "flow" / "version_0" / name).write_text("loss,step\r\n0.5,3\r\n0.4,4\r\n")
    csv_logger = CSVLogger(tmp_path, "flow", "version_0")
    keep_figures(csv_logger, step=4)
    csv_logger.log_metrics({"loss": 0.25}, step=4)
    csv_logger.log_metrics({"new": 1.0}, step=5)
    csv_logger.save()
    rows = table(tmp_path / "flow" / "version_0" / "metrics.csv")
    assert [(row["step"], row["loss"], row["new"]) for row in rows] == [
        ("3", "0.5", ""),
        ("4", "0.25", ""),
        ("5", "", "1.0"),
    ]
    assert [path.name for path in (tmp_path / "flow" / "version_0").iterdir()] == ["metrics.csv"]


def test_a_run_without_figures_or_configuration_begins_them(tmp_path: Path) -> None:
    csv_logger = CSVLogger(tmp_path, "flow", "version_0")
    keep_configuration(Path(csv_logger.log_dir), step=4)
    keep_figures(csv_logger, step=4)
    assert not Path(csv_logger.log_dir).exists()


def test_a_fit_continues_in_its_directory(tmp_path: Path) -> None:
    run_one_step(tmp_path, QUICKSTART)
    run = tmp_path / "flow" / "version_0"
    before = table(run / "metrics.csv")
    (run / "checkpoints" / ".last.ckpt.a1b2").touch()  # of a process that was killed as it saved
    run_one_step(tmp_path, QUICKSTART, "--ckpt_path", str(run / "checkpoints" / "last.ckpt"), epochs=2)
    assert [path.name for path in (tmp_path / "flow").iterdir()] == ["version_0"]
    after = table(run / "metrics.csv")
    assert after[: len(before)] == before
    assert {int(row["step"]) for row in after[len(before) :]} == {1}
    epochs = [
        yaml.safe_load((run / name).read_text())["trainer"]["max_epochs"]
        for name in ("config_until_step_1.yaml", "config.yaml")
    ]
    assert epochs == [1, 2]
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["logger"][0]["init_args"]["version"] is None
    assert json.loads((run / "metrics.json").read_text())["steps"] == 2
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]

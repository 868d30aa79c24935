"""The trainer's switches, with every trainer file that is shipped."""

from pathlib import Path

import pytest

from experiments.common.assembly import CONFIGS
from tests.helpers.command import BRIEF, TINY, words
from unrollflow.cli.main import main

QUICKSTART = str(CONFIGS / "experiment" / "quickstart.yaml")
SWITCHES = ("logger", "enable_checkpointing", "enable_progress_bar")
ONE_STEP = {
    "--trainer.accelerator": "cpu",
    "--trainer.devices": "1",
    "--trainer.strategy": "auto",
    "--trainer.precision": "32-true",
    "--trainer.max_steps": "1",
    "--trainer.val_check_interval": "1",
    "--trainer.accumulate_grad_batches": "1",
}


def fit(*options: str) -> None:
    main(["fit", "--config", QUICKSTART, *options, *words(BRIEF | TINY | ONE_STEP)])


@pytest.mark.parametrize("off", [(switch,) for switch in SWITCHES])
def test_each_switch_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off: tuple[str, ...]) -> None:
    monkeypatch.chdir(tmp_path)
    fit(*(word for switch in off for word in (f"--trainer.{switch}", "false")))
    assert bool(list(tmp_path.rglob("last.ckpt"))) == ("enable_checkpointing" not in off)
    assert bool(list(tmp_path.rglob("metrics.csv"))) == ("logger" not in off)
    assert len(list(tmp_path.rglob("metrics.json"))) == 1
    assert len(list(tmp_path.rglob("config.yaml"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted((CONFIGS / "trainer").glob("*.yaml")), ids=lambda file: file.stem)
def test_all_switches_with_every_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    monkeypatch.chdir(tmp_path)
    fit("--trainer", str(file), *(word for switch in SWITCHES for word in (f"--trainer.{switch}", "false")))
    assert (tmp_path / "metrics.json").is_file()
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
def test_without_a_logger_a_run_replaces_the_configuration_of_a_run_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit("--trainer.logger", "false", "--seed_everything", "1")
    fit("--trainer.logger", "false", "--seed_everything", "2")
    saved = Path("config.yaml").read_text()
    assert "seed_everything: 2" in saved
    main(["validate", "--config", "config.yaml", "--seed_everything", "3"])
    assert Path("config.yaml").read_text() == saved
    Path("config.yaml").write_text("seed_everything: 4")
    with pytest.raises(SystemExit, match=r"config\.yaml was not written by a run"):
        fit("--trainer.logger", "false")
    assert Path("config.yaml").read_text() == "seed_everything: 4"


def test_a_run_does_not_write_into_the_folder_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "runs" / "flow" / "version_0" / "config.yaml"
    other.parent.mkdir(parents=True)
    other.write_text("seed_everything: 4")  # as if the other run had started at the same time
    with pytest.raises(SystemExit, match=r"version_0/config\.yaml belongs to another run .*start this run again"):
        fit("--trainer.logger.init_args.version", "version_0")
    assert [file.name for file in other.parent.iterdir()] == ["config.yaml"]
    assert other.read_text() == "seed_everything: 4"

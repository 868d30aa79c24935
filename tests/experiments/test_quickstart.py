from pathlib import Path

import pytest

from experiments import quickstart
from experiments.common.recipe import logged_to
from experiments.quickstart import new_run
from tests.helpers.command import BRIEF, TINY, words
from unrollflow.cli.main import main

QUICKSTART = str(Path(__file__).parents[2] / "configs" / "experiment" / "quickstart.yaml")


def test_each_run_gets_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [new_run().name for _ in range(2)] == ["version_0", "version_1"]
    Path("runs/flow/version_7").mkdir()
    assert new_run().name == "version_8"


def test_a_training_writes_into_its_directory_and_its_checkpoint_can_be_compared_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run, later = new_run(), new_run()
    sizes = {"--data.train.size": "[96, 96]", "--data.validation.size": "[96, 96]"}
    step = {"--trainer.max_steps": "1", "--trainer.val_check_interval": "1"}
    main(["fit", "--config", QUICKSTART, *words(BRIEF | TINY | sizes | step), *logged_to(run)])
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert not list(later.iterdir())
    monkeypatch.delenv("UNROLLFLOW_DATA_DIR", raising=False)
    layers = quickstart.held_out()
    monkeypatch.setattr(quickstart, "held_out", lambda: [layers[0]])
    quickstart.main(["--checkpoint", str(run / "checkpoints" / "last.ckpt")])
    table = (run / "checkpoints" / "comparison" / "table.csv").read_text()
    assert "held-out moving layers,mean" in table
    assert "motorcycle" in table

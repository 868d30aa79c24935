"""What cannot be written is refused first: no image, checkpoint or data set of these commands is there to be read."""

import os
from pathlib import Path

import pytest

from tests.helpers import trees
from unrollflow.cli.main import main
from unrollflow.cli.targets import refuse_unwritable

QUICKSTART = "configs/experiment/quickstart.yaml"


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """A folder in which no file can be created, by the superuser either."""
    folder = tmp_path / "read_only"
    folder.mkdir(mode=0o555)
    if not os.access(folder, os.W_OK):
        return folder
    if not Path("/proc/self").exists():
        pytest.skip("the superuser may write everywhere here")
    return Path("/proc")


def refusal(*arguments: str) -> str:
    with pytest.raises(SystemExit) as error:
        main(arguments)
    return str(error.value.code)


def test_estimate(read_only: Path) -> None:
    message = refusal("estimate", "none.png", "none.png", "-o", f"{read_only}/f.flo", "--overwrite")
    assert f"{read_only}/f.flo cannot be written: no file can be created in {read_only} (" in message


def test_import(read_only: Path) -> None:
    backbone = ["--backbone", "configs/backbone/pwclite.yaml"]
    message = refusal("import", "none.tar", "--source", "arflow", *backbone, "--output", f"{read_only}/new/x.ckpt")
    assert f"{read_only}/new/x.ckpt cannot be written" in message


def test_predict(read_only: Path, tmp_path: Path) -> None:
    trees.frames(tmp_path / f"{name}.png" for name in "ab")
    message = refusal("predict", str(tmp_path), "--ckpt_path", "none.ckpt", "--output", str(read_only), "--overwrite")
    assert f"{read_only}/a.flo cannot be written" in message


def test_label(read_only: Path, tmp_path: Path) -> None:
    trees.frames(tmp_path / f"{name}.png" for name in "ab")
    message = refusal("label", str(tmp_path), "--ckpt_path", "none.ckpt", "--output", f"{read_only}/labels")
    assert f"{read_only}/labels/made_by.json cannot be written" in message


@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.logger.init_args.save_dir", "{}"],
        ["--trainer.logger", "false", "--trainer.default_root_dir", "{}"],
        ["--trainer.callbacks+", "ModelCheckpoint", "--trainer.callbacks.dirpath", "{}"],
    ],
)
def test_fit(read_only: Path, options: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("unrollflow.cli.fit.FlowDataModule.train_dataloader", None)  # it would be called in a training
    message = refusal("fit", "--config", QUICKSTART, *(option.format(read_only) for option in options))
    assert "config.yaml cannot be written" in message
    assert f"no file can be created in {read_only} (" in message
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_folder_or_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a.flo").mkdir()
    with pytest.raises(IsADirectoryError, match=r"a\.flo cannot be written: it is a folder"):
        refuse_unwritable([tmp_path / "b.flo", tmp_path / "a.flo"])
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"b\.flo cannot be written: .*file is a file, not a folder"):
        refuse_unwritable([tmp_path / "file" / "new" / "b.flo"])


def test_nothing_is_created(tmp_path: Path) -> None:
    refuse_unwritable([tmp_path / "new" / "a.flo", tmp_path / "b.flo"])
    assert not list(tmp_path.iterdir())

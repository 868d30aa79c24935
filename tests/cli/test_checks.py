"""Unreadable inputs and unwritable outputs are refused first: the checkpoint of these commands does not exist."""

import os
from pathlib import Path

import pytest
from PIL import Image

from experiments.replay_sweep import command_line
from tests.helpers import trees
from tests.helpers.command import refusal
from unrollflow.cli.checks import refuse_lost_options, refuse_other_sizes, refuse_unwritable

QUICKSTART = "configs/experiment/quickstart.yaml"


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """A folder in which no user, not even root, can create files."""
    folder = tmp_path / "read_only"
    folder.mkdir(mode=0o555)
    if not os.access(folder, os.W_OK):
        return folder
    if not Path("/proc/self").exists():
        pytest.skip("the superuser may write everywhere here")
    return Path("/proc")


def test_estimate(read_only: Path) -> None:
    message = refusal("estimate", "none.png", "none.png", "-o", f"{read_only}/f.flo", "--overwrite")
    assert f"{read_only}/f.flo cannot be written: no file can be created in {read_only} (" in message


def test_import(read_only: Path) -> None:
    backbone = ["--backbone", "configs/backbone/pwclite.yaml"]
    output = f"{read_only}/new/x.safetensors"
    message = refusal("import", "none.tar", "--source", "arflow", *backbone, "--output", output)
    assert f"{output} cannot be written" in message


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


@pytest.mark.parametrize("command", ["predict", "label"])
def test_a_frame_of_another_size_is_named_before_the_checkpoint_is_read(tmp_path: Path, command: str) -> None:
    trees.frames((tmp_path / "in" / f"{i}.png" for i in range(9)), (32, 40))
    trees.frames([tmp_path / "in" / "9.png"], (32, 41))
    message = refusal(command, str(tmp_path / "in"), "--ckpt_path", "none.ckpt", "--output", str(tmp_path / "out"))
    assert "8.png is 32x40, but " in message
    assert "9.png is 32x41." in message
    assert not (tmp_path / "out").exists()


def test_a_frame_before_of_another_size_is_named(tmp_path: Path) -> None:
    trees.frames((tmp_path / "in" / f"{i}.png" for i in (1, 2)), (32, 40))
    trees.frames([tmp_path / "in" / "0.png"], (32, 41))
    trees.flows([tmp_path / "out" / "0.flo"], (32, 41))  # the pair of both has its label
    message = refusal("label", str(tmp_path / "in"), "--ckpt_path", "none.ckpt", "--output", str(tmp_path / "out"))
    assert "0.png is 32x41, but " in message


def test_a_benchmarks_pair_of_two_sizes_is_named(tmp_path: Path) -> None:
    trees.kitti(tmp_path / "in", "image_2")
    (tmp_path / "in" / "testing" / "image_2" / "000000_11.png").unlink()
    trees.frames([tmp_path / "in" / "testing" / "image_2" / "000000_11.png"], (33, 40))
    message = refusal("predict", str(tmp_path / "in"), "--submission", "kitti2015", "--ckpt_path", "none.ckpt",
                      "--output", str(tmp_path / "out"))  # fmt: skip
    assert "000000_11.png is 33x40." in message


def test_sizes_are_those_that_the_reader_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upright, lying = Image.new("RGB", (20, 30)), Image.new("RGB", (30, 20))
    upright.save(tmp_path / "a.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees
    lying.save(tmp_path / "b.jpg", exif=turned)
    upright.save(tmp_path / "c.jpg", exif=turned)
    refuse_other_sizes([(tmp_path / "a.jpg", tmp_path / "b.jpg")])
    with pytest.raises(ValueError, match=r"a\.jpg is 30x20, but .*c\.jpg is 20x30"):
        refuse_other_sizes([(tmp_path / "a.jpg", tmp_path / "c.jpg")])
    (tmp_path / "broken.png").write_bytes(b"no image")
    for pair in (("a.jpg", "broken.png"), ("broken.png", "broken.png")):
        with pytest.raises(ValueError, match=r"broken\.png cannot be read as an image"):
            refuse_other_sizes([(tmp_path / pair[0], tmp_path / pair[1])])
    monkeypatch.setattr("unrollflow.cli.checks.read_pair", None)  # equal headers need no decoding
    refuse_other_sizes([(tmp_path / "a.jpg", tmp_path / "a.jpg")])


LAM, TERM = "--model.smoothness.init_args.lam=0.77", "--model.smoothness=configs/smoothness/unrolled_tv.yaml"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [LAM, TERM],
            "--model.smoothness.init_args.lam 0.77 has no effect before --model.smoothness configs/smoothness/",
        ),
        (
            ["--data.batch_size", "2", "--data", "data.yaml"],
            "--data.batch_size 2 has no effect before --data data.yaml",
        ),
        (
            [LAM, "--config", "{}/base.yaml"],
            "0.77 has no effect before --config .*base.yaml, which replaces it; move it after",
        ),
        (["--seed_everything=3", "-c={}/base.yaml"], "--seed_everything 3 has no effect before --config .*base.yaml"),
        (["--config={}/base.yaml", LAM, "-c", "{}/base.yaml"], "lam 0.77 has no effect before --config .*base.yaml"),
        (["--trainer.logger.init_args.name", "x", "--config", "{}/base.yaml"], "name x has no effect before --config"),
    ],
)
def test_an_option_that_a_later_one_replaces_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    with pytest.raises(ValueError, match=message):
        refuse_lost_options(["fit", *(argument.format(tmp_path) for argument in arguments)])


BASE = "{seed_everything: 0, trainer: {max_steps: 5, logger: null}, model: {smoothness: ../smoothness/none.yaml}}"


def test_options_that_are_not_lost_pass(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "overlay.yaml").write_text("trainer: {max_steps: 1, callbacks+: []}")
    base, overlay = (["--config", str(tmp_path / f"{name}.yaml")] for name in ("base", "overlay"))
    for arguments in (
        [*base, TERM, LAM],
        ["--data.batch_size", "2", *base],  # which does not set it
        [*base, "--trainer.max_steps", "9", *overlay],
        [*base, "--trainer.max_steps", "9", "--trainer.max_steps", "3"],
        [*base, "--trainer.callbacks.patience", "5", "--trainer.callbacks+=EarlyStopping"],
        ["--trainer.max_steps", "9", "--config", "nowhere.yaml"],
        [],
    ):
        refuse_lost_options(["fit", *arguments])


def test_a_sweep_whose_parameters_are_in_the_wrong_order_is_refused() -> None:
    parameters = {"model.smoothness.init_args.lam": 0.77, "model.smoothness": "configs/smoothness/unrolled_tv.yaml"}
    sweep = {
        "program": "unrollflow",
        "command": ["${interpreter}", "-m", "unrollflow", "fit", "--config", QUICKSTART, "${args}"],
    }
    command = command_line(sweep, parameters)
    message = refusal(*command[command.index("fit") :])
    assert message.startswith(
        "unrollflow: --model.smoothness.init_args.lam 0.77 has no effect before --model.smoothness "
    )
    assert message.endswith("unrolled_tv.yaml, which replaces it; move it after --model.smoothness.")
    assert "has no effect before" in refusal("fit", "--config", QUICKSTART, LAM, TERM, "--print_config")

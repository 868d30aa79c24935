import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml

from tests.helpers.clips import moving, write_video
from tests.helpers.command import refusal, run_one_step
from tests.helpers.pairs import error, moved
from unrollflow.checkpoints import read_checkpoint
from unrollflow.cli.fit import FlowCLI
from unrollflow.cli.main import COMMANDS, ended_by_sigterm, main, shipped_config
from unrollflow.data import read_flo, write_image
from unrollflow.metrics.names import HEADLINE, UNLABELLED
from unrollflow.models import PWCLite, PyramidMatcher
from unrollflow.models.released.layouts import LAYOUTS
from unrollflow.training.module import UnsupervisedFlow
from unrollflow.weights import read_weights, weights_file

QUICKSTART = "configs/experiment/quickstart.yaml"
STARTED = 120
"""Seconds until the command has opened its result."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of one finished fit of a step."""
    directory = tmp_path_factory.mktemp("runs")
    run_one_step(directory, QUICKSTART)
    return directory / "flow" / "version_0"


@pytest.fixture
def checkpoint(run: Path) -> str:
    return str(run / "checkpoints" / "best.ckpt")


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_a_fit_leaves_figures_report_pictures_and_checkpoints(run: Path) -> None:
    figures = json.loads((run / "metrics.json").read_text())
    assert {*HEADLINE, *UNLABELLED, "angular", "over_1px", "epe_d0_5", "seconds", "steps"} <= set(figures)
    assert figures["steps"] == 1
    assert figures["epe"] > 0
    assert len(list((run / "panels").glob("*.png"))) == 2
    assert (run / "checkpoints" / "last.ckpt").is_file()
    page = (run / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 4
    assert "http" not in page  # nothing is fetched


def test_what_is_logged(run: Path) -> None:
    with (run / "metrics.csv").open() as file:
        columns = set(next(csv.reader(file)))
    training = {"loss/total", "loss/photometric", "loss/smoothness", "visible_fraction", "grad_norm", "lr-AdamW/pg1"}
    validation = {f"val/{name}" for name in (*HEADLINE, *UNLABELLED, "epe_s0_10", "photometric", "score")}
    assert training | validation <= columns


def test_checkpoint_by_path_alone_and_primitives_only(checkpoint: str) -> None:
    contents = torch.load(checkpoint, weights_only=True)
    assert contents["hyper_parameters"]["backbone"]["class_path"] == "unrollflow.models.PyramidMatcher"
    module = UnsupervisedFlow.load_from_checkpoint(checkpoint)
    for name, value in module.state_dict().items():
        assert value.equal(contents["state_dict"][name])


def test_validate_by_checkpoint_alone(
    checkpoint: str, middlebury_tree: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    main(["validate", "--ckpt_path", checkpoint, "--data", "configs/data/middlebury.yaml",
          "--data.validation.root", str(middlebury_tree), "--trainer.default_root_dir", str(middlebury_tree),
          "--trainer.logger", "false", "--data.workers", "0", "--table.confidence", "0.9"])  # fmt: skip
    output = said(capsys)
    assert "Alpha" in output
    assert "Beta" in output
    assert output.index("EPE of zero flow") < output.index("every sample") < output.index("figures  ")
    (average,) = (line.split() for line in output.splitlines() if line.startswith("EPE of zero flow"))
    # mean of images, of all pixels, interval, images
    assert average[-5:] == ["1.000", "1.000", "1.000", "1.000", "2"]
    assert json.loads((middlebury_tree / "metrics.json").read_text())["epe_zero_flow"] == pytest.approx(1.0)
    assert (middlebury_tree / "per_sample.csv").read_text().startswith("name,epe,")
    assert not [w for w in recwarn if "WeightAveraging" in str(w.message) or "dirpath" in str(w.message)]


def test_a_run_of_version_0_1_is_validated_under_the_names_of_today(checkpoint: str, tmp_path: Path) -> None:
    run = Path(checkpoint).parent.parent
    shutil.copytree(run, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    text = config.read_text()
    assert "unrollflow.callbacks.AverageWeights" in text
    config.write_text(text.replace("unrollflow.callbacks.AverageWeights", "unrollflow.averaging.AverageWeights"))
    moved = str(tmp_path / "run" / "checkpoints" / Path(checkpoint).name)
    main(["test", "--ckpt_path", moved, "--trainer.logger", "false", "--trainer.default_root_dir", str(tmp_path),
          "--data.test.length", "2", "--data.workers", "0"])  # fmt: skip
    assert json.loads((tmp_path / "metrics.json").read_text())["epe"] > 0


def test_test_by_checkpoint_alone(checkpoint: str, tmp_path: Path) -> None:
    main(["test", "--ckpt_path", checkpoint, "--trainer.logger", "false", "--trainer.default_root_dir", str(tmp_path),
          "--data.test.length", "2", "--data.workers", "0"])  # fmt: skip
    assert json.loads((tmp_path / "metrics.json").read_text())["epe"] > 0


def test_a_fast_dev_run_of_a_validation_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = str(Path(QUICKSTART).absolute())
    monkeypatch.chdir(tmp_path)
    main(["validate", "--config", config, "--trainer.fast_dev_run", "true", "--data.validation_batch_size", "1",
          "--data.workers", "0"])  # fmt: skip
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_predict_any_size_by_checkpoint_alone(checkpoint: str, tmp_path: Path) -> None:
    for i in range(8, 11):
        write_image(tmp_path / "frames" / f"frame_{i}.png", torch.rand(3, 37, 53))
    main(["predict", str(tmp_path / "frames"), "--ckpt_path", checkpoint, "--output", str(tmp_path / "flow")])
    stems = ("frame_8", "frame_9")  # natural order: 10 comes last, and begins no pair
    expected = {f"{stem}{ending}" for stem in stems for ending in (".flo", ".png", "_visible.png")}
    assert {path.name for path in (tmp_path / "flow").iterdir()} == expected
    assert tuple(read_flo(tmp_path / "flow" / "frame_8.flo").shape) == (2, 37, 53)


def test_predict_with_shipped_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, image in zip("ab", moved(2.0, -1.0, size=(64, 80)), strict=True):
        write_image(tmp_path / f"{name}.png", image[0])
    command = ["predict", str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    errors = []
    for arguments in ([], ["--weights", "small"], ["--weights", str(weights_file("small"))], ["--refine"]):
        main([*command, "--output", str(tmp_path / "flow"), "--overwrite", *arguments])
        assert "with the weights" in capsys.readouterr().out
        errors.append(error(read_flo(tmp_path / "flow" / "a.flo").unsqueeze(0)[..., 8:-8, 8:-8], 2.0, -1.0))
    assert errors[0] == errors[1] == errors[2] < 0.2
    assert errors[3] < errors[0]
    assert "huge is neither a file nor" in refusal(*command, "--output", str(tmp_path / "new"), "--weights", "huge")


def test_fit_starts_from_shipped_weights(tmp_path: Path) -> None:
    still = ["--model.optimizer.lr", "0.0", "--model.scheduler", "null"]
    run_one_step(tmp_path, QUICKSTART, "--model.init_weights", "small", *still)
    after = read_checkpoint(tmp_path / "flow" / "version_0" / "checkpoints" / "last.ckpt")
    assert after["hyper_parameters"]["init_weights"] is None
    expected, _ = read_weights(weights_file("small"))
    assert all(tensor.equal(expected[name]) for name, tensor in after["state_dict"].items())


def test_predict_two_images(checkpoint: str, tmp_path: Path) -> None:
    for name in "ab":
        write_image(tmp_path / f"{name}.png", torch.rand(3, 32, 32))
    main(
        [
            "predict",
            str(tmp_path / "a.png"),
            str(tmp_path / "b.png"),
            "--ckpt_path",
            checkpoint,
            "--output",
            str(tmp_path / "out"),
        ]
    )
    assert (tmp_path / "out" / "a.flo").is_file()


def test_predict_leaves_its_own_frames_alone(checkpoint: str, tmp_path: Path) -> None:
    for name in "ab":
        write_image(tmp_path / f"{name}.png", torch.rand(3, 32, 32))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    message = refusal("predict", str(tmp_path), "--ckpt_path", checkpoint, "--output", str(tmp_path))
    assert "a.png; choose another --output" in message
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_existing_results_are_skipped_on_request(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(4):
        write_image(tmp_path / "in" / f"{i}.png", torch.rand(3, 32, 32))
    command = ["predict", str(tmp_path / "in"), "--ckpt_path", checkpoint, "--output", str(tmp_path / "out")]
    main(command)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "0.flo").write_bytes(b"complete, of another time")
    (tmp_path / "out" / "1.png").unlink()  # its two other files are there
    (tmp_path / "out" / "2.flo").unlink()
    assert "add --overwrite to replace them, or --skip_existing to keep them" in refusal(*command)
    capsys.readouterr()
    main([*command, "--skip_existing"])
    assert "Flow of 2 pair(s) of frames written" in (line := said(capsys))
    assert "1 result(s) existed already" in line
    kept = before | {tmp_path / "out" / "0.flo": b"complete, of another time"}
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == kept
    main([*command, "--skip_existing"])
    assert "Flow of 0 pair(s) of frames written" in said(capsys)
    with pytest.raises(SystemExit):
        main([*command, "--skip_existing", "--overwrite"])


def test_a_video_needs_one_direction_and_is_skipped_on_request(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PyramidMatcher, "bidirectional", lambda *_: pytest.fail("both directions were computed"))
    write_video(tmp_path / "clip.mp4", moving(3))
    command = ["predict", str(tmp_path / "clip.mp4"), "--ckpt_path", checkpoint, "--output", str(tmp_path / "out")]
    main([*command, "--skip_existing"])
    assert "Flow of 2 pair(s) of frames written" in said(capsys)
    main([*command, "--skip_existing"])
    assert "Flow of 0 pair(s) of frames written" in said(capsys)


def test_predict_batches_strides_and_both_directions(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "clip.mp4", moving(6))
    command = ["predict", str(tmp_path / "clip.mp4"), "--ckpt_path", checkpoint, "--output", str(tmp_path / "out")]
    main([*command, "--stride", "2", "--batch_size", "2", "--backward", "--flow", "npy"])
    assert "Flow of 2 pair(s) of frames written" in said(capsys)
    names = [f"00000{i}{ending}.npy" for i in (0, 2) for ending in ("", "_backward")]
    assert sorted(path.name for path in (tmp_path / "out" / "clip_flow").iterdir()) == names
    for option, value in (("--stride", "0"), ("--batch_size", "-1"), ("--max_flow", "0")):
        assert f"{option} is out of range: {value}" in refusal(*command, "--overwrite", option, value)


def test_a_resumed_run_continues_after_the_last_step(run: Path, tmp_path: Path) -> None:
    last = str(run / "checkpoints" / "last.ckpt")
    run_one_step(tmp_path, QUICKSTART, "--ckpt_path", last, epochs=2)
    assert json.loads((tmp_path / "flow" / "version_0" / "metrics.json").read_text())["steps"] == 2
    before, after = (
        torch.load(p, weights_only=True) for p in (last, tmp_path / "flow/version_0/checkpoints/last.ckpt")
    )
    assert (before["global_step"], after["global_step"]) == (1, 2)


@pytest.mark.slow
def test_a_file_in_the_working_directory_is_not_a_class(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file name without a folder has the form of a class name; such a run can be validated and resumed."""
    monkeypatch.chdir(tmp_path)
    Path("first.ckpt").write_bytes(Path(checkpoint).read_bytes())
    run_one_step(tmp_path, QUICKSTART, "--model.init_weights", "first.ckpt")
    last = str(tmp_path / "flow" / "version_0" / "checkpoints" / "last.ckpt")
    main(["validate", "--ckpt_path", last])
    run_one_step(tmp_path, QUICKSTART, "--model.init_weights", "first.ckpt", "--ckpt_path", last, epochs=2)


def test_next_stage_starts_from_the_weights(checkpoint: str, tmp_path: Path) -> None:
    still = ["--model.optimizer.lr", "0.0", "--model.scheduler", "null"]
    smoothness = ["--model.smoothness", "configs/smoothness/tv_l1.yaml"]
    run_one_step(tmp_path, QUICKSTART, "--model.init_weights", checkpoint, *still, *smoothness)
    before = torch.load(checkpoint, weights_only=True)
    after = torch.load(tmp_path / "flow" / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)
    assert after["hyper_parameters"]["init_weights"] is None  # the new checkpoint does not refer to the old one
    for name, value in before["state_dict"].items():
        assert value.equal(after["state_dict"][name])


@pytest.mark.slow
def test_released_weights_are_imported_and_start_a_training(tmp_path: Path) -> None:
    network = PWCLite()
    names = LAYOUTS["arflow"](network).names
    weights = {name.rpartition("."): tensor for name, tensor in network.state_dict().items()}
    theirs = {f"{names[part]}.{leaf}": tensor for (part, _, leaf), tensor in weights.items()}
    torch.save({"epoch": 1, "state_dict": theirs}, tmp_path / "pwclite_ar.tar")
    backbone = ["--backbone", "configs/backbone/pwclite.yaml"]
    ours = str(tmp_path / "new" / "folder" / "weights.safetensors")
    main(["import", str(tmp_path / "pwclite_ar.tar"), "--source", "arflow", *backbone, "--output", ours])
    run_one_step(tmp_path, QUICKSTART, "--model.backbone", "configs/backbone/pwclite.yaml", "--model.scheduler", "null",
                 "--model.init_weights", ours, "--model.optimizer.lr", "0.0")  # fmt: skip
    after = torch.load(tmp_path / "flow" / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(after["state_dict"][f"backbone.{name}"].equal(t) for name, t in network.state_dict().items())


@pytest.mark.parametrize(
    "command", [["validate"], ["validate", "--config", QUICKSTART], ["fit", "--config", QUICKSTART]]
)
def test_weights_are_not_the_state_of_a_training(command: list[str]) -> None:
    message = refusal(*command, "--ckpt_path", str(weights_file("small")))
    assert "contains only weights" in message
    assert "--model.init_weights" in message


def test_a_setting_that_differs_from_the_checkpoints_is_an_error_that_names_both(checkpoint: str) -> None:
    message = refusal("validate", "--ckpt_path", checkpoint, "--model.smoothness.init_args.lam", "5")
    assert "--model.smoothness.init_args.lam is 5.0" in message
    assert "was trained with 0.3" in message


def test_a_checkpoint_of_another_backbone_is_refused(checkpoint: str, tmp_path: Path) -> None:
    other = ["--model.backbone", "configs/backbone/pwclite.yaml"]
    with pytest.raises(SystemExit) as error:
        run_one_step(tmp_path, QUICKSTART, *other, "--model.init_weights", checkpoint)
    assert "holds another network" in str(error.value.code)


def test_a_checkpoint_without_configuration_says_so(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "lonely.ckpt")
    assert "no config.yaml at" in refusal("validate", "--ckpt_path", str(tmp_path / "lonely.ckpt"))


@pytest.mark.parametrize(
    ("flag", "value", "complaint"),
    [
        ("--model.smoothness.class_path", "unrollflow.losses.Nonsense", "Nonsense"),
        ("--model.smoothness.init_args.lambda_", "3", "lambda_"),
        ("--trainer.nonsense", "3", "nonsense"),
        ("--model.smoothness", "configs/smoothness/none_such.yaml", "none_such.yaml"),
    ],
)
def test_unknown_names_are_named(
    flag: str, value: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        run_one_step(tmp_path, QUICKSTART, flag, value)
    assert error.value.code != 0
    assert complaint in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    assert "no checkpoint at" in refusal("validate", "--ckpt_path", str(tmp_path / "none.ckpt"))


def test_a_configuration_found_beside_a_checkpoint_may_not_name_classes_from_elsewhere(
    checkpoint: str, tmp_path: Path
) -> None:
    copied = tmp_path / "copied.ckpt"
    copied.write_bytes(Path(checkpoint).read_bytes())
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "model.yaml").write_text("smoothness: smoothness.yaml")
    (tmp_path / "inner" / "smoothness.yaml").write_text("class_path: tests.helpers.outside.Mine")
    for config, name in (
        ("model: {smoothness: {class_path: tests.helpers.outside.Mine}}", "tests.helpers.outside.Mine"),
        ("model: {optimizer: os.system, init_weights: last.ckpt}", "os.system"),
        ("trainer: {callbacks: [{class_path: __main__.Mine}]}", "__main__.Mine"),
        (
            "trainer: {logger: pytorch_lightning.trainer.trainer.os.system}",
            "pytorch_lightning.trainer.trainer.os.system",
        ),
        ("data: {transform: {init_args: {parts: [{class_path: os.system}]}}}", "os.system"),
        ("model: {scheduler: os.system}", "os.system"),
        ("model: {smoothness: inner/smoothness.yaml}", "tests.helpers.outside.Mine"),
        (f"model: {tmp_path}/inner/model.yaml", "tests.helpers.outside.Mine"),
        ("model: {smoothness: '{class_path: tests.helpers.outside.Mine}'}", "tests.helpers.outside.Mine"),
    ):
        (tmp_path / "config.yaml").write_text(config)
        message = refusal("validate", "--ckpt_path", str(copied))
        assert f"refers to untrusted names: {name}; only names that begin with" in message


@pytest.mark.parametrize("scheme", ["file", "local"])  # the first is jsonargparse's own, the second fsspec's
def test_a_configuration_found_beside_a_checkpoint_may_not_fetch_another(
    scheme: str, checkpoint: str, tmp_path: Path
) -> None:
    (tmp_path / "copied.ckpt").write_bytes(Path(checkpoint).read_bytes())
    (tmp_path / "elsewhere.yaml").write_text("class_path: tests.helpers.outside.Mine")
    (tmp_path / "config.yaml").write_text(f"model: {{smoothness: '{scheme}://{tmp_path}/elsewhere.yaml'}}")
    sys.modules.pop("tests.helpers.outside", None)
    refusal("validate", "--ckpt_path", str(tmp_path / "copied.ckpt"))
    assert "tests.helpers.outside" not in sys.modules


@pytest.mark.slow
def test_an_external_smoothness_term_trains_resumes_and_predicts_if_trusted(tmp_path: Path) -> None:
    mine = ["--model.smoothness", "tests.helpers.outside.Mine"]
    run_one_step(tmp_path, QUICKSTART, *mine)
    last = str(tmp_path / "flow" / "version_0" / "checkpoints" / "last.ckpt")
    run_one_step(tmp_path, QUICKSTART, *mine, "--ckpt_path", last, epochs=2)  # the user's own arguments name the class
    write_image(tmp_path / "a.png", torch.rand(3, 32, 32))
    predict = ["predict", *[str(tmp_path / "a.png")] * 2, "--ckpt_path", last, "--output", str(tmp_path / "out")]
    assert "untrusted names: tests.helpers.outside.Mine" in refusal(*predict)
    main([*predict, "--trust", "tests."])
    assert (tmp_path / "out" / "a.flo").is_file()


def test_settings_that_lightning_refuses_end_in_one_message(checkpoint: str, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", torch.rand(3, 32, 32))
    frames = [str(tmp_path / "a.png")] * 2
    if not torch.cuda.is_available():
        assert "unrollflow:" in refusal("predict", *frames, "--ckpt_path", checkpoint, "--accelerator", "gpu")
    (tmp_path / "file").write_text("")
    blocked = str(tmp_path / "file" / "out")
    for output in (blocked, str(tmp_path / "file")):
        message = refusal("predict", *frames, "--ckpt_path", "not read yet", "--output", output)
        assert f"{tmp_path / 'file'} is a file, not a folder" in message


def test_bad_frames_are_named(checkpoint: str, tmp_path: Path) -> None:
    output = tmp_path / "out"

    def attempt(*frames: Path) -> str:
        return refusal("predict", *map(str, frames), "--ckpt_path", checkpoint, "--output", str(output))

    a, b, broken, small = (tmp_path / f"{name}.png" for name in ("a", "b", "broken", "small"))
    write_image(a, torch.rand(3, 32, 32))
    write_image(b, torch.rand(3, 32, 40))
    write_image(small, torch.rand(3, 8, 8))
    broken.write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    assert "a.png is 32x32, but" in attempt(a, b)
    assert "broken.png cannot be read as an image" in attempt(a, broken)
    assert "no file" in attempt(a, tmp_path / "missing.png")
    assert "has 0 image(s)" in attempt(tmp_path / "empty")
    assert "needs at least 32 pixels" in attempt(small, small)
    assert "exactly two images" in attempt(a, a, a)
    assert not list(output.glob("*"))


def test_shipped_files_are_found_by_name_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("experiment/quickstart.yaml", "configs/experiment/quickstart.yaml"):
        assert yaml.safe_load(Path(shipped_config(name)).read_text())["seed_everything"] == 0
    assert shipped_config(f"--config={QUICKSTART}").endswith(QUICKSTART)
    assert shipped_config("nowhere.yaml") == "nowhere.yaml"


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(flag: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "unrollflow", flag]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
    assert "unrollflow.cli.main" in imported
    assert not {"torch", "numpy", "lightning_fabric", "pytorch_lightning", "jsonargparse", "yaml", "av"} & imported
    if flag == "--version":
        assert shown.stdout == f"unrollflow {version('unrollflow')}\n"
    else:
        for command_name in ("fit", "validate", "test", "predict", "label", "estimate", "import"):
            (line,) = (line for line in shown.stdout.splitlines() if line.split()[:1] == [command_name])
            assert len(line.split()) > 2, "a purpose follows the name"


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [(["fitt", "--config", "a.yaml"], "'fitt' is not a command"), ([], "the command is missing")],
)
def test_an_unknown_command_is_named_with_those_that_there_are(
    arguments: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    commands = "fit, validate, test, predict, label, estimate, compare, export and import"
    assert capsys.readouterr().err == f"unrollflow: {wrong}; the commands are {commands}.\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_answers_for_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main([name, "--help"])
    assert error.value.code == 0
    assert re.match(rf"usage: unrollflow (\[options\] )?{name} ", capsys.readouterr().out)


def test_no_private_name_of_lightning_is_redefined() -> None:
    modules = [import_module(f"unrollflow.cli.{name}") for name in ("fit", "label", "predict")]
    classes = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    ours = [kind for kind in classes if kind.__module__.startswith("unrollflow.cli.")]
    assert FlowCLI in ours
    for kind in ours:
        bases = [base for base in kind.__mro__ if base.__module__.startswith(("pytorch_lightning", "jsonargparse"))]
        private = {name for base in bases for name in vars(base) if re.match("_[a-z]", name)}
        assert not vars(kind).keys() & private - {"_abc_impl"}, kind


@pytest.mark.parametrize(("options", "shown"), [([], False), (["--verbose", "true"], True)])
def test_lightnings_list_of_figures_is_shown_on_demand(
    checkpoint: str, tmp_path: Path, options: list[str], shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["validate", "--ckpt_path", checkpoint, "--trainer.logger", "false", "--trainer.default_root_dir",
          str(tmp_path), *options])  # fmt: skip
    assert ("val/epe" in said(capsys)) == shown


def test_lightnings_advertisement_is_not_shown(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    for name in "ab":
        write_image(tmp_path / f"{name}.png", torch.zeros(3, 32, 32))
    with caplog.at_level("INFO", logger="pytorch_lightning.utilities.rank_zero"):
        main(["predict", str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--output", str(tmp_path / "flow")])
    assert "GPU available" in caplog.text
    assert "litlogger" not in caplog.text


@pytest.fixture
def default_sigterm() -> Iterator[None]:
    """Handle SIGTERM as at the start of a process; trainers of other tests may have left a handler."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("default_sigterm")
def test_sigterm_ends_a_command_with_the_status_of_the_signal() -> None:
    with pytest.raises(SystemExit) as ended, ended_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.usefixtures("default_sigterm")
def test_a_handler_of_the_caller_is_kept() -> None:
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    with ended_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]


@pytest.mark.slow
def test_predict_ends_at_sigterm_and_leaves_no_incomplete_video(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", moving(200, size=(240, 320)))
    output = tmp_path / "flow"
    command = [sys.executable, "-m", "unrollflow", "predict", str(video), "--output", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + STARTED
    while not any(output.glob(".*.mp4.*")):
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.1)
    process.terminate()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert list(output.iterdir()) == []

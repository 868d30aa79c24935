"""Every configuration that a run saves is read back as it was."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import Namespace
from pytorch_lightning.callbacks import StochasticWeightAveraging
from pytorch_lightning.cli import LightningArgumentParser

from tests.helpers.command import run_one_step
from unrollflow.cli.main import main
from unrollflow.cli.saved_config import leave_out_objects, leaves, settle_precision
from unrollflow.training import precision

QUICKSTART = "configs/experiment/quickstart.yaml"
LIGHTNING = "pytorch_lightning"


@pytest.fixture(scope="module")
def parser() -> LightningArgumentParser:
    """Of a trainer, as a command's."""
    found = LightningArgumentParser(exit_on_error=False)
    from pytorch_lightning import Trainer

    found.add_lightning_class_args(Trainer, "trainer")
    return found


def parse(parser: LightningArgumentParser, **trainer: Any) -> Namespace:
    config: Namespace = parser.parse_object({"trainer": trainer})
    return config


def callback(name: str, **arguments: Any) -> dict[str, Any]:
    return {"callbacks": [{"class_path": f"{LIGHTNING}.callbacks.{name}", "init_args": arguments}]}


def logger(name: str, **arguments: Any) -> dict[str, Any]:
    return {"logger": [{"class_path": f"{LIGHTNING}.loggers.{name}", "init_args": arguments}]}


@pytest.mark.parametrize(
    "trainer",
    [
        callback("StochasticWeightAveraging", swa_lrs=0.001),
        callback("Timer", duration="00:01:00:00"),
        callback("ModelCheckpoint", train_time_interval="0:30:00"),
        callback("GradientAccumulationScheduler", scheduling={0: 2, 4: 1}),
        callback("EarlyStopping", monitor="val/score"),
        callback("BackboneFinetuning"),
        callback("EMAWeightAveraging"),
        callback("LambdaCallback"),
        logger("CSVLogger", save_dir="runs"),
        logger("WandbLogger"),
        logger("TensorBoardLogger", save_dir="runs"),
        {"strategy": {"class_path": f"{LIGHTNING}.strategies.DDPStrategy"}},
        {"profiler": {"class_path": f"{LIGHTNING}.profilers.PyTorchProfiler"}},
        {"logger": False, "callbacks": None, "max_time": "00:01:00:00"},
    ],
)
def test_it_is_read_back_as_it_was(parser: LightningArgumentParser, trainer: dict[str, Any]) -> None:
    before = parse(parser, **trainer)
    config = before.clone()
    leave_out_objects(parser, config)
    text = parser.dump(config, skip_none=False)
    assert "Unable to serialize" not in text
    assert parser.parse_string(text) == before


def test_values_that_yaml_cannot_store_are_omitted(parser: LightningArgumentParser) -> None:
    trainer = callback("StochasticWeightAveraging", swa_lrs=0.001)
    config = parse(parser, **trainer, max_time="00:01:00:00")
    before = {key for key, _, _ in leaves(config)}
    assert config.trainer.callbacks[0].init_args.device == torch.device("cpu")
    leave_out_objects(parser, config)
    assert before - {key for key, _, _ in leaves(config)} == {"trainer.callbacks.0.init_args.device"}
    built = parser.instantiate_classes(config).trainer.callbacks[0]
    assert isinstance(built, StochasticWeightAveraging)
    assert built._device == torch.device("cpu")


@pytest.mark.parametrize(
    ("trainer", "key"),
    [
        (callback("ModelPruning", pruning_fn="l1_unstructured"), "callbacks.0.init_args.pruning_fn"),
        (callback("StochasticWeightAveraging", swa_lrs=0.001), "callbacks.0.init_args.device"),
    ],
)
def test_a_value_that_would_be_lost_is_refused_with_its_key(
    parser: LightningArgumentParser, trainer: dict[str, Any], key: str
) -> None:
    config = parse(parser, **trainer)
    arguments = config.trainer.callbacks[0].init_args
    if "device" in arguments:
        arguments.device = torch.device("meta")  # not what the class fills in
    with pytest.raises(ValueError, match=rf"{key} has a value that config\.yaml cannot store"):
        leave_out_objects(parser, config)


def settled(asked: object, checkpoint: Path | None = None) -> object:
    trainer = Namespace(precision=asked, accelerator="cpu")
    settle_precision(trainer, str(checkpoint) if checkpoint else None)
    return trainer.precision


def test_auto_is_replaced_by_the_probes_choice_which_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for ratio, expected in ((0.5, "bf16-mixed"), (2.0, "32-true")):
        monkeypatch.setattr(precision, "bfloat16_ratio", lambda ratio=ratio: ratio)
        assert settled("auto") == expected
        assert f"precision {expected}: a bfloat16 convolution takes {ratio:.2f} of" in capsys.readouterr().out
    assert settled("64-true") == "64-true"
    assert settled(None) is None


@pytest.mark.parametrize("recorded", ["bf16-mixed", "32-true", 64])
def test_a_resumed_run_keeps_its_precision(
    recorded: str | int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "bfloat16_ratio", lambda: pytest.fail("probed"))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"trainer": {"precision": recorded}}))
    assert settled("auto", tmp_path / "checkpoints" / "last.ckpt") == recorded
    assert settled("16-mixed", tmp_path / "last.ckpt") == "16-mixed"


@pytest.mark.parametrize(
    "text", [None, "trainer: auto", "[]", "trainer: {precision: auto}", "trainer: {precision: [1]}"]
)
def test_without_a_record_the_precision_is_chosen(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "bfloat16_ratio", lambda: 0.5)
    if text:
        (tmp_path / "config.yaml").write_text(text)
    assert settled("auto", tmp_path / "last.ckpt") == "bf16-mixed"


def test_an_unknown_precision_is_refused_in_one_sentence() -> None:
    with pytest.raises(
        ValueError, match=r"--trainer\.precision is 'bf61'; expected auto \(for CPUs\) or one of 64-true"
    ):
        settled("bf61")


@pytest.mark.slow
def test_a_run_records_its_choice_and_resumes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    auto = ["--trainer.precision", "auto"]
    monkeypatch.setattr(precision, "bfloat16_ratio", lambda: 0.5)
    run_one_step(tmp_path, QUICKSTART, *auto)
    run = tmp_path / "flow" / "version_0"
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["precision"] == "bf16-mixed"
    monkeypatch.setattr(precision, "bfloat16_ratio", lambda: 2.0)
    run_one_step(tmp_path, QUICKSTART, *auto, "--ckpt_path", str(run / "checkpoints" / "last.ckpt"), epochs=2)
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["precision"] == "bf16-mixed"


@pytest.mark.slow
def test_a_run_with_averaged_weights_resumes_from_its_checkpoint_alone(tmp_path: Path) -> None:
    averaging = ["--trainer.callbacks+", "StochasticWeightAveraging", "--trainer.callbacks.swa_lrs", "0.001"]
    run_one_step(tmp_path, QUICKSTART, *averaging)
    run = tmp_path / "flow" / "version_0"
    saved = yaml.safe_load((run / "config.yaml").read_text())
    (arguments,) = (c["init_args"] for c in saved["trainer"]["callbacks"] if "Stochastic" in c["class_path"])
    assert arguments["swa_lrs"] == 0.001
    assert "device" not in arguments
    last = str(run / "checkpoints" / "last.ckpt")
    main(["fit", "--ckpt_path", last, "--trainer.max_epochs", "2"])
    assert json.loads((run / "metrics.json").read_text())["steps"] == 2

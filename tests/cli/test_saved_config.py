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
from unrollflow.cli.saved_config import leave_out_objects, leaves

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


def test_what_no_file_can_hold_is_left_out_and_all_else_stays(parser: LightningArgumentParser) -> None:
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
def test_what_would_be_lost_is_refused_by_its_key(
    parser: LightningArgumentParser, trainer: dict[str, Any], key: str
) -> None:
    config = parse(parser, **trainer)
    arguments = config.trainer.callbacks[0].init_args
    if "device" in arguments:
        arguments.device = torch.device("meta")  # not what the class fills in
    with pytest.raises(ValueError, match=rf"{key} has a value that a run's config\.yaml cannot hold"):
        leave_out_objects(parser, config)


@pytest.mark.slow
def test_a_run_with_averaged_weights_goes_on_by_its_checkpoint_alone(tmp_path: Path) -> None:
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

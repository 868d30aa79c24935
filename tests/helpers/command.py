"""The command line, run in this process on tiny data."""

import json
from pathlib import Path

import pytest

from unrollflow.cli.main import main

TINY = {
    "--data.workers": "0",
    "--data.train.length": "2",
    "--data.validation.length": "2",
    "--data.batch_size": "2",
}
BRIEF = {
    "--trainer.log_every_n_steps": "1",
    "--trainer.enable_model_summary": "false",
}


def run_one_step(
    directory: Path, config: Path | str, *arguments: str, subcommand: str = "fit", epochs: int = 1, side: int = 96
) -> None:
    """Epochs of one step of training and one of validation, or a validation of all, files below `directory`.

    Frames of the training are moving layers, `side` pixels high and wide.
    """
    # what refines a file stands after it: arguments may name a --data or --trainer file
    brief = words({name: value for name, value in BRIEF.items() if name not in arguments})
    sizes = {"--data.train.size": f"[{side}, {side}]", "--data.validation.size": f"[{side}, {side}]"}
    often = {"--trainer.val_check_interval": "1"}
    last = (
        {"--trainer.logger": csv_logger(directory), "--trainer.max_epochs": str(epochs)}
        | often
        | (TINY | sizes if subcommand == "fit" else {})
    )
    main([subcommand, "--config", str(config), *arguments, *brief, *words(last)])


def csv_logger(directory: Path) -> str:
    """A logger that writes below `directory`, as the command line takes it."""
    logger = {"class_path": "pytorch_lightning.loggers.CSVLogger"}
    return json.dumps([logger | {"init_args": {"save_dir": str(directory), "name": "flow"}}])


def words(options: dict[str, str]) -> list[str]:
    return [word for pair in options.items() for word in pair]


def refusal(*arguments: str) -> str:
    """The message with which a command ends, its exit status not 0."""
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code != 0
    return str(error.value.code)

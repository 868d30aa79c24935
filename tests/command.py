"""The command line, run in this process on tiny data."""

from pathlib import Path

from unrollflow.cli import main

TINY = {
    "--data.workers": "0",
    "--data.train.length": "2",
    "--data.validation.length": "2",
    "--data.train.size": "[64, 64]",
    "--data.validation.size": "[64, 64]",
    "--data.batch_size": "2",
}
BRIEF = {
    "--trainer.log_every_n_steps": "1",
    "--trainer.enable_model_summary": "false",
}


def run_one_step(
    directory: Path, config: Path | str, *arguments: str, subcommand: str = "fit", epochs: int = 1
) -> None:
    """Epochs of one step of training and one of validation, or a validation of all, files below `directory`."""
    csv = (
        '[{"class_path": "pytorch_lightning.loggers.CSVLogger", "init_args": '
        f'{{"save_dir": "{directory}", "name": "flow"}}}}]'
    )
    brief = ["--trainer.logger", csv, *words(BRIEF)]
    # what refines a file stands after it: arguments may name a --data file
    last = {"--trainer.max_epochs": str(epochs)} | (TINY if subcommand == "fit" else {})
    main([subcommand, "--config", str(config), *brief, *arguments, *words(last)])


def words(options: dict[str, str]) -> list[str]:
    return [word for pair in options.items() for word in pair]

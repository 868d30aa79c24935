"""A training that goes on where a run ended writes into that run's directory."""

import csv
import io
import warnings
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only

from unrollflow.callbacks.checkpoint_on_signal import STOPPED
from unrollflow.data.io.flow import write_atomic

ENDS = ("last.ckpt", STOPPED)
"""Checkpoints at which a run may have ended."""

ASIDE = "metrics.before.csv"
"""The figures while the logger is made, which would delete them."""


def run_that_ended_at(checkpoint: Path) -> Path | None:
    """Directory of the run whose end a checkpoint is.

    None where the run has gone further (its later work would be overwritten), and for any other checkpoint.
    """
    folder = checkpoint.parent
    ends = [folder / name for name in ENDS if (folder / name).is_file()]
    if checkpoint.name not in ENDS or folder.name != "checkpoints" or not ends:
        return None
    newest = max(ends, key=lambda path: path.stat().st_mtime_ns)
    return folder.parent if newest.name == checkpoint.name else None


def continue_version(loggers: list[Any], run: Path) -> list[int]:
    """Give loggers that would begin a version beside a run's directory that run's own.

    Args:
        loggers: of the configuration, each with `init_args`.
        run: directory such as runs/flow/version_3.

    Returns:
        places of those loggers in the list.
    """
    found = []
    for place, logger in enumerate(loggers):
        arguments = getattr(logger, "init_args", {})
        if arguments.get("version", "") is None and isinstance(arguments.get("name"), str):
            beside = Path(arguments.get("save_dir") or "") / arguments["name"]
            if beside.resolve() == run.resolve().parent:
                arguments["version"] = run.name
                found.append(place)
    return found


@rank_zero_only
def keep_configuration(run: Path, step: int) -> None:
    """Copy the run's configuration, which the continued one's replaces, to config_until_step_N.yaml."""
    config = run / "config.yaml"
    if config.is_file():
        write_atomic(run / f"config_until_step_{step}.yaml", config.read_bytes())


@rank_zero_only
def remove_unfinished(run: Path) -> None:
    """Delete what a process that was killed as it wrote a checkpoint has left of it."""
    for name in ENDS:
        for path in (run / "checkpoints").glob(f".{name}.*"):
            path.unlink()


@rank_zero_only
def keep_figures(logger: CSVLogger, step: int) -> None:
    """Let a logger append to its metrics.csv; what is of a later step than the checkpoint's will be logged again."""
    figures, aside = (Path(logger.log_dir) / name for name in ("metrics.csv", ASIDE))
    if figures.is_file() and not aside.is_file():
        figures.replace(aside)
    if not aside.is_file():
        return
    reader = csv.DictReader(io.StringIO(aside.read_text()))
    names = list(reader.fieldnames or [])
    rows = [row for row in reader if row["step"] and int(row["step"]) < step]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Previous log files in this directory will be deleted")
        logger.experiment.metrics_keys = names
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(figures, text.getvalue().encode())
    aside.unlink()

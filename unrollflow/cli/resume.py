"""Resume a run in its own directory."""

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
"""Checkpoints that a run may have written at its end."""

ASIDE = "metrics.before.csv"
"""Temporary name of the figures while the logger, which would delete them, is created."""


def run_that_ended_at(checkpoint: Path) -> Path | None:
    """Directory of the run that ended at a checkpoint.

    None if the run continued after it (its later files would be overwritten), and for any other checkpoint.
    """
    folder = checkpoint.parent
    ends = [folder / name for name in ENDS if (folder / name).is_file()]
    if checkpoint.name not in ENDS or folder.name != "checkpoints" or not ends:
        return None
    newest = max(ends, key=lambda path: path.stat().st_mtime_ns)
    return folder.parent if newest.name == checkpoint.name else None


def continue_version(loggers: list[Any], run: Path) -> list[int]:
    """Set the version of a run in the loggers that would otherwise start a new version beside its directory.

    Args:
        loggers: loggers of the configuration, each with `init_args`.
        run: directory such as runs/flow/version_3.

    Returns:
        places of the changed loggers in the list.
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
    """Copy the run's configuration to config_until_step_N.yaml, before the resumed run replaces it."""
    config = run / "config.yaml"
    if config.is_file():
        write_atomic(run / f"config_until_step_{step}.yaml", config.read_bytes())


@rank_zero_only
def remove_unfinished(run: Path) -> None:
    """Delete incomplete checkpoints of killed processes."""
    for name in ENDS:
        for path in (run / "checkpoints").glob(f".{name}.*"):
            path.unlink()


@rank_zero_only
def keep_figures(logger: CSVLogger, step: int) -> None:
    """Make a logger append to its metrics.csv; rows after the checkpoint's step are removed and logged again."""
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

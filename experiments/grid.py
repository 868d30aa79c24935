"""A grid of runs that can be finished in several goes: every finished run is one line on disk, with its settings."""

import json
import multiprocessing
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

Value = str | int | float | bool | None
Settings = Mapping[str, Value]
Results = Mapping[str, Any]
"""Of a run: figures, or lists of figures (curves), by name."""

Row = dict[str, Any]
"""`settings`, `results`, `seconds`, `torch` (its version), `machine` and `commit` of a finished run."""


def run_grid(
    cells: Sequence[Settings], run: Callable[..., Results], store: Path, *, processes: int = 1, about: str = "runs"
) -> list[Row]:
    """Rows of all cells, in their order: those that the store holds are not run again.

    Args:
        cells: the arguments of each run, all different; a run depends on nothing else.
        run: a function of a module, called with one cell's settings as keyword arguments. Several processes run it on
            one thread each, which on few cores is faster than one process on all of them.
        store: file of the finished runs, one JSON object a line; the folder is made.
        processes: at work at the same time; 1: this one, on all its threads.
        about: what the progress bar counts.

    Raises:
        ValueError: if two cells are alike, or a line of the store (but the last: a killed process leaves half a one)
            is no row.
    """
    keys = [identity(cell) for cell in cells]
    if len(set(keys)) < len(keys):
        raise ValueError(f"two of {len(keys)} cells have the same settings: each run needs its own.")
    rows = {identity(row["settings"]): row for row in read_rows(store)}
    missing = [cell for cell, key in zip(cells, keys, strict=True) if key not in rows]
    with tqdm(total=len(cells), initial=len(cells) - len(missing), desc=about, disable=not missing) as bar:
        for row in finished(missing, run, processes):
            append_row(store, row)
            rows[identity(row["settings"])] = row
            bar.update()
    return [rows[key] for key in keys]


def identity(settings: Settings) -> str:
    """The same text for the same settings, whatever their order."""
    return json.dumps(settings, sort_keys=True)


def significant(value: float) -> float:
    """A setting of three significant digits: what a person can repeat, and what is read back as it was written.

    >>> significant(0.0123456)
    0.0123
    """
    return float(f"{value:.3g}")


def read_rows(store: Path) -> list[Row]:
    """What has been finished; a last line without its end is of a run that was killed as it was noted."""
    if not store.is_file():
        return []
    text = store.read_text()
    rows = []
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), start=1):
        try:
            row = json.loads(line)
            row["settings"], row["results"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{store}, line {number}: {line[:60]!r} is no finished run ({error}); remove that line, and its run "
                "is repeated."
            ) from None
        rows.append(row)
    return rows


def append_row(store: Path, row: Row) -> None:
    """Add a finished run, after taking away what a killed process left of a line."""
    store.parent.mkdir(parents=True, exist_ok=True)
    with store.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(row).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def finished(cells: Sequence[Settings], run: Callable[..., Results], processes: int) -> Any:
    """Each row as soon as its run has ended."""
    if processes == 1 or len(cells) < 2:
        for cell in cells:
            yield timed(run, cell)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process whose threads have started may hang
    with ProcessPoolExecutor(min(processes, len(cells)), context, torch.set_num_threads, (1,)) as pool:
        futures = [pool.submit(timed, run, cell) for cell in cells]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # the first error ends the grid, not the last run
            raise


def timed(run: Callable[..., Results], cell: Settings) -> Row:
    """One run's row."""
    start = time.perf_counter()
    results = run(**cell)
    return {
        "settings": dict(cell),
        "results": dict(results),
        "seconds": round(time.perf_counter() - start, 2),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "commit": commit(),
    }


@lru_cache
def commit() -> str:
    """The checkout's commit, with "-dirty" after it where files differ from it; "unknown" outside of one."""
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

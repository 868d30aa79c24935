"""A grid of runs that can be stopped and continued: each finished run is one line of a file, with its settings."""

import importlib
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import threading
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
"""Results of a run: figures, or lists of figures (curves), by name."""

AGREEMENT = 0.05
"""Tolerated relative difference of a figure between machines: thousands of steps amplify rounding errors."""

Row = dict[str, Any]
"""`settings`, `results`, `seconds`, `torch` (its version), `machine` and `commit` of a finished run."""


def run_grid(
    cells: Sequence[Settings], run: Callable[..., Results], store: Path, *, processes: int = 1, about: str = "runs"
) -> list[Row]:
    """Run the cells that are not in the store, and return the rows of all cells in their order.

    Args:
        cells: the arguments of each run; all cells differ, and a run depends on nothing else.
        run: a function at the top level of a module. It is called with the settings of a cell as keyword arguments.
            Several processes run it on one thread each, which is faster on few cores than one process on all of them.
        store: file of the finished runs, one JSON object per line; its folder is created.
        processes: number of processes; 1: this process, on all its threads.
        about: description of the progress bar.

    Raises:
        ValueError: if two cells are equal, or if a line of the store is not a row. The last line is excepted, because
            a killed process can leave it incomplete.
    """
    keys = [identity(cell) for cell in cells]
    if len(set(keys)) < len(keys):
        raise ValueError(f"two of {len(keys)} cells have the same settings; each cell must be different.")
    rows = {identity(row["settings"]): row for row in read_rows(store)}
    missing = [cell for cell, key in zip(cells, keys, strict=True) if key not in rows]
    with tqdm(total=len(cells), initial=len(cells) - len(missing), desc=about, disable=not missing) as bar:
        for row in finished(missing, run, processes):
            append_row(store, row)
            rows[identity(row["settings"])] = row
            bar.update()
    return [rows[key] for key in keys]


def check_again(rows: Sequence[Row], run: Callable[..., Results], figure: Callable[[Results], float]) -> None:
    """Repeat the fastest of the finished runs, and compare one of its figures with the stored one.

    Args:
        rows: finished runs.
        run: function of the runs.
        figure: name of a figure in the results.

    Raises:
        SystemExit: if there is no finished run, or the figure differs by more than :data:`AGREEMENT`.
    """
    if not rows:
        raise SystemExit("there is no finished run to repeat; run the experiment first.")
    row = min(rows, key=lambda row: row["seconds"])
    before, now = figure(row["results"]), figure(run(**row["settings"]))
    print(f"run again: {before:.5g} stored, {now:.5g} now, of {row['settings']}")
    if not abs(now - before) <= AGREEMENT * abs(before):
        raise SystemExit(
            f"they differ by more than {AGREEMENT:.0%}: another machine, torch or code made the stored one."
        )


def identity(settings: Settings) -> str:
    """Return a text that identifies settings and does not depend on their order."""
    return json.dumps(settings, sort_keys=True)


def significant(value: float) -> float:
    """Round a setting to three significant digits, so that reading it back gives the same number.

    >>> significant(0.0123456)
    0.0123
    """
    return float(f"{value:.3g}")


def read_rows(store: Path) -> list[Row]:
    """Return the finished runs. An incomplete last line is skipped: the run was killed while it was written."""
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
                f"{store}, line {number}: {line[:60]!r} is not a finished run ({error}); remove that line to repeat "
                "its run."
            ) from None
        rows.append(row)
    return rows


def append_row(store: Path, row: Row) -> None:
    """Append a finished run, after removing an incomplete last line of a killed process."""
    store.parent.mkdir(parents=True, exist_ok=True)
    with store.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(json.dumps(row).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def finished(cells: Sequence[Settings], run: Callable[..., Results], processes: int) -> Any:
    """Yield each row when its run ends."""
    if processes == 1 or len(cells) < 2:
        for cell in cells:
            yield timed(run, cell)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process whose threads have started may hang
    run = importable(run)
    with ProcessPoolExecutor(min(processes, len(cells)), context, begin) as pool:
        futures = [pool.submit(timed, run, cell) for cell in cells]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # the first error ends the grid, not the last run
            raise


def importable(run: Callable[..., Results]) -> Callable[..., Results]:
    """Return the function under a name that other processes can import: they do not import `__main__` of a package."""
    spec = sys.modules["__main__"].__spec__
    if run.__module__ != "__main__" or spec is None:
        return run
    found: Callable[..., Results] = getattr(importlib.import_module(spec.name), run.__name__)
    return found


def begin() -> None:
    """Set up a worker process: one compute thread, and a thread that ends the process if its parent is killed."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def timed(run: Callable[..., Results], cell: Settings) -> Row:
    """Return the row of one run."""
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
    """Return the commit of the checkout, with "-dirty" if the code differs from it; "unknown" without a checkout."""
    code = ("*.py", "*.yaml")
    try:
        name, changes = (
            subprocess.run(
                ["git", *words], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--", *code))
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}-dirty" if changes else name

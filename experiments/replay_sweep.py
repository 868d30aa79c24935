"""Run a sweep on this machine without an account: run the commands that W&B's agents would run, and write a table.

Command: python -m experiments.replay_sweep configs/sweep/ablation.yaml. Minutes on two CPU cores: a run of the shipped
files is a quickstart (6 minutes) with four times as many validations. All runs of a grid are trained; for other sweeps,
`--runs` sets the number of random runs (Bayesian search and early termination need W&B's server). Finished runs are
skipped. Arguments after `--` are added to every command, such as `-- --config configs/debug/brief.yaml`. At the end,
`unrollflow compare` writes compare.html of the settings with the smallest errors.
"""

import argparse
import hashlib
import itertools
import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from experiments.common.grid import Results, Row, Value, run_grid
from experiments.common.results import write_table
from unrollflow.cli.compare import compare
from unrollflow.cli.runs import grouped, has_checkpoint, read_run

FOLDER = Path("runs/sweep")
MOST_SETTINGS = 8
"""Number of settings on the page that compares the runs; the table contains all settings."""

EPILOG = "Arguments after -- are added to every command."


def choices(sweep: Mapping[str, Any], *, runs: int, seed: int) -> list[dict[str, Value]]:
    """Return the parameters of the runs of a sweep: all of a grid, otherwise `runs` random ones.

    Args:
        sweep: content of the file of the sweep.
        runs: number of random runs.
        seed: seed of the random runs; with a larger number of runs, the first ones are the same.

    Raises:
        ValueError: if a parameter has a kind that cannot be drawn or listed.

    >>> choices({"method": "grid", "parameters": {"a": {"values": [1, 2]}, "b": {"value": 0}}}, runs=1, seed=0)
    [{'a': 1, 'b': 0}, {'a': 2, 'b': 0}]
    """
    parameters = sweep["parameters"]
    if sweep["method"] == "grid":
        options = [options_of(name, parameter) for name, parameter in parameters.items()]
        return [dict(zip(parameters, cell, strict=True)) for cell in itertools.product(*options)]
    random = np.random.default_rng(seed)
    return [{name: draw(name, parameter, random) for name, parameter in parameters.items()} for _ in range(runs)]


def options_of(name: str, parameter: Mapping[str, Any]) -> list[Value]:
    """Return all values of a parameter."""
    if "values" not in parameter and "value" not in parameter:
        raise ValueError(f"{name} is {dict(parameter)}; a parameter of a grid needs `values` or `value`.")
    return list(parameter["values"]) if "values" in parameter else [parameter["value"]]


def draw(name: str, parameter: Mapping[str, Any], random: np.random.Generator) -> Value:
    """Return a random value of a parameter."""
    kind = parameter.get("distribution", "uniform" if "min" in parameter else "categorical")
    if kind in ("categorical", "constant"):
        options = options_of(name, parameter)
        return options[int(random.integers(len(options)))]
    if kind == "log_uniform_values":
        return short(math.exp(random.uniform(math.log(parameter["min"]), math.log(parameter["max"]))))
    if kind == "uniform":
        return short(random.uniform(parameter["min"], parameter["max"]))
    raise ValueError(f"{name} has the distribution {kind!r}; expected uniform, log_uniform_values or values.")


def short(number: float) -> float:
    """Round a number to four significant digits.

    >>> short(0.18789852661499487)
    0.1879
    """
    return float(f"{number:.4g}")


def command_line(sweep: Mapping[str, Any], parameters: Mapping[str, Value]) -> list[str]:
    """Return the command that an agent runs for parameters, by the rules of W&B; `${interpreter}` is this Python."""
    filled = create_sweep_command_args({"args": {name: {"value": value} for name, value in parameters.items()}})
    known = filled | {"env": ["/usr/bin/env"], "interpreter": [sys.executable], "program": [sweep["program"]]}
    words = [str(word) for word in create_sweep_command(list(sweep["command"]))]
    # as wandb's agent does it, in a method that needs its server
    macros = [known.get(word[2:-1], []) if word.startswith("${") else [word] for word in words]
    return [word for words in macros for word in words]


def run_command(*, command: str, folder: Path, threads: int | None) -> Results:
    """Start a run in its own folder with W&B disabled, and return its figures (metrics.json).

    Raises:
        ValueError: if the run fails; its output is in log.txt.
    """
    place = place_of(command, folder)
    place.mkdir(parents=True, exist_ok=True)
    limits = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    root = str(Path(__file__).parents[1])  # for a checkout that is not installed
    found = {
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        "WANDB_MODE": "disabled",
    }
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    with (place / "log.txt").open("w") as log:
        ended = subprocess.run(
            words, cwd=place, env=os.environ | found | limits, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    report = last_report(place)
    if ended.returncode or report is None:
        raise ValueError(f"a run failed (see {place.resolve() / 'log.txt'}): {command}")
    figures: dict[str, Any] = json.loads(report.read_text())
    return figures


def place_of(command: str, folder: Path) -> Path:
    """Return the folder in which a command runs."""
    return folder / hashlib.sha256(command.encode()).hexdigest()[:12]


def last_report(place: Path) -> Path | None:
    """Return the newest metrics.json of the runs that were started in a folder."""
    reports = place.glob("runs/flow/version_*/metrics.json")
    return max(reports, key=lambda path: path.stat().st_mtime, default=None)


def replay(
    sweep: Mapping[str, Any], folder: Path, *, runs: int, seed: int, processes: int, extra: Sequence[str] = ()
) -> list[Row]:
    """Run a sweep, write its table into the folder in rising order of the error, and return the rows of all runs.

    Args:
        sweep: content of the file of the sweep.
        folder: folder of the finished runs (rows.jsonl), the table, and the files of each run.
        runs, seed: see :func:`choices`.
        processes: number of simultaneous runs of one thread each; 1: one run on all cores.
        extra: arguments that are added to every command.
    """
    cells = choices(sweep, runs=runs, seed=seed)
    lines = [[*command_line(sweep, cell), *extra] for cell in cells]
    # the path of the interpreter is not a setting: another checkout finds the finished runs
    texts = [shlex.join("python" if word == sys.executable else word for word in line) for line in lines]
    run = partial(run_command, folder=folder, threads=1 if processes > 1 else None)
    rows = run_grid([{"command": text} for text in texts], run, folder / "rows.jsonl", processes=processes)
    name = sweep["metric"]["name"].partition("/")[2]
    figures = [row["results"].get(name) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: math.inf if figures[i] is None else figures[i])
    table = [[*map(str, cells[i].values()), cell(figures[i]), rows[i]["seconds"]] for i in order]
    write_table(folder, [*sweep["parameters"], sweep["metric"]["name"], "seconds"], table)
    return rows


def cell(figure: float | None) -> str | float:
    """Return a figure as text for a table."""
    return "-" if figure is None else figure


def compared_runs(rows: Sequence[Row], folder: Path, *, name: str) -> list[Path]:
    """Return the folders of the runs of the settings with the smallest mean errors, the best setting first.

    Args:
        rows: rows of :func:`replay`.
        folder: folder of :func:`replay`.
        name: name of the error in the results; runs without it are omitted.
    """
    reports = [last_report(place_of(row["settings"]["command"], folder)) for row in rows]
    found = [
        (read_run(report.parent), row["results"][name])
        for row, report in zip(rows, reports, strict=True)
        if report is not None and row["results"].get(name) is not None and has_checkpoint(report.parent)
    ]
    errors = {run.folder: error for run, error in found}
    groups = grouped([run for run, _ in found])
    order = sorted(groups, key=lambda group: mean(errors[run.folder] for run in group))
    return [run.folder for group in order[:MOST_SETTINGS] for run in group]


def write_page(rows: Sequence[Row], folder: Path, *, name: str) -> None:
    """Compare the best settings in compare.html of the folder, or print why there is no such page."""
    runs = compared_runs(rows, folder, name=name)
    if len(runs) < 2:
        print(f"no compare.html: {len(runs)} of {len(rows)} runs have an error {name} and a checkpoint")
    else:
        compare(runs, output=folder / "compare.html", overwrite=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay a file, and print the table and its path."""
    parser = argparse.ArgumentParser(prog="python -m experiments.replay_sweep", description=__doc__, epilog=EPILOG)
    parser.add_argument("sweep", type=Path, help="a file of configs/sweep")
    parser.add_argument("--runs", type=int, default=20, help="number of random runs, unless it is a grid")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random runs")
    parser.add_argument("--processes", type=int, default=1, help="number of simultaneous runs, of one thread each")
    parser.add_argument("--folder", type=Path, help=f"folder of the results (default: {FOLDER}/NAME)")
    words = [*(sys.argv[1:] if arguments is None else arguments), "--"]
    own, extra = words[: words.index("--")], words[words.index("--") + 1 : -1]
    given = parser.parse_args(own)
    folder = given.folder or FOLDER / given.sweep.stem
    sweep = yaml.safe_load(given.sweep.read_text())
    rows = replay(
        sweep,
        folder,
        runs=given.runs,
        seed=given.seed,
        processes=given.processes,
        extra=extra,
    )
    print(f"\n{(folder / 'table.md').read_text()}\n{folder / 'table.md'}")
    write_page(rows, folder, name=sweep["metric"]["name"].partition("/")[2])


if __name__ == "__main__":
    main()

"""Run folders for a comparison: their settings, and groups of runs that differ only in their seeds."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from unrollflow.checkpoints import with_current_names

CHECKPOINTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")
"""Checkpoints of a run; the first existing one is compared."""

SEEDS = ("seed_everything", "seed")
"""Last parts of the dotted names of seeds."""

NO_SETTINGS = (
    "ckpt_path", "weights_only", "trainer.logger", "trainer.default_root_dir", "trainer.enable_progress_bar",
    "data.workers", "model.compile",
)  # fmt: skip
"""Settings that do not affect what a run learns: output paths and use of the machine."""

MOST_DIFFERENCES = 3


class Run(NamedTuple):
    """A finished run.

    Attributes:
        folder: its directory.
        checkpoint: the file to compare.
        config: its configuration, nested.
        settings: dotted names and values, without seeds.
        seeds: dotted names and values of the seeds.
    """

    folder: Path
    checkpoint: Path
    config: dict[str, Any]
    settings: dict[str, object]
    seeds: dict[str, object]


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read the runs in some folders, the reference first.

    Raises:
        FileNotFoundError: if a folder is not a run, or has no checkpoint.
        ValueError: if there are fewer than two runs, one is given twice, or their validation data differ.
    """
    if len(folders) < 2:
        raise ValueError(f"{len(folders)} run given; a comparison needs at least two, the reference first.")
    places = [folder.resolve() for folder in folders]
    twice = [folder for folder, place in zip(folders, places, strict=True) if places.count(place) > 1]
    if twice:
        raise ValueError(f"the same run is given twice: {twice[0]} and {twice[1]}; give each run once.")
    runs = [read_run(folder) for folder in folders]
    for run in runs[1:]:
        refuse_other_data(run, runs[0])
    return runs


def read_run(folder: Path) -> Run:
    """Read the run in a folder; raise FileNotFoundError or ValueError, naming what is missing."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; give the folder of a run, such as runs/flow/version_0.")
    file = folder / "config.yaml"
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder} is not a run: config.yaml is missing; give the folder of a run, such as runs/flow/version_0."
        )
    try:
        config = with_current_names(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{folder} is not a run: its config.yaml cannot be read ({' '.join(str(error).split())})."
        ) from error
    missing = [key for key in ("model", "data", "trainer") if not isinstance(config, dict) or not config.get(key)]
    if missing:
        raise ValueError(f"{folder} is not a run: its config.yaml has no {' and no '.join(missing)}.")
    if not has_checkpoint(folder):
        raise FileNotFoundError(f"{folder} has no checkpoint: neither {' nor '.join(CHECKPOINTS)} exists.")
    checkpoint = next(folder / name for name in CHECKPOINTS if (folder / name).is_file())
    values = {name: value for name, value in leaves(config).items() if not is_below(name, NO_SETTINGS)}
    seeds = {name: value for name, value in values.items() if name.rpartition(".")[2] in SEEDS}
    return Run(folder, checkpoint, config, {k: v for k, v in values.items() if k not in seeds}, seeds)


def has_checkpoint(folder: Path) -> bool:
    """Whether a run's folder has a checkpoint to compare."""
    return any((folder / name).is_file() for name in CHECKPOINTS)


def leaves(config: object, name: str = "", *, whole_lists: bool = False) -> dict[str, object]:
    """Dotted names and values of a nested configuration; lists of plain values, or all lists, are not split.

    >>> leaves({"a": {"b": 1, "c": [2, 3]}, "d": [{"e": None}]})
    {'a.b': 1, 'a.c': [2, 3], 'd.0.e': None}
    """
    if not whole_lists and isinstance(config, list) and any(isinstance(item, dict | list) for item in config):
        config = dict(enumerate(config))
    if not isinstance(config, dict) or not config:
        return {name: config}
    return {
        place: leaf
        for key, value in config.items()
        for place, leaf in leaves(value, f"{name}.{key}" if name else str(key), whole_lists=whole_lists).items()
    }


def first_few(differences: Sequence[str]) -> str:
    """Text of the first few differences, and the number of the others.

    >>> first_few(["a", "b"]), first_few(["a", "b", "c", "d"])
    ('a; b', 'a; b; c (and 1 more)')
    """
    others = len(differences) - MOST_DIFFERENCES
    return "; ".join(differences[:MOST_DIFFERENCES]) + (f" (and {others} more)" if others > 0 else "")


def is_below(name: str, places: Sequence[str]) -> bool:
    """Whether a dotted name is one of some places, or below one.

    >>> is_below("trainer.logger.0.class_path", ["trainer.logger"]), is_below("trainer.loggers", ["trainer.logger"])
    (True, False)
    """
    return any(f"{name}.".startswith(f"{place}.") for place in places)


def refuse_other_data(run: Run, reference: Run) -> None:
    """Raise ValueError, naming the keys, unless both runs have the same validation data."""
    ours, theirs = (leaves(r.config["data"].get("validation"), "data.validation") for r in (run, reference))
    if theirs == {"data.validation": None}:
        raise ValueError(f"{reference.folder} has no validation data: data.validation is null; use another reference.")
    keys = differing([theirs, ours])
    if not keys:
        return
    first, second = reference.folder, run.folder
    listed = first_few(
        [f"{k} is {theirs.get(k, 'not set')} in {first} and {ours.get(k, 'not set')} in {second}" for k in keys]
    )
    raise ValueError(f"the validation data differ: {listed}; compare runs with the same validation data.")


def differing(settings: Sequence[dict[str, object]]) -> list[str]:
    """Names whose values differ between settings, or that are missing in some, in their order.

    >>> differing([{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": None}])
    ['b', 'c']
    """
    names = dict.fromkeys(name for each in settings for name in each)
    absent = object()
    return [name for name in names if any(each.get(name, absent) != settings[0].get(name, absent) for each in settings)]


def grouped(runs: Sequence[Run]) -> list[list[Run]]:
    """Groups of runs with the same settings, in the order of the runs."""
    groups: list[list[Run]] = []
    for run in runs:
        group = next((group for group in groups if group[0].settings == run.settings), None)
        if group is None:
            groups.append([run])
        else:
            group.append(run)
    return groups


def seed_keys(group: Sequence[Run]) -> list[tuple[str, int]]:
    """Keys that pair the runs of two groups: the seeds and, for runs with the same seeds, their number."""
    seen: Counter[str] = Counter()
    keys = []
    for run in group:
        text = repr(sorted(run.seeds.items()))
        keys.append((text, seen[text]))
        seen[text] += 1
    return keys


def seed_text(run: Run, names: Sequence[str]) -> str:
    """Text with the seeds of a run that differ between the runs.

    >>> run = Run(Path(), Path(), {}, {}, {"seed_everything": 3, "data.seed": 1})
    >>> seed_text(run, ["seed_everything"]), seed_text(run, ["seed_everything", "data.seed"])
    ('seed 3', 'seed 3, data.seed 1')
    """
    values = {repr(run.seeds.get(name)) for name in names}
    names = names[:1] if len(values) == 1 and SEEDS[0] in names else names
    return ", ".join(f"{'seed' if name == SEEDS[0] else name} {run.seeds.get(name, '-')}" for name in names)

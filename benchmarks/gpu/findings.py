"""Figures and verdicts of the GPU benchmark. Checks are independent: if one fails, the others still run."""

import gc
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

MOST_WORDS = 300
"""Largest number of characters of an error in the table."""

NAME = "gpu"
"""Name of the files, without their endings."""


class Finding(NamedTuple):
    """A row of the table.

    Attributes:
        what: name of the figure.
        value: the figure; None if there is none.
        unit: unit of the figure.
        expected: expected value in words; empty if there is none.
        met: whether the figure is as expected; None: no verdict.
        note: further information, such as an error.
        part: part of the benchmark; set by the runner.
    """

    what: str
    value: float | None
    unit: str = ""
    expected: str = ""
    met: bool | None = None
    note: str = ""
    part: str = ""


Check = Callable[[], list[Finding]]


def run_checks(part: str, checks: Mapping[str, Check], *, found: Callable[[list[Finding]], None]) -> None:
    """Run each check, and yield its findings or its error when it ends."""
    for what, check in checks.items():
        try:
            findings = check()
        except Exception as error:  # after any error, the other checks still run
            last = traceback.extract_tb(error.__traceback__)[-1]
            words = f"{type(error).__name__}: {' '.join(str(error).split())[:MOST_WORDS]} ({last.name}:{last.lineno})"
            findings = [Finding(what, None, met=False, note=words)]
        found([finding._replace(part=part) for finding in findings])
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def write(folder: Path, machine: str, findings: Sequence[Finding]) -> None:
    """Write the findings as JSON and as a Markdown table."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "findings": [finding._asdict() for finding in findings]}
    (folder / f"{NAME}.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / f"{NAME}.md").write_text(f"{machine}\n\n{table(findings)}\n")


def read(folder: Path) -> list[Finding]:
    """Read the findings of a folder; empty if there is no file."""
    file = folder / f"{NAME}.json"
    return [Finding(**finding) for finding in json.loads(file.read_text())["findings"]] if file.is_file() else []


def table(findings: Sequence[Finding]) -> str:
    """Return findings as a Markdown table.

    >>> print(table([Finding("flow", 0.5, "px", "at most 1", met=True, part="fit")]).splitlines()[-1])
    | fit | flow | 0.5 | px | at most 1 | met | |
    """
    lines = ["| part | what | value | unit | expected | verdict | note |", "|---|---|---|---|---|---|---|"]
    verdicts = {None: "", True: "met", False: "**not met**"}
    for f in findings:
        value = "" if f.value is None else f"{f.value:.4g}"
        cells = (f.part, f.what, value, f.unit, f.expected, verdicts[f.met], f.note.replace("|", "/"))
        lines.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    return "\n".join(lines)

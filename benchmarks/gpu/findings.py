"""Figures and verdicts of the GPU benchmark: each check for itself, so that one that fails does not lose the others."""

import gc
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

MOST_WORDS = 300
"""Characters of an error that the table repeats."""

NAME = "gpu"
"""Of the files, without their endings."""


class Finding(NamedTuple):
    """A row of the table.

    Attributes:
        what: was measured.
        value: the figure; None: there is none.
        unit: of the figure.
        expected: in words; empty: nothing is.
        met: whether it is as expected; None: no verdict.
        note: what else there is to say, such as an error.
        part: of the benchmark; the runner fills it in.
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
    """Run each check, and hand over its findings or its error at once."""
    for what, check in checks.items():
        try:
            findings = check()
        except Exception as error:  # whatever it is, the other checks shall run
            last = traceback.extract_tb(error.__traceback__)[-1]
            words = f"{type(error).__name__}: {' '.join(str(error).split())[:MOST_WORDS]} ({last.name}:{last.lineno})"
            findings = [Finding(what, None, met=False, note=words)]
        found([finding._replace(part=part) for finding in findings])
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def write(folder: Path, machine: str, findings: Sequence[Finding]) -> None:
    """The findings as JSON and as a table of Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine, "findings": [finding._asdict() for finding in findings]}
    (folder / f"{NAME}.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / f"{NAME}.md").write_text(f"{machine}\n\n{table(findings)}\n")


def read(folder: Path) -> list[Finding]:
    """Findings that were written to a folder; none where no file is there."""
    file = folder / f"{NAME}.json"
    return [Finding(**finding) for finding in json.loads(file.read_text())["findings"]] if file.is_file() else []


def table(findings: Sequence[Finding]) -> str:
    """Findings as a table of Markdown.

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

"""Tables of an experiment: as CSV for programs, as Markdown for readers."""

import csv
from collections.abc import Sequence
from pathlib import Path


def write_table(folder: Path, headings: Sequence[str], rows: Sequence[Sequence[str | int | float]]) -> None:
    """Write table.csv (every digit) and table.md (four of them) into a folder, which is made.

    Args:
        folder: of the experiment's results.
        headings: one for each column, with its unit.
        rows: of as many cells each; text is written as it is.

    Raises:
        ValueError: if a row is not as long as the headings.
    """
    for row in rows:
        if len(row) != len(headings):
            raise ValueError(f"a row of {len(row)} cells under {len(headings)} headings: {list(row)}.")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([headings, *rows])
    lines = [headings, ["---"] * len(headings), *([rounded(cell) for cell in row] for row in rows)]
    (folder / "table.md").write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))


def rounded(cell: str | int | float) -> str:
    """A cell of the Markdown table.

    >>> [rounded(cell) for cell in ("TV", 12, 0.123456, 1234.5678)]
    ['TV', '12', '0.1235', '1235']
    """
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)

"""Results of an experiment: tables as CSV and as Markdown, and errors as JSON can hold them."""

import csv
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from unrollflow.metrics.paired import Interval


def write_table(folder: Path, headings: Sequence[str], rows: Sequence[Sequence[str | int | float]]) -> None:
    """Write table.csv (all digits) and table.md (four digits) into a folder, which is created.

    Args:
        folder: folder of the experiment's results.
        headings: one heading for each column, with its unit.
        rows: rows with one cell for each heading; text is not changed.

    Raises:
        ValueError: if the length of a row is not that of the headings.
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
    """Return the text of a cell of the Markdown table.

    >>> [rounded(cell) for cell in ("TV", 12, 0.123456, 1234.5678)]
    ['TV', '12', '0.1235', '1235']
    """
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def percent(change: Interval) -> str:
    """Return a relative change in percent, with its interval.

    >>> percent(Interval(-0.012, -0.02, 0.001))
    '-1.2 [-2.0, +0.1]'
    """
    estimate, low, high = (100 * value for value in change)
    return f"{estimate:+.1f} [{low:+.1f}, {high:+.1f}]"


def rounded_values(values: Tensor) -> list[float | None]:
    """Round to 1e-4; replace NaN by None, because JSON has no NaN."""
    return [None if value.isnan() else round(value.item(), 4) for value in values]

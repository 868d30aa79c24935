"""Sphinx extension: docstrings are plain text with Markdown tables; here they become reStructuredText."""

import re
from typing import Any

from sphinx.application import Sphinx

LITERAL_OR_BAR = re.compile(r"(``.*?``|`.*?`)|\|")
ROW = re.compile(r"^\|.*\|$")
FIELD_OF_A_TUPLE = "Alias for field number"


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to autodoc; before napoleon, which reads the sections."""
    app.connect("autodoc-process-docstring", rewrite, priority=400)
    app.connect("autodoc-skip-member", skip_tuple_fields)
    return {"parallel_read_safe": True}


def rewrite(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Replace Markdown tables by list tables, and escape vertical bars, which would be substitutions."""
    result: list[str] = []
    table: list[str] = []
    in_doctest = False
    for line in [*lines, ""]:
        if ROW.match(line.strip()):
            table.append(line)
            continue
        if table:
            result += list_table(table)
            table = []
        in_doctest = line.lstrip().startswith(">>>") or (in_doctest and bool(line.strip()))
        result.append(line if in_doctest else LITERAL_OR_BAR.sub(lambda m: m[1] or r"\|", line))
    lines[:] = result


def list_table(rows: list[str]) -> list[str]:
    """A Markdown table as the directive of a table whose first row is the header."""
    margin = " " * (len(rows[0]) - len(rows[0].lstrip()))
    cells = [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in rows]
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [cells[0], *cells[2:]]:
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
    return [margin + line if line else "" for line in [*lines, ""]]


def skip_tuple_fields(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Omit the fields of a named tuple, which its docstring describes."""
    return True if (getattr(obj, "__doc__", None) or "").startswith(FIELD_OF_A_TUPLE) else None

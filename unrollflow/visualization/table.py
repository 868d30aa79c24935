"""Plain-text tables of figures."""

import math
from collections.abc import Sequence


def format_table(headings: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Aligned lines of names and measures; undefined values are dashes, counts have no decimals.

    >>> print(format_table(["EPE", "zero flow"], [("a", [1.0, math.nan]), ("b c", [0.25, 2])]))
    name      EPE    zero flow
    a       1.000            -
    b c     0.250            2
    """
    width = max(len("name"), *(len(name) for name, _ in rows))
    columns = [max(7, len(heading) + 2 * (len(heading) > 5)) for heading in headings]
    lines = ["name".ljust(width) + "".join(h.rjust(c + 2) for h, c in zip(headings, columns, strict=True))]
    for name, values in rows:
        cells = ["-" if math.isnan(v) else str(v) if isinstance(v, int) else f"{v:.3f}" for v in values]
        lines.append(name.ljust(width) + "".join(cell.rjust(c + 2) for cell, c in zip(cells, columns, strict=True)))
    return "\n".join(lines)

"""How the benchmarks measure: times in turn within one process, peak memory in a fresh one."""

import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch


class Row(NamedTuple):
    """A line of the table: less is better, and so is a ratio below its target.

    Attributes:
        what: is measured.
        unit: of both figures.
        ours, reference: medians.
        target: largest ratio that is asked for; None: none is.
    """

    what: str
    unit: str
    ours: float
    reference: float
    target: float | None = None

    @property
    def ratio(self) -> float:
        """Ours over the reference."""
        return self.ours / self.reference


def in_turn(functions: Sequence[Callable[[], object]], *, repeats: int) -> list[float]:
    """Median milliseconds of each function; they alternate, so that what else the machine does meets all alike."""
    for function in functions:
        function()
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(1000 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]


def peak_rise(make: Callable[..., Callable[[], object]], *arguments: object) -> float:
    """MB by which the highest memory of a fresh process rises while it calls what `make(*arguments)` gives, twice.

    What `make` itself allocates and frees does not count. (Twice, as the first call of a training step is without the
    optimizer's and the gradients' buffers.)
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_rise, (torch.get_num_threads(), make, arguments))


def _rise(threads: int, make: Callable[..., Callable[[], object]], arguments: Sequence[object]) -> float:
    torch.set_num_threads(threads)
    function = make(*arguments)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM falls to VmRSS; else a peak of imports or `make` would count
    before = memory("VmRSS")
    function()
    function()
    return memory("VmHWM") - before


def memory(name: str) -> float:
    """MB of this process, such as VmRSS, or VmHWM, its highest (`ru_maxrss` has the parent's highest in it)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def matrix_rate(*, size: int = 2048, repeats: int = 5) -> float:
    """GFLOP a second of a product of square float32 matrices, the median."""
    matrix = torch.rand(size, size)
    (milliseconds,) = in_turn([lambda: matrix @ matrix], repeats=repeats)
    return 2 * size**3 / milliseconds / 1e6


def machine() -> str:
    """Where the figures were measured."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    name = names[0] if names else platform.machine()
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def table(rows: Sequence[Row]) -> str:
    """Rows as a table of Markdown."""
    lines = ["| what | ours | reference | unit | ratio | target |", "|---|---|---|---|---|---|"]
    for row in rows:
        verdict = "" if row.target is None else f"{row.target:g} {'met' if row.ratio <= row.target else '**not met**'}"
        lines.append(
            f"| {row.what} | {row.ours:.4g} | {row.reference:.4g} | {row.unit} | {row.ratio:.2f} | {verdict} |"
        )
    return "\n".join(lines)


def write_json(path: Path, rows: Sequence[Row]) -> None:
    """Machine and rows, with their ratios."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "rows": [row._asdict() | {"ratio": row.ratio} for row in rows]}
    path.write_text(json.dumps(content, indent=2) + "\n")

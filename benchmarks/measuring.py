"""Measurements of the benchmarks: times in turn within one process, peak memory in a new process."""

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
    """A line of the table; smaller figures are better.

    Attributes:
        what: name of the measured quantity.
        unit: unit of both figures.
        ours, reference: medians.
        target: largest accepted ratio; None if there is no target.
    """

    what: str
    unit: str
    ours: float
    reference: float
    target: float | None = None

    @property
    def ratio(self) -> float:
        """Ratio of ours to the reference."""
        return self.ours / self.reference


def in_turn(functions: Sequence[Callable[[], object]], *, repeats: int) -> list[float]:
    """Return the median milliseconds of each function; they alternate, so that other load affects all equally."""
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
    """Return the rise of the peak memory of a new process in MB while it calls the result of `make(*arguments)` twice.

    Memory that `make` itself allocates and frees is not included. There are two calls because the first training step
    has no buffers of the optimizer and the gradients.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_rise, (torch.get_num_threads(), make, arguments))


def _rise(threads: int, make: Callable[..., Callable[[], object]], arguments: Sequence[object]) -> float:
    torch.set_num_threads(threads)
    function = make(*arguments)
    Path("/proc/self/clear_refs").write_text(
        "5"
    )  # VmHWM falls to VmRSS; otherwise a peak of imports or `make` would be included
    before = memory("VmRSS")
    function()
    function()
    return memory("VmHWM") - before


def memory(name: str) -> float:
    """Return a memory figure of this process in MB: VmRSS, or VmHWM, the peak (`ru_maxrss` includes the parent's)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def matrix_rate(*, size: int = 2048, repeats: int = 5) -> float:
    """Return the median GFLOP per second of a product of square float32 matrices."""
    matrix = torch.rand(size, size)
    (milliseconds,) = in_turn([lambda: matrix @ matrix], repeats=repeats)
    return 2 * size**3 / milliseconds / 1e6


def machine() -> str:
    """Return the description of the machine and of torch."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    name = names[0] if names else platform.machine()
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = ["| what | ours | reference | unit | ratio | target |", "|---|---|---|---|---|---|"]
    for row in rows:
        verdict = "" if row.target is None else f"{row.target:g} {'met' if row.ratio <= row.target else '**not met**'}"
        lines.append(
            f"| {row.what} | {row.ours:.4g} | {row.reference:.4g} | {row.unit} | {row.ratio:.2f} | {verdict} |"
        )
    return "\n".join(lines)


def write_json(path: Path, rows: Sequence[Row]) -> None:
    """Write machine and rows with their ratios as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "rows": [row._asdict() | {"ratio": row.ratio} for row in rows]}
    path.write_text(json.dumps(content, indent=2) + "\n")

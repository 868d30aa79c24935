"""Measure correctness and speed on one GPU, offline, in at most ten minutes, and write JSON and a Markdown table.

    python -m benchmarks.gpu                    # benchmarks/results/gpu/gpu.json and gpu.md
    python -m benchmarks.gpu --only steps       # one part
    python -m benchmarks.gpu --device cpu       # check that it runs, in seconds; the figures have no meaning

Every part runs in its own process with a time limit. If a part fails, hangs or crashes, the other parts still run, and
the finished checks of this part are in the table. torch 2.8 or later is required. The accuracy part also uses the
sequences below the folder that UNROLLFLOW_DATA_DIR names.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.gpu import agreement, fits, loading, steps
from benchmarks.gpu.findings import Check, Finding, read, run_checks, table, write
from benchmarks.measuring import machine


class Part(NamedTuple):
    """A part of the benchmark.

    Attributes:
        checks: function of the device and of `short` (dry run) that returns the checks by name.
        seconds: time limit of its process.
    """

    checks: Callable[..., dict[str, Check]]
    seconds: int


PARTS = {
    "agreement": Part(agreement.checks, 90),
    "steps": Part(steps.checks, 100),
    "waits": Part(steps.waiting_checks, 40),
    "loading": Part(loading.checks, 40),
    "fit": Part(fits.fit_checks, 170),
    "resume": Part(fits.resume_checks, 40),
    "compiled": Part(steps.compiled_checks, 110),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts, print the table and write both files."""
    options = parser().parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("benchmarks.gpu: torch finds no GPU; add --device cpu for a dry run.")
    findings: list[Finding] = []

    def add(found: list[Finding]) -> None:
        findings.extend(found)
        write(options.folder, where(device), findings)  # keep the results, even if a later part fails

    for name in options.only:
        if options.together:
            run_checks(name, PARTS[name].checks(device, short=device.type == "cpu"), found=add)
        else:
            with tempfile.TemporaryDirectory() as folder:
                add(in_its_own_process(name, options.device, Path(folder), PARTS[name].seconds))
    print(f"{table(findings)}\n\n{where(device)}; {options.folder}")


def in_its_own_process(name: str, device: str, folder: Path, seconds: float) -> list[Finding]:
    """Run a part in another process, and return its findings; a failure of the process is a further finding."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--together", "--only", name, "--device", device]
    try:
        ended = subprocess.run([*command, "--folder", str(folder)], capture_output=True, text=True, timeout=seconds)
        wrong = "" if ended.returncode == 0 else f"exit status {ended.returncode}: {ended.stderr[-300:]}"
    except subprocess.TimeoutExpired:
        wrong = f"not finished after {seconds:g} s"
    found = read(folder)
    return (
        [*found, Finding("the whole part", None, met=False, note=" ".join(wrong.split()), part=name)]
        if wrong
        else found
    )


def where(device: torch.device) -> str:
    """Return the names of the machine and of its GPU."""
    if device.type != "cuda":
        return f"{machine()}; dry run without a GPU"
    memory = torch.cuda.get_device_properties(device).total_memory / 2**30
    return f"{torch.cuda.get_device_name(device)}, {memory:.0f} GB, CUDA {torch.version.cuda}; {machine()}"


def parser() -> argparse.ArgumentParser:
    """Parse the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", default="cuda", help="torch device; cpu is a dry run (default: %(default)s)")
    made.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS), help="parts to measure")
    made.add_argument("--together", action="store_true", help="run all parts in this process, without time limits")
    made.add_argument(
        "--folder", type=Path, default=Path("benchmarks/results/gpu"), help="output folder (default: %(default)s)"
    )
    return made


if __name__ == "__main__":
    main()

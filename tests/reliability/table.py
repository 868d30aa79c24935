"""The table of faults: python -m tests.reliability.table docs/faults.md runs them all, and writes what happened."""

import os
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from multiprocessing import get_context
from pathlib import Path

from tests.reliability import files, interruptions, numerics
from tests.reliability.fault import Fault

AREAS = {
    "Interruption": interruptions.FAULTS,
    "Numbers": numerics.FAULTS,
    "Files": files.FAULTS,
}
LONGEST = 200
JOBS = int(os.environ.get("JOBS", os.cpu_count() or 1))
HEADER = """# Faults

Each row is a fault that `make faults` injects, the promised behaviour, and what happened. `make faults`
(`python -m tests.reliability.table docs/faults.md`) writes this page.
"""


def cell(text: str, folder: Path) -> str:
    """A text for a table, without the path of the temporary folder."""
    plain = " ".join(text.replace(str(folder), "FOLDER").split()).replace("|", "/").replace("<", "&lt;")
    return plain if len(plain) <= LONGEST else plain[:LONGEST] + "..."


def happened(number: int) -> tuple[bool, str]:
    """Whether the promise of a fault was kept, and what happened, without the output of trainers."""
    fault = [fault for area in AREAS.values() for fault in area][number]
    good, reported = attempt(fault)
    print(f"{'kept' if good else 'BROKEN':7} {fault.injected}: {reported}", file=sys.__stdout__, flush=True)
    return good, reported


def attempt(fault: Fault) -> tuple[bool, str]:
    """As :func:`happened`, of a fault."""
    with tempfile.TemporaryDirectory() as place, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        folder = Path(place)
        try:
            return True, cell(fault.run(folder), folder)
        except Exception as error:  # any error is an outcome of the table
            return False, cell(f"**broken**: {type(error).__name__}: {error}", folder)


def main(output: Path) -> int:
    """Write the table; the number of broken promises. Faults are run in parallel, one per core."""
    warnings.filterwarnings("ignore")
    faults = [fault for area in AREAS.values() for fault in area]
    with ProcessPoolExecutor(JOBS, mp_context=get_context("fork")) as pool:
        outcomes = dict(zip(faults, pool.map(happened, range(len(faults))), strict=True))
    text = HEADER
    for area, members in AREAS.items():
        text += f"\n## {area}\n\n| injected | promised | happened |\n|---|---|---|\n"
        text += "".join(f"| {fault.injected} | {fault.promised} | {outcomes[fault][1]} |\n" for fault in members)
    kept = sum(good for good, _ in outcomes.values())
    output.write_text(f"{text}\n{kept} of {len(faults)} promises were kept.\n")
    return len(faults) - kept


if __name__ == "__main__":
    sys.exit(min(1, main(Path(sys.argv[1]))))

"""The table of faults: python -m tests.reliability.table docs/faults.md runs them all, and writes what happened."""

import sys
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from tests.reliability import files, interruptions, numerics
from tests.reliability.fault import Fault

AREAS = {
    "Interruption": interruptions.FAULTS,
    "Numbers": numerics.FAULTS,
    "Files": files.FAULTS,
}
LONGEST = 200
HEADER = """# Faults

Written by `make faults` (`python -m tests.reliability.table docs/faults.md`): what was injected, what is promised,
what happened.
"""


def cell(text: str, folder: Path) -> str:
    """A text for a table, without the place that it was tried at."""
    plain = " ".join(text.replace(str(folder), "FOLDER").split()).replace("|", "/").replace("<", "&lt;")
    return plain if len(plain) <= LONGEST else plain[:LONGEST] + "..."


def happened(fault: Fault) -> tuple[bool, str]:
    """Whether a promise was kept, and what happened; the chatter of trainers is left out."""
    with tempfile.TemporaryDirectory() as place, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        folder = Path(place)
        try:
            return True, cell(fault.run(folder), folder)
        except Exception as error:  # whatever it is, it is what happened
            return False, cell(f"**broken**: {type(error).__name__}: {error}", folder)


def main(output: Path) -> int:
    """Write the table; the number of broken promises."""
    warnings.filterwarnings("ignore")
    text, kept, total = HEADER, 0, 0
    for area, faults in AREAS.items():
        text += f"\n## {area}\n\n| injected | promised | happened |\n|---|---|---|\n"
        for fault in faults:
            good, told = happened(fault)
            kept, total = kept + good, total + 1
            text += f"| {fault.injected} | {fault.promised} | {told} |\n"
            print(f"{'kept' if good else 'BROKEN':7} {fault.injected}: {told}", file=sys.__stdout__, flush=True)
    output.write_text(f"{text}\n{kept} of {total} promises were kept.\n")
    return total - kept


if __name__ == "__main__":
    sys.exit(min(1, main(Path(sys.argv[1]))))

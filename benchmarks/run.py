"""Run all benchmarks of time and memory, and print one table: ours against a reference, alternating in one process.

python -m benchmarks.run                    # all; on a quiet machine
python -m benchmarks.run --only terms       # one of them
python -m benchmarks.run --short            # check that they run, with small sizes; the figures have no meaning
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch
from tqdm import tqdm

from benchmarks import correlation, inference, matcher, scaling, terms, training
from benchmarks.measuring import Row, machine, table, write_json

PARTS: dict[str, ModuleType] = {
    m.__name__.split(".")[-1]: m for m in (terms, correlation, training, matcher, inference, scaling)
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts of the command line, print the table and write it as JSON."""
    options = parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    rows: list[Row] = []
    for name in tqdm(options.only, desc="benchmarks", unit="part"):
        rows += PARTS[name].rows(short=options.short)
        write_json(options.output, rows)  # keep the results, even if a later part fails
    print(f"{table(rows)}\n\n{machine()}; {options.output}")


def parser() -> argparse.ArgumentParser:
    """Parse the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS), help="parts to measure")
    made.add_argument("--short", action="store_true", help="small sizes, few repeats: a check that all parts run")
    made.add_argument("--threads", type=int, help="number of torch threads (default: torch's default)")
    made.add_argument("--output", type=Path, default=Path("benchmarks/results/bench.json"), help="JSON (%(default)s)")
    return made


if __name__ == "__main__":
    main()

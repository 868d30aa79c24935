"""All benchmarks of time and memory as one table: ours against a reference, in one process and in turn.

python -m benchmarks.run                    # all; on a quiet machine
python -m benchmarks.run --only terms       # one of them
python -m benchmarks.run --short            # do they run at all? (small sizes; the figures mean nothing)
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
    """Measure what the command line asks for, print the table and write it as JSON."""
    options = parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    rows: list[Row] = []
    for name in tqdm(options.only, desc="benchmarks", unit="part"):
        rows += PARTS[name].rows(short=options.short)
        write_json(options.output, rows)  # what is measured is kept, also if a later part fails
    print(f"{table(rows)}\n\n{machine()}; {options.output}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS), help="parts to measure")
    made.add_argument("--short", action="store_true", help="small sizes, few repeats: a check that all parts run")
    made.add_argument("--threads", type=int, help="of torch; its default otherwise")
    made.add_argument("--output", type=Path, default=Path("benchmarks/results/bench.json"), help="JSON (%(default)s)")
    return made


if __name__ == "__main__":
    main()

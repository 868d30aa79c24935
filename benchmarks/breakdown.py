"""Time of a training step by torch operations (each without the operations that it calls).

python -m benchmarks.breakdown
"""

import argparse
from collections.abc import Sequence

from torch.profiler import ProfilerActivity, profile

from benchmarks.measuring import machine
from benchmarks.training import FULL, SIZES, training_step

STEPS = 3
LEAST_SHARE = 0.01
"""Share of the time of a step; operations below it are summed."""


def shares(size: str) -> dict[str, tuple[float, float]]:
    """Return the milliseconds per step and the share of every operation, the longest first."""
    step = training_step("ours", size)
    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(STEPS):
            step()
    times = {event.key: event.self_cpu_time_total / 1000 / STEPS for event in profiled.key_averages()}
    total = sum(times.values())
    return {name: (time, time / total) for name, time in sorted(times.items(), key=lambda item: -item[1])}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each size of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="+", choices=list(SIZES), default=FULL, help="pairs x height x width")
    for size in parser.parse_args(arguments).size:
        found = shares(size)
        shown = {name: values for name, values in found.items() if values[1] >= LEAST_SHARE}
        others = [sum(values[i] for name, values in found.items() if name not in shown) for i in (0, 1)]
        print(f"\n| {size}: operation | ms a step | share |\n|---|---|---|")
        for name, (time, share) in [*shown.items(), (f"{len(found) - len(shown)} others", others)]:
            print(f"| `{name}` | {time:.0f} | {share:.0%} |")
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()

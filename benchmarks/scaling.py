"""Growth of time with pixels, batch, unrolled steps, iterations of RAFT, and pyramid levels.

python -m benchmarks.scaling       # writes results/scaling.csv and results/scaling.png
"""

import csv
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.measuring import Row, in_turn, machine
from unrollflow import RAFT, PWCLite, unrolled_cost

RESULTS = Path(__file__).parent / "results"
PYRAMID = [16, 32, 64, 96, 128, 192]
Run = Callable[[], object]


def network_run(network: torch.nn.Module, batch: int, height: int, width: int) -> Run:
    """Return a function for the flow in both directions and its backward pass."""
    images = torch.rand(2, batch, 3, height, width, generator=torch.Generator().manual_seed(0))

    def run() -> None:
        network.zero_grad()
        forward, backward = network.bidirectional(*images)
        (forward[-1].flow.sum() + backward[-1].flow.sum()).backward()

    return run


def cost_run(steps: int) -> Run:
    """Return a function for the unrolled cost of many elements and its backward pass."""
    gradient = torch.randn(2**20, generator=torch.Generator().manual_seed(0)).requires_grad_()
    return lambda: unrolled_cost(gradient, lam=1.0, rho=1.0, steps=steps).sum().backward()


SERIES: dict[str, tuple[Callable[[int], Run], list[int]]] = {
    "pixels, in 128x192 (PWC-Lite)": (lambda n: network_run(PWCLite(), 1, 128, 192 * n), [1, 2, 4]),
    "batch (PWC-Lite, 128x192)": (lambda n: network_run(PWCLite(), n, 128, 192), [1, 2, 4]),
    "unrolled steps T (2^20 elements)": (cost_run, [1, 2, 4, 8]),
    "iterations (RAFT, 128x192)": (lambda n: network_run(RAFT(iterations=n), 1, 128, 192), [1, 2, 4, 8]),
    "pyramid levels (PWC-Lite, 256x256)": (
        lambda n: network_run(PWCLite(pyramid_channels=PYRAMID[:n]), 1, 256, 256),
        [3, 4, 5, 6],
    ),
}


def measure(*, short: bool) -> dict[str, tuple[list[int], list[float]]]:
    """Return the milliseconds at each size of each series."""
    found = {}
    for name, (make, sizes) in SERIES.items():
        sizes = sizes[:1] if short else sizes
        found[name] = (sizes, in_turn([make(size) for size in sizes], repeats=1 if short else 5))
    return found


def rows(*, short: bool) -> list[Row]:
    """Return the time of the largest size of each series against the proportional time of the smallest size."""
    return [
        Row(
            f"{name}: {sizes[-1]} / {sizes[-1] / sizes[0]:g} times {sizes[0]}",
            "ms",
            ms[-1],
            ms[0] * sizes[-1] / sizes[0],
        )
        for name, (sizes, ms) in measure(short=short).items()
    ]


def main() -> None:
    """Write the table and the plot."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = measure(short=False)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "scaling.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["series", "size", "milliseconds"])
        writer.writerows(
            [name, n, round(t, 3)] for name, (sizes, times) in found.items() for n, t in zip(sizes, times, strict=True)
        )
    figure, axes = pyplot.subplots(1, len(found), figsize=(3.2 * len(found), 3), layout="constrained")
    for axis, (name, (sizes, times)) in zip(axes, found.items(), strict=True):
        axis.plot(sizes, times, "o-", label="measured")
        axis.plot(sizes, [times[0] * n / sizes[0] for n in sizes], "--", color="0.6", label="in proportion")
        axis.set(xlabel=name, ylabel="time, ms", ylim=(0, None), xticks=sizes)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.savefig(RESULTS / "scaling.png", dpi=120)
    print(f"{RESULTS / 'scaling.csv'}, {RESULTS / 'scaling.png'}; {machine()}")


if __name__ == "__main__":
    main()

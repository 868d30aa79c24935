"""Which parts of the classical solver matter, and does their choice generalise to sequences that were not used for it?

Command: make reproduce EXP=14, which repeats one stored run and compares it with its row. FULL=1 make reproduce EXP=14
runs the grid, and continues it after a stop. Minutes on two CPU cores, one process each: about 40.

Each variant changes one setting of `unrollflow estimate` (preset `default`) and is run on all pairs with ground truth:
64 test samples of MovingLayers, and, below UNROLLFLOW_DATA_DIR, Middlebury, Sintel clean and final, and FlyingChairs.
`seconds` are CPU seconds of Middlebury's slowest pair on one thread.

Table `leave_one_out`: for each sequence of Middlebury, the variant with the lowest mean error on the other three and on
all other sets (geometric mean over the sets, so that no set dominates) is measured on the omitted sequence.
If the settings were fitted to the four sequences, the error of this choice would be higher than that of the preset.
"""

import os
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import geometric_mean, mean
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from experiments.common.accuracy import benchmark_sets, data_folder, final_layers, measured_pair
from experiments.common.grid import Results, Row, Settings, check_again, read_rows, run_grid
from experiments.common.results import write_table
from unrollflow.variational import LinearisedFlow

RESULTS = Path(__file__).with_name("results")

PRESET = "the preset"
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    PRESET: {},
    "pyramid of halves": {"shrinkage": 0.5},
    "pyramid with ratio 0.8": {"shrinkage": 0.8},
    "two warps": {"warps": 2},
    "five warps": {"warps": 5},
    "total variation (exponent 0.5)": {"exponent": 0.5},
    "exponent 0.45": {"exponent": 0.45},
    "exponent 0.35": {"exponent": 0.35},
    "gradients of the colours only": {"colour": 0.0},
    "colours weighted twice": {"colour": 0.6},
    "rounding of the data term 1": {"rounding": 1.0},
    "rounding of the data term 0.1": {"rounding": 0.1},
    "smoothness weight 3": {"smoothness_weight": 3.0},
    "smoothness weight 6.5": {"smoothness_weight": 6.5},
    "edge alpha 5": {"edge_alpha": 5.0},
    "edge alpha 20": {"edge_alpha": 20.0},
    "twenty steps of conjugate gradients": {"steps": 20},
    "unweighted medians only": {"weighted_median": False},
    "no inverse search": {"search": False},
}
"""Settings of the solver that differ from its preset."""

LAYERS, MIDDLEBURY = "layers", "middlebury"
BENCHMARKS = (MIDDLEBURY, "sintel", "sintel final", "chairs")
IMAGES = 64
SMOKE_IMAGES = 1


def measured(*, variant: str, images: int) -> Results:
    """Return the end-point error of every pair by set and name, pixels, and the CPU seconds of Middlebury's pairs."""
    solver, layers = LinearisedFlow(**VARIANTS[variant]), final_layers()
    sets = {LAYERS: [layers[index] for index in range(images)]}
    sets |= {name: list(islice(pairs, images)) for name, pairs in benchmark_sets(data_folder(), *BENCHMARKS).items()}
    spent: list[float] = []

    def _timed(image1: Tensor, image2: Tensor) -> Tensor:
        begun = time.process_time()
        flow = solver(image1, image2).flow
        spent.append(time.process_time() - begun)
        return flow

    found: dict[str, dict[str, float]] = {}
    longest = 0.0
    for name, pairs in sets.items():
        spent.clear()
        found[name] = {pair["name"]: round(measured_pair(_timed, pair)["epe"], 5) for pair in pairs}
        longest = max(spent) if name == MIDDLEBURY else longest
    return {"errors": found, "seconds": round(longest, 2)}


def set_means(results: Results, without: str | None = None) -> dict[str, float]:
    """Return the mean error of each set, pixels, without one of the sequences."""
    return {
        name: mean(error for pair, error in pairs.items() if pair != without)
        for name, pairs in results["errors"].items()
    }


def mean_error(results: Results) -> float:
    """Return the geometric mean of the sets' errors, pixels."""
    return geometric_mean(set_means(results).values())


def omitted_pairs(rows: Mapping[str, Results]) -> list[list[str | float]]:
    """Return, for each sequence of Middlebury, the variant chosen without it, its error, and that of the preset."""
    lines: list[list[str | float]] = []
    for pair in rows[PRESET]["errors"].get(MIDDLEBURY, {}):
        scores = {name: geometric_mean(set_means(results, pair).values()) for name, results in rows.items()}
        chosen = min(scores, key=lambda name: scores[name])
        own = [rows[name]["errors"][MIDDLEBURY][pair] for name in (chosen, PRESET)]
        lines.append([pair, chosen, *own])
    return lines


def write_report(folder: Path, rows: Sequence[Row]) -> None:
    """Write the tables and figure.png."""
    results = {row["settings"]["variant"]: row["results"] for row in rows}
    base = set_means(results[PRESET])
    lines = [[name, *set_means(found).values(), found["seconds"]] for name, found in results.items()]
    write_table(folder, ["variant", *(f"EPE {name} (px)" for name in base), "CPU s"], lines)
    chosen = omitted_pairs(results)
    if len(rows) == len(VARIANTS) and chosen:
        means: list[str | float] = ["mean", "", *(mean(float(line[i]) for line in chosen) for i in (2, 3))]
        headings = ["omitted", "chosen on the others", "EPE (px)", "EPE of the preset (px)"]
        write_table(folder / "leave_one_out", headings, [*chosen, means])
    others = [name for name in results if name != PRESET]
    figure = Figure(figsize=(2 + 2.2 * len(base), 1 + 0.3 * len(others)), layout="constrained")
    grid = figure.subplots(1, len(base), sharey=True, squeeze=False)[0]
    for axes, place in zip(grid, base, strict=True):
        changes = [100 * (set_means(results[name])[place] / base[place] - 1) for name in others]
        axes.barh(range(len(others)), changes, color=["tab:red" if c > 0 else "tab:blue" for c in changes])
        axes.axvline(0, color="k", lw=0.8)
        axes.set(title=f"{place}\n(preset {base[place]:.3f} px)", xlabel="change of EPE (%)")
    grid[0].set_yticks(range(len(others)), others)
    grid[0].invert_yaxis()
    figure.savefig(folder / "figure.png", dpi=110)


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Verify a run, or run all with FULL=1; then write tables and figure of the stored rows."""
    store = folder / "rows.jsonl"
    names = list(VARIANTS)[:2] if smoke else list(VARIANTS)
    cells: list[Settings] = [{"variant": name, "images": SMOKE_IMAGES if smoke else IMAGES} for name in names]
    if smoke:
        rows = run_grid(cells, measured, store)
    elif os.environ.get("FULL") == "1":
        rows = run_grid(cells, measured, store, processes=os.cpu_count() or 1, about="variants")
    else:
        torch.set_num_threads(1)  # as in the grid
        rows = read_rows(store)
        check_again(rows, measured, mean_error)
    write_report(folder, rows)


if __name__ == "__main__":
    main()

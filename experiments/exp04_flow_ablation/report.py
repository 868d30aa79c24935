"""Tables and figure of experiment 04, from the finished rows of the grid."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.common.grid import Row
from experiments.common.results import write_table
from experiments.exp04_flow_ablation.figure import draw
from experiments.exp04_flow_ablation.finals import SPLITS, compared, counts, final_rows, mean, steps_to
from experiments.exp04_flow_ablation.search import (
    FINALISTS,
    RIVALS,
    TOLERATED,
    alike,
    error,
    finalist,
    long_rows,
    lowest,
    mean_error,
    ramped,
    scan_rows,
    search_rows,
    useful,
)
from unrollflow.metrics.names import UNLABELLED
from unrollflow.metrics.rank_correlation import rank_correlations

COLUMNS = {
    "epe": "EPE (px)", "epe_noc": "visible (px)", "epe_occ": "occluded (px)",
    "epe_d0_5": "under 5 px from a boundary (px)", "epe_d10_60": "10 px or more from one (px)",
}  # fmt: skip
HIGHER_IS_BETTER = ("visible_fraction", "motion")
"""Label-free figures for which a rank correlation near -1 is good; for the others, one near 1 is good."""


def write_report(folder: Path, rows: Sequence[Row]) -> None:
    """Write `table`, `steps` (of finals), `search`, `weights`, `scores` and figure.png into a folder."""
    write_search(folder / "search", rows)
    write_weights(folder / "weights", rows)
    write_scores(folder / "scores", rows)
    if all(final_rows(rows, family) for family in RIVALS):
        write_finals(folder, rows)
    else:
        for stale in (*folder.glob("table.*"), *folder.glob("steps/table.*")):
            stale.unlink()  # of the finals of an earlier protocol
    draw(folder / "figure.png", rows)


def write_finals(folder: Path, rows: Sequence[Row]) -> None:
    """Write a line for each finalist and zero flow, on test images (not used for any choice) and validation images."""
    headings = [
        "images", "term", "settings", "seeds", *COLUMNS.values(), "occluded, standard deviation over seeds (px)",
        "boundary F1", "change of occluded EPE against hard (%)", "95 % from (%)", "to (%)",
    ]  # fmt: skip
    lines: list[list[str | int | float]] = []
    for split in SPLITS:
        for arm in (arm for arm in FINALISTS if final_rows(rows, arm)):
            finals = final_rows(rows, arm)
            found = [row["results"][split] for row in finals]
            lines.append([
                split, arm if arm in ("none", "supervised") else f"{arm}: {finals[0]['settings']['term']}",
                described(finals[0]), len(finals), *(mean([one[name] for one in found]) for name in COLUMNS),
                spread([one["epe_occ"] for one in found]), mean([one["boundary_f1"] for one in found]),
                *(100 * value for value in compared(rows, arm, "epe_occ", split)),
            ])  # fmt: skip
        zero = final_rows(rows, "hard")[0]["results"][split]
        empty: list[str | int | float] = [""] * (len(headings) - 4 - len(COLUMNS))
        lines.append([split, "zero flow", "", "", *(zero[f"zero_{name}"] for name in COLUMNS), *empty])
        lines.append([split, counts(rows, split), *[""] * (len(headings) - 2)])
    write_table(folder, headings, lines)
    speeds = [[arm, steps_to(rows, arm)] for arm in FINALISTS if final_rows(rows, arm)]
    write_table(folder / "steps", ["term", "steps to the hard final's EPE of the seed (median, [range])"], speeds)


def write_search(folder: Path, rows: Sequence[Row]) -> None:
    """Write every trial on validation data by family, in rising order of the error of occluded pixels."""
    lines: list[list[str | int | float]] = []
    for family in FINALISTS:
        trials = search_rows(rows, family)
        within = useful(trials, lowest(search_rows(rows, "none")))
        for row in sorted(trials, key=lambda row: error(row, "epe_occ")):
            settings, results = row["settings"], row["results"]["validation"]
            lines.append([
                settings["term"], described(row), *(results[name] for name in COLUMNS), results["boundary_f1"],
                "yes" if row in within else "no", row["seconds"] / 60,
            ])  # fmt: skip
    headings = ["term", "settings", *COLUMNS.values(), "boundary F1", "EPE within 5 % of none's best", "minutes (wall)"]
    write_table(folder, headings, lines)


def write_weights(folder: Path, rows: Sequence[Row]) -> None:
    """Write the errors of each family's finalist with other weights, for short and long trainings."""
    lines: list[list[str | int | float]] = []
    for chosen in (scan_rows, long_rows):
        none = chosen(rows, "none")
        if not none:
            continue
        steps = none[0]["settings"]["steps"]
        lines.append([steps, "none", "", 0.0, "", *scanned(none, none)])
        for family in RIVALS:
            best = finalist(rows, family)["settings"]["weight"]
            for runs in alike(chosen(rows, family)):
                weight = runs[0]["settings"]["weight"]
                start = "ramped" if ramped(runs[0]) else "from the first step"
                line = [steps, f"{family}: {form(runs[0])}", f"{weight / best:.2g}", weight, start]
                lines.append([*line, *scanned(runs, none)])
    if lines:
        headings = [
            "steps", "term", "weight, in the finalist's", "weight", "it is", "seeds", "EPE (px)", "occluded (px)",
            "EPE against none (%)", "occluded against none (%)", "EPE within 5 % of none's",
        ]  # fmt: skip
        write_table(folder, headings, lines)


def scanned(runs: Sequence[Row], none: Sequence[Row]) -> list[str | int | float]:
    """Return the number of runs, their mean validation errors, and the change against runs without smoothness."""
    errors, bare = ([mean_error(rows, name) for name in ("epe", "epe_occ")] for rows in (runs, none))
    changes = [100 * (e / n - 1) for e, n in zip(errors, bare, strict=True)]
    return [len(runs), *errors, *changes, "yes" if errors[0] <= TOLERATED * bare[0] else "no"]


def form(row: Row) -> str:
    """Return the name of the term, with the form of an unrolled one."""
    settings = row["settings"]
    if settings["term"] != "unrolled":
        return str(settings["term"])
    detached = "detached" if settings["detach"] else "differentiated through"
    name = f"unrolled, T = {settings['iterations']}, {detached}, with{'' if settings['initial_term'] else 'out'} t = 0"
    huber = settings["iterations"] == 1 and settings["detach"] and not settings["initial_term"]
    return f"{name} (Huber's penalty, doubled)" if huber else name


def write_scores(folder: Path, rows: Sequence[Row]) -> None:
    """Write the rank correlation of the label-free figures with the validation errors, over all unsupervised trials."""
    results = [row["results"]["validation"] for family in ("none", *RIVALS) for row in search_rows(rows, family)]
    runs = [found["unlabelled"] | {name: found[name] for name in ("epe", "epe_occ")} for found in results]
    ranks, of_occluded = (rank_correlations(runs, error=name) for name in ("epe", "epe_occ"))
    lines: list[list[str | int | float]] = [
        [
            UNLABELLED[name].label if name in UNLABELLED else "Photometric loss of the training",
            "higher" if name in HIGHER_IS_BETTER else "lower", rank.runs, rank.coefficient,
            of_occluded[name].coefficient,
        ]
        for name, rank in ranks.items()
    ]  # fmt: skip
    headings = ["figure without labels", "better when", "runs", "rank correlation with EPE", "with occluded EPE"]
    write_table(folder, headings, lines)


def described(row: Row) -> str:
    """Return a short description of the settings of a run."""
    settings = row["settings"]
    parts = [f"learning rate {settings['learning_rate']:g}"]
    if "weight" in settings:
        parts.insert(0, f"weight {settings['weight']:g}")
    if "scale" in settings:
        name = {"charbonnier": "epsilon", "huber": "delta", "unrolled": "threshold"}[settings["term"]]
        parts.append(f"{name} {settings['scale']:g} px/px")
    if settings["term"] == "unrolled":
        parts.append(form(row).removeprefix("unrolled, "))
    return ", ".join(parts)


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation over seeds (n - 1); NaN for a single seed."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

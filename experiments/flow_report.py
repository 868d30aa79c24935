"""Tables and figure of experiment 04, of the rows that there are: an unfinished grid is reported as far as it is."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.flow_figure import draw
from experiments.flow_finals import compared, final_rows, mean, steps_to
from experiments.flow_search import FINALISTS, RIVALS, TOLERATED, error, search_rows
from experiments.grid import Row
from experiments.results import write_table
from unrollflow.measures import UNLABELLED
from unrollflow.selection import rank_correlations

COLUMNS = {
    "epe": "EPE (px)", "epe_noc": "visible (px)", "epe_occ": "occluded (px)",
    "epe_d0_5": "under 5 px from a boundary (px)", "epe_d10_60": "10 px or more from one (px)",
}  # fmt: skip


def write_report(folder: Path, rows: Sequence[Row]) -> None:
    """Write `table` (finals, once there are any), `search`, `weights`, `scores` and figure.png into a folder."""
    write_search(folder / "search", rows)
    write_weights(folder / "weights", rows)
    write_scores(folder / "scores", rows)
    if all(final_rows(rows, family) for family in RIVALS):
        write_finals(folder, rows)
    draw(folder / "figure.png", rows)


def write_finals(folder: Path, rows: Sequence[Row]) -> None:
    """One line for each finalist, and zero flow; means over seeds, of images that no run has seen."""
    headings = [
        "term", "settings", "seeds", *COLUMNS.values(), "occluded, standard deviation over seeds (px)",
        "boundary F1", "steps to the hard finalist's validation EPE", "change of occluded EPE against hard (%)",
        "95 % from (%)", "to (%)", "minutes (wall)",
    ]  # fmt: skip
    lines: list[list[str | int | float]] = []
    for arm in FINALISTS:
        finals = final_rows(rows, arm)
        if not finals:
            continue
        tests = [row["results"]["test"] for row in finals]
        change = compared(rows, arm, "epe_occ")
        lines.append([
            arm if arm in ("none", "supervised") else f"{arm}: {finals[0]['settings']['term']}",
            described(finals[0]), len(finals),
            *(mean([test[name] for test in tests]) for name in COLUMNS),
            spread([test["epe_occ"] for test in tests]),
            mean([test["boundary_f1"] for test in tests]),
            steps_to(rows, arm),
            *(100 * value for value in change),
            mean([row["seconds"] / 60 for row in finals]),
        ])  # fmt: skip
    zero = final_rows(rows, "hard")[0]["results"]["test"]
    empty: list[str | int | float] = [""] * (len(headings) - 3 - len(COLUMNS))
    lines.append(["zero flow", "", "", *(zero[f"zero_{name}"] for name in COLUMNS), *empty])
    write_table(folder, headings, lines)


def write_search(folder: Path, rows: Sequence[Row]) -> None:
    """Every trial on validation data, family by family, the best for occluded pixels first."""
    lines: list[list[str | int | float]] = []
    for family in FINALISTS:
        for row in sorted(search_rows(rows, family), key=lambda row: error(row, "epe_occ")):
            settings, results = row["settings"], row["results"]["validation"]
            lines.append([
                settings["term"], described(row), *(results[name] for name in COLUMNS), results["boundary_f1"],
                row["seconds"] / 60,
            ])  # fmt: skip
    write_table(folder, ["term", "settings", *COLUMNS.values(), "boundary F1", "minutes (wall)"], lines)


def write_weights(folder: Path, rows: Sequence[Row]) -> None:
    """How much weight each form of a term bears before the flow of all pixels gets worse than without smoothness."""
    bound = min((error(row, "epe") for row in search_rows(rows, "none")), default=math.nan)
    forms: dict[str, list[Row]] = {}
    for row in (row for family in RIVALS for row in search_rows(rows, family)):
        forms.setdefault(form(row), []).append(row)
    lines: list[list[str | int | float]] = []
    for name, trials in forms.items():
        weights = sorted(row["settings"]["weight"] for row in trials)
        borne = [row["settings"]["weight"] for row in trials if error(row, "epe") <= TOLERATED * bound]
        best = min(trials, key=lambda row: error(row, "epe_occ"))
        lines.append([
            name, len(trials), f"{weights[0]:g} to {weights[-1]:g}", max(borne, default=math.nan),
            best["settings"]["weight"], error(best, "epe"), error(best, "epe_occ"),
        ])  # fmt: skip
    headings = [
        "term", "trials", "weights tried", "largest weight with an EPE within 5 % of that without smoothness",
        "weight of the lowest occluded EPE", "its EPE (px)", "its occluded EPE (px)",
    ]  # fmt: skip
    write_table(folder, headings, lines)


def form(row: Row) -> str:
    """The term, and what an unrolled one is made of."""
    settings = row["settings"]
    if settings["term"] != "unrolled":
        return str(settings["term"])
    detached = "detached" if settings["detach"] else "differentiated through"
    return f"unrolled, T = {settings['iterations']}, {detached}, with{'' if settings['initial_term'] else 'out'} t = 0"


def write_scores(folder: Path, rows: Sequence[Row]) -> None:
    """Rank correlation of what needs no labels with the errors, over all unsupervised trials, on validation."""
    results = [row["results"]["validation"] for family in ("none", *RIVALS) for row in search_rows(rows, family)]
    runs = [found["unlabelled"] | {name: found[name] for name in ("epe", "epe_occ")} for found in results]
    ranks, of_occluded = (rank_correlations(runs, error=name) for name in ("epe", "epe_occ"))
    lines: list[list[str | int | float]] = [
        [
            UNLABELLED[name].label if name in UNLABELLED else "Photometric loss of the training",
            rank.runs, rank.coefficient, of_occluded[name].coefficient,
        ]
        for name, rank in ranks.items()
    ]  # fmt: skip
    headings = ["figure without labels", "runs", "rank correlation with EPE", "with occluded EPE"]
    write_table(folder, headings, lines)


def described(row: Row) -> str:
    """The settings of a run in a few words."""
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
    """Standard deviation over seeds (n - 1); NaN of one alone."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

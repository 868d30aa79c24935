"""Tables and figure of experiment 10, from the finished rows."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.common.grid import Row
from experiments.common.results import percent, write_table
from experiments.exp04_flow_ablation.finals import first_at
from experiments.exp10_smoothness_front.forms import FORMS
from experiments.exp10_smoothness_front.fronts import Errors, Mix, at_level, means, mixed, tolerated
from unrollflow.metrics.paired import Interval, relative_change

BASELINE = "total variation"
USEFUL = 1.25
"""Strengths of total variation with an EPE up to this multiple of the best one are levels of the table `levels`."""

UNDEFINED = Interval(math.nan, math.nan, math.nan)

COMPARED = {
    "occluded": ("layers", "epe_occ"),
    "all pixels": ("layers", "epe"),
    "under 5 px from a motion boundary": ("layers", "epe_d0_5"),
    "Sintel clean, occluded": ("sintel", "epe_occ"),
    "Sintel final, occluded": ("sintel final", "epe_occ"),
    "Middlebury": ("middlebury", "epe"),
    "Middlebury, under 5 px from a boundary": ("middlebury", "epe_d0_5"),
}
"""Figures at equal visible error: the set and the measure of each; the first one is the primary figure."""


class Comparison(NamedTuple):
    """Change of an error at the visible error of the baseline.

    Attributes:
        change: relative change, over the seeds whose front reaches the visible error; NaN if there is none.
        reached: number of these seeds.
        seeds: number of compared seeds; 0 for the baseline itself, and for a term with one strength.
    """

    change: Interval
    reached: int
    seeds: int

    def __str__(self) -> str:
        """Return the change in percent with its interval."""
        if not self.reached:
            return "not reached" if self.seeds else ""
        share = f" ({self.reached} of {self.seeds} seeds)" if self.reached < self.seeds else ""
        return percent(self.change) + share


class Front(NamedTuple):
    """Rows of a term, of the seeds with all strengths.

    Attributes:
        name: name of the term, with its ramp.
        strengths: in rising order.
        seeds: in rising order.
        rows: by strength and seed.
    """

    name: str
    strengths: list[float]
    seeds: list[int]
    rows: dict[tuple[float, int], Row]

    def errors(self, place: str, measure: str, seeds: Sequence[int] | None = None) -> Errors:
        """Return the errors (strengths, seeds, images), pixels."""
        chosen = self.seeds if seeds is None else seeds
        table = [[self.rows[s, seed]["results"][place][measure] for seed in chosen] for s in self.strengths]
        return np.array(table, dtype=np.float64)

    def best(self) -> int:
        """Return the index of the strength with the lowest EPE of all test pixels, mean of the seeds."""
        return int(np.argmin(means(self.errors("layers", "epe")).mean(axis=1)))

    def best_row(self, seed: int) -> Row:
        """Return the row of a seed at the best strength."""
        return self.rows[self.strengths[self.best()], seed]

    def has(self, place: str) -> bool:
        """Return whether a set was measured."""
        return place in next(iter(self.rows.values()))["results"]


def read_fronts(rows: Sequence[Row], *, by_rounding: bool = False) -> dict[str, Front]:
    """Return the fronts of runs with an equal number of steps by name, with the seeds that have all strengths.

    Args:
        rows: finished runs.
        by_rounding: a term with two roundings has two fronts, whose names state the rounding.
    """
    groups: dict[str, dict[tuple[float, int], Row]] = {}
    for row in rows:
        settings = row["settings"]
        name = settings["term"] + (", ramp" if settings["ramp"] else "")
        name += f", rounding {settings['rounding']:g} px/px" if by_rounding and settings["rounding"] else ""
        groups.setdefault(name, {})[settings["strength"], settings["seed"]] = row
    fronts = {}
    for name, found in groups.items():
        strengths = sorted({strength for strength, _ in found})
        seeds = sorted({seed for _, seed in found})
        whole = [seed for seed in seeds if all((strength, seed) in found for strength in strengths)]
        if whole:
            fronts[name] = Front(name, strengths, whole, found)
    return fronts


def write_report(folder: Path, rows: Sequence[Row]) -> None:
    """Write `search`, `fronts`, the comparison (`table`), `levels`, `length`, and figure.png, into a folder."""
    searched = [row for row in rows if not row["settings"]["test"]]
    if searched:
        write_search(folder / "search", searched)
    tested = [row for row in rows if row["settings"]["test"]]
    lengths = sorted({row["settings"]["steps"] for row in tested})
    fronts = read_fronts([row for row in tested if row["settings"]["steps"] in lengths[:1]])
    if len(lengths) > 1:
        write_lengths(folder / "length", tested, lengths)
    if BASELINE in fronts:
        write_points(folder / "fronts", fronts)
        write_comparison(folder, fronts)
        write_levels(folder / "levels", fronts)
        draw(folder / "figure.png", fronts)


def write_search(folder: Path, rows: Sequence[Row]) -> None:
    """Write every trial on validation images, in rising order of the error for each term."""
    order = {name: position for position, name in enumerate(FORMS)}
    lines: list[list[str | int | float]] = []
    for row in sorted(rows, key=lambda row: (order[row["settings"]["term"]], validation(row, "epe"))):
        settings = row["settings"]
        figures = [validation(row, name) for name in ("epe", "epe_noc", "epe_occ")]
        lines.append([settings["term"], settings["rounding"] or "", settings["strength"], *figures])
    headings = ["term", "rounding (px/px)", "strength", "EPE (px)", "visible (px)", "occluded (px)"]
    write_table(folder, headings, lines)


def validation(row: Row, measure: str) -> float:
    """Return the mean over the images that have such pixels."""
    return mean(value for value in row["results"]["layers"][measure] if value is not None)


def write_points(folder: Path, fronts: dict[str, Front]) -> None:
    """Write every point of the fronts, means of seeds and images."""
    lines: list[list[str | int | float]] = []
    columns = [("layers", "epe"), ("layers", "epe_noc"), ("layers", "epe_occ")]
    columns += [("middlebury", "epe"), ("sintel", "epe"), ("sintel final", "epe")]
    for front in fronts.values():
        found = [means(front.errors(*c)).mean(axis=1) if front.has(c[0]) else None for c in columns]
        for i, strength in enumerate(front.strengths):
            settings = front.rows[strength, front.seeds[0]]["settings"]
            figures = [math.nan if values is None else float(values[i]) for values in found]
            lines.append([front.name, settings["rounding"] or "", strength, len(front.seeds), *figures])
    headings = ["term", "rounding (px/px)", "strength", "seeds", "EPE (px)", "visible (px)", "occluded (px)"]
    write_table(folder, [*headings, "Middlebury (px)", "Sintel clean (px)", "Sintel final (px)"], lines)


def write_lengths(folder: Path, rows: Sequence[Row], lengths: Sequence[int]) -> None:
    """Write every point of the terms with longer trainings, for each number of steps, and compare the terms."""
    points = {point(row) for row in rows if row["settings"]["steps"] == lengths[-1]}
    lines: list[list[str | int | float]] = []
    for steps in lengths:
        found = [row for row in rows if row["settings"]["steps"] == steps and point(row) in points]
        fronts = read_fronts(found, by_rounding=True)  # all with the same strengths
        for name, front in fronts.items():
            columns = [means(front.errors("layers", m)).mean(axis=1) for m in ("epe", "epe_noc", "epe_occ")]
            for i, strength in enumerate(front.strengths):
                change = str(compared(front, fronts[BASELINE], "layers", "epe_occ", at=i))
                lines.append([steps, name, len(front.seeds), strength, *(float(c[i]) for c in columns), change])
    headings = ["steps", "term", "seeds", "strength", "EPE (px)", "visible (px)", "occluded (px)"]
    heading = "occluded: change at the visible EPE of total variation at this strength (%)"
    write_table(folder, [*headings, heading], lines)


def point(row: Row) -> tuple[str, int, float, int]:
    """Return term, ramp, strength and seed of a row."""
    settings = row["settings"]
    return settings["term"], settings["ramp"], settings["strength"], settings["seed"]


def write_comparison(folder: Path, fronts: dict[str, Front]) -> None:
    """Write a line for each term: its best strength, and its figures at the visible error of total variation."""
    lines: list[list[str | int | float]] = []
    shown = {title: place for title, place in COMPARED.items() if fronts[BASELINE].has(place[0])}
    for name, front in fronts.items():
        best = front.best()
        errors = means(front.errors("layers", "epe")).mean(axis=1)
        ends = tolerated(front.strengths, errors.tolist()) if len(front.strengths) > 1 else ("", "")
        line: list[str | int | float] = [name, len(front.seeds), front.strengths[best], float(errors[best]), *ends]
        line.append(steps_to(front, fronts[BASELINE]))
        line += [str(compared(front, fronts[BASELINE], *place)) for place in shown.values()]
        lines.append(line)
    headings = ["term", "seeds", "best strength", "its EPE (px)", "EPE within 5 % from strength", "to strength"]
    headings += ["steps to total variation's best final EPE (validation)"]
    headings += [f"{title}: change at equal visible EPE (%)" for title in shown]
    write_table(folder, headings, lines)


def write_levels(folder: Path, fronts: dict[str, Front]) -> None:
    """Write the change of the occluded error at the visible error of every useful strength of total variation."""
    baseline = fronts[BASELINE]
    errors = means(baseline.errors("layers", "epe")).mean(axis=1)
    levels = [i for i, error in enumerate(errors) if error <= USEFUL * errors.min()]
    lines: list[list[str | int | float]] = [
        [name, len(front.seeds), *(str(compared(front, baseline, "layers", "epe_occ", at=i)) for i in levels)]
        for name, front in fronts.items()
        if name != BASELINE and len(front.strengths) > 1
    ]
    visible = means(baseline.errors("layers", "epe_noc")).mean(axis=1)
    titles = [f"strength {baseline.strengths[i]:g}, visible EPE {visible[i]:.3f} px" for i in levels]
    write_table(folder, ["term", "seeds", *(f"total variation of {title}: occluded (%)" for title in titles)], lines)


def compared(front: Front, baseline: Front, place: str, measure: str, *, at: int | None = None) -> Comparison:
    """Compare an error with that of the baseline at equal visible error, on the common seeds.

    Args:
        front, baseline: fronts of two terms.
        place, measure: the error.
        at: index of the baseline's strength; None: the best one.
    """
    seeds = [seed for seed in front.seeds if seed in baseline.seeds]
    if front.name == baseline.name or len(front.strengths) < 2:
        return Comparison(UNDEFINED, 0, 0)
    index = baseline.best() if at is None else at
    levels = means(baseline.errors("layers", "epe_noc", seeds))[index]
    visible = means(front.errors("layers", "epe_noc", seeds))
    mixes: list[Mix | None] = [at_level(visible[:, i].tolist(), level) for i, level in enumerate(levels)]
    reached = [i for i, mix in enumerate(mixes) if mix is not None]
    if not reached:
        return Comparison(UNDEFINED, 0, len(seeds))
    ours = mixed(front.errors(place, measure, seeds), mixes)
    theirs: NDArray[np.float64] = baseline.errors(place, measure, seeds)[index]
    return Comparison(relative_change(ours[reached], theirs[reached]), len(reached), len(seeds))


def steps_to(front: Front, baseline: Front) -> str:
    """Return the median steps until the validation EPE is at most the baseline's final one, at the best strengths."""
    seeds = [seed for seed in front.seeds if seed in baseline.seeds]
    if not seeds:
        return ""
    found = sorted(first_at(front.best_row(seed), curve(baseline, seed)["epe"][-1]) for seed in seeds)
    middle = float(np.median(found))
    return "never" if math.isinf(middle) else f"{middle:.0f}"


def curve(front: Front, seed: int) -> dict[str, list[float]]:
    """Return the learning curve of a seed at the best strength of the front."""
    found: dict[str, list[float]] = front.best_row(seed)["results"]["curve"]
    return found


def draw(path: Path, fronts: dict[str, Front]) -> None:
    """Draw fronts, EPE by strength, and learning curves."""
    figure = Figure(figsize=(15, 5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for number, (name, front) in enumerate(fronts.items()):
        style = {"color": f"C{number % 10}", "marker": "o", "ms": 4, "ls": "--" if name.endswith("ramp") else "-"}
        visible, occluded, epe = (
            means(front.errors("layers", measure)).mean(axis=1) for measure in ("epe_noc", "epe_occ", "epe")
        )
        left.plot(visible, occluded, label=f"{name} (n = {len(front.seeds)})", **style)
        middle.plot(front.strengths, epe, **style)
        curves = [curve(front, seed) for seed in front.seeds]
        right.plot(curves[0]["step"], np.mean([points["epe"] for points in curves], axis=0), **style)
    left.set(
        xlabel="EPE of visible pixels (px), test", ylabel="EPE of occluded pixels (px), test",
        title="Both errors at each strength: lower left is better",
    )  # fmt: skip
    left.set_xlim(right=1.5 * min(line.get_xdata().min() for line in left.lines))  # type: ignore[union-attr]
    middle.set(xscale="log", xlabel="strength (slope on strong edges)", ylabel="EPE (px), test", title="All pixels")
    right.set(xlabel="training steps", ylabel="EPE (px), validation", title="Training at the best strength")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    figure.savefig(path, dpi=110)

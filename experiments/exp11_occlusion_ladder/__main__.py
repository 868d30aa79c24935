"""What lowers the error of occluded pixels, one ingredient at a time and together?

Question: which change of the recipe lowers the error of pixels that the second frame does not show, and is there a
recipe without labels whose error there is 30 % below that of plain total variation, at an equal or lower error of
visible pixels?

Command: make reproduce EXP=11, which repeats one stored run and compares it with its row. FULL=1 make reproduce EXP=11
runs the grid, and continues it after a stop; SEEDS=1 limits it to the first seed. Hours on two CPU cores, one process
each: about 0.8 for each seed.

Protocol:
- Recipe: the quickstart with 600 steps; seeds 0 to 2. The same network, samples, steps and schedule for all arms. Arms
  with a student or a teacher need more time for a step; the table has the seconds of a run.
- Total variation at three strengths; the one with the lowest EPE of validation samples is the baseline. The unrolled
  term (T = 4, detached, the quickstart's threshold) at two strengths; the lower one is that of the quickstart. Every
  ingredient is added to the lower strength.
- Together: all ingredients that lower the mean occluded EPE of validation samples by at least 1 % and do not raise the
  EPE of all pixels, at both strengths. Of ingredients that exclude each other, the better one is used.
- Bound: the same network on ground truth (configs/objective/supervised.yaml), without the random exchange of frames.
- Errors on 256 test samples of MovingLayers, which were not used for any choice, and, below UNROLLFLOW_DATA_DIR, on
  Middlebury and Sintel final. The interval of a change is a paired bootstrap over seeds and images.
- Labels from three frames are not an arm: MovingLayers has pairs only (`unrollflow label` computes such labels for
  films).
"""

import os
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from statistics import mean

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.common.accuracy import benchmark_sets, data_folder, final_layers, held_out, image_errors, network_flow
from experiments.common.grid import Results, Row, Settings, check_again, identity, read_rows, run_grid
from experiments.common.recipe import fit_quickstart, without_exchange
from experiments.common.results import percent, write_table
from experiments.exp10_smoothness_front.forms import arguments as smoothness
from experiments.exp11_occlusion_ladder.ingredients import INGREDIENTS, arguments, compatible, factor
from unrollflow.contracts import FlowSample
from unrollflow.metrics.paired import relative_change

RESULTS = Path(__file__).with_name("results")

STEPS, IMAGES, SEEDS = 600, 256, (0, 1, 2)
BASELINE, UNROLLED = "total variation", "unrolled, T = 4, detached"
ROUNDINGS = {BASELINE: 0.0, UNROLLED: 0.3}
BASELINE_STRENGTHS = (0.25, 0.6, 1.5)
STRENGTH, STRONG = 0.75, 1.5
LEAST_GAIN = 0.01
"""Relative reduction of the occluded EPE of an ingredient that is used together with others."""

MEASURES = ("epe", "epe_noc", "epe_occ")
BENCHMARKS = ("middlebury", "sintel final")
SEPARATOR = " + "
LABELS = "ground truth"
SMOKE_STEPS, SMOKE_IMAGES = 4, 2


def trained(*, term: str, strength: float, ingredients: str, seed: int, steps: int, images: int) -> Results:
    """Train once, and return the errors of each image.

    Args:
        term: smoothness term, a key of :data:`ROUNDINGS`; :data:`LABELS`: train with ground truth.
        strength: weight of the term, in the unit of total variation.
        ingredients: names of ingredients, joined by :data:`SEPARATOR`; "": none.
        seed: seed of weights, samples and order.
        steps: number of training steps.
        images: largest number of images of each set.
    """
    names = ingredients.split(SEPARATOR) if ingredients else []
    supervised = term == LABELS
    if supervised:
        changes = ["--data.transform", without_exchange()]
    else:
        slope = strength * factor(names)
        changes = smoothness(term, rounding=ROUNDINGS[term], strength=slope, ramp=0) + arguments(names, steps=steps)
    module = fit_quickstart(changes, seed=seed, steps=steps, supervised=supervised).module
    validation, test = held_out(), final_layers()
    sets: dict[str, Iterable[FlowSample]] = {
        "validation": [validation[index] for index in range(min(images, len(validation)))],
        "test": [test[index] for index in range(images)],
    }
    sets |= {name: islice(pairs, images) for name, pairs in benchmark_sets(data_folder(), *BENCHMARKS).items()}
    return {name: image_errors(network_flow(module), pairs, MEASURES) for name, pairs in sets.items()}


def arm(term: str, strength: float, *names: str) -> dict[str, str | float]:
    """Return the settings of an arm."""
    return {"term": term, "strength": strength, "ingredients": SEPARATOR.join(names)}


def single_arms() -> list[dict[str, str | float]]:
    """Return the arms before the choice of the ingredients."""
    return [
        *(arm(BASELINE, strength) for strength in BASELINE_STRENGTHS),
        arm(UNROLLED, STRENGTH),
        arm(UNROLLED, STRONG),
        *(arm(UNROLLED, STRENGTH, name) for name in INGREDIENTS),
        arm(LABELS, 0.0),
    ]


def together_arms(rows: Sequence[Row]) -> list[dict[str, str | float]]:
    """Return the arms with all helpful ingredients; none if fewer than two help."""
    names = helpful(rows)
    return [arm(UNROLLED, strength, *names) for strength in (STRENGTH, STRONG)] if len(names) > 1 else []


def helpful(rows: Sequence[Row]) -> list[str]:
    """Return the ingredients that lower the occluded EPE of validation samples, the best one first."""
    base = arm(UNROLLED, STRENGTH)
    all_pixels, occluded = (mean_error(rows, base, "validation", measure) for measure in ("epe", "epe_occ"))
    gains = {}
    for name in INGREDIENTS:
        own = base | {"ingredients": name}
        gain = 1 - mean_error(rows, own, "validation", "epe_occ") / occluded
        if gain >= LEAST_GAIN and mean_error(rows, own, "validation", "epe") <= all_pixels:
            gains[name] = gain
    return compatible(sorted(gains, key=lambda name: -gains[name]))


def errors(rows: Sequence[Row], chosen: Settings, place: str, measure: str) -> NDArray[np.float64]:
    """Return the errors (seeds, images) of an arm, pixels; NaN for images without such pixels."""
    own = [row for row in rows if chosen.items() <= row["settings"].items()]
    own.sort(key=lambda row: row["settings"]["seed"])
    return np.array([row["results"][place][measure] for row in own], dtype=np.float64)


def mean_error(rows: Sequence[Row], chosen: Settings, place: str, measure: str) -> float:
    """Return the mean error of an arm over seeds and images, pixels."""
    return float(np.nanmean(errors(rows, chosen, place, measure)))


def best_baseline(rows: Sequence[Row]) -> dict[str, str | float]:
    """Return the arm of total variation with the lowest EPE of validation samples."""
    arms = [arm(BASELINE, strength) for strength in BASELINE_STRENGTHS]
    return min(arms, key=lambda chosen: mean_error(rows, chosen, "validation", "epe"))


def run_protocol(store: Path, seeds: Sequence[int], *, steps: int, images: int, processes: int) -> None:
    """Train the single arms, then those with all helpful ingredients; finished runs of the store are skipped."""

    def cells(arms: Sequence[Settings]) -> list[Settings]:
        return [{**chosen, "seed": seed, "steps": steps, "images": images} for seed in seeds for chosen in arms]

    rows = run_grid(cells(single_arms()), trained, store, processes=processes, about="single ingredients")
    run_grid(cells(together_arms(rows)), trained, store, processes=processes, about="together")


def complete(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the seeds for which all single arms have been trained."""
    counts = dict.fromkeys(SEEDS, 0)
    single = [identity(chosen) for chosen in single_arms()]
    for row in rows:
        settings = row["settings"]
        counts[settings["seed"]] += identity({name: settings[name] for name in arm("", 0.0)}) in single
    return [row for row in rows if counts[row["settings"]["seed"]] == len(single)]


def write_report(folder: Path, rows: Sequence[Row]) -> None:
    """Write the table and figure.png."""
    arms = list({identity(a): a for a in (settings_of(row) for row in rows)}.values())
    order = {identity(chosen): i for i, chosen in enumerate(single_arms())}
    arms.sort(key=lambda chosen: order.get(identity(chosen), len(order)))
    baseline, base = best_baseline(rows), arm(UNROLLED, STRENGTH)
    places = [name for name in BENCHMARKS if name in rows[0]["results"]]
    lines: list[list[str | int | float]] = []
    for chosen in arms:
        own = [row for row in rows if settings_of(row) == chosen]
        figures = [mean_error(rows, chosen, "test", measure) for measure in MEASURES]
        figures += [mean_error(rows, chosen, place, "epe") for place in places]
        seconds = mean(row["seconds"] for row in own)
        changes = [
            change(rows, chosen, other, measure) for other in (baseline, base) for measure in ("epe_noc", "epe_occ")
        ]
        lines.append([chosen["term"], chosen["strength"], chosen["ingredients"], len(own), *figures, seconds, *changes])
    headings = ["term", "strength", "ingredients", "seeds", "EPE (px)", "visible (px)", "occluded (px)"]
    headings += [f"EPE {place} (px)" for place in places] + ["seconds of a run"]
    headings += [
        f"{pixels}: change against {other} (%)"
        for other in ("total variation", "no ingredient")
        for pixels in ("visible", "occluded")
    ]
    write_table(folder, headings, lines)
    draw(folder / "figure.png", rows, arms)


def settings_of(row: Row) -> dict[str, str | float]:
    """Return the arm of a row."""
    return {name: row["settings"][name] for name in arm("", 0.0)}


def change(rows: Sequence[Row], chosen: Settings, other: Settings, measure: str) -> str:
    """Return the relative change of a test error against another arm as text, with its interval; "" for itself."""
    if chosen == other:
        return ""
    ours, theirs = (errors(rows, settings, "test", measure) for settings in (chosen, other))
    return percent(relative_change(ours, theirs))


def draw(path: Path, rows: Sequence[Row], arms: Sequence[Settings]) -> None:
    """Draw occluded against visible error of every arm."""
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axes = figure.subplots()
    for number, chosen in enumerate(arms):
        name = f"{chosen['term']}, {chosen['strength']:g}" if not chosen["ingredients"] else str(chosen["ingredients"])
        if SEPARATOR in name:
            name = f"together, {chosen['strength']:g}"
        visible, occluded = (mean_error(rows, chosen, "test", measure) for measure in ("epe_noc", "epe_occ"))
        marker = "s" if not chosen["ingredients"] else "*" if name.startswith("together") else "o"
        axes.plot(visible, occluded, marker, ms=9, color=colormaps["tab20"](number % 20), label=name)
    axes.set(xlabel="EPE of visible pixels (px), test", ylabel="EPE of occluded pixels (px), test")
    axes.set_title("Lower left is better")
    figure.legend(loc="outside right center", fontsize="small")
    figure.savefig(path, dpi=110)


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Verify a run, or run all with FULL=1; then write table and figure of the stored rows."""
    store = folder / "rows.jsonl"
    if smoke:
        run_protocol(store, SEEDS[:1], steps=SMOKE_STEPS, images=SMOKE_IMAGES, processes=1)
    elif os.environ.get("FULL") == "1":
        seeds = SEEDS[: int(os.environ.get("SEEDS", len(SEEDS)))]
        run_protocol(store, seeds, steps=STEPS, images=IMAGES, processes=os.cpu_count() or 1)
    else:
        known = [row for row in read_rows(store) if settings_of(row) == arm(BASELINE, BASELINE_STRENGTHS[1])]
        check_again(known, trained, lambda results: float(mean(results["test"]["epe"])))
    write_report(folder, complete(read_rows(store)))


if __name__ == "__main__":
    main()

"""Does unrolling give a lower error of occluded pixels at an equal error of visible pixels?

Question: the weight of a smoothness term trades the error of visible pixels against that of occluded ones, so two terms
cannot be compared at one weight each. Here every term has a front: both errors at six strengths. The network is
PyramidMatcher. Its errors are below those of OpenCV DIS after some minutes (experiment 04 used a small PWC-Lite).

Command: make reproduce EXP=10, which trains one stated cell of the grid again (two minutes) and compares it with the
committed row. FULL=1 make reproduce EXP=10 runs the grid, and continues it after a stop. SEEDS=2 limits it to the first
two seeds.

Hours on two CPU cores, one process each: search 0.5, then 0.75 for each seed of the main terms
and 0.7 for each seed of the others (estimated from 0.4 s a step).

Protocol:
- Recipe: the quickstart (census, visibility test, AdamW, OneCycle, averaged weights, samples, crops). It was developed
  with the term "unrolled, T = 4, detached", and was not tuned again for the other terms. Operator (forward differences
  of first order), resolution and edge weights are equal for all terms.
- Search, 200 steps, seed 100, validation images: three roundings at two strengths for each term that has a rounding;
  six strengths of total variation, so that every term has six trials. The rounding with the lowest EPE at its better
  strength is used. Terms of the released form with other T use the rounding of T = 1.
- Fronts, 300 steps, seeds 0 to 4, six strengths from too little to too much, measured on 256 test images that were not
  used for any choice, on Sintel clean and final, and on Middlebury. No ramp of the weight; total variation and the term
  of the recipe have a second front with a ramp over half of the steps.
- Primary figure: change of the EPE of occluded test pixels against total variation, at the visible EPE of total
  variation at its best strength (lowest EPE of all pixels, mean of the seeds). The front of each seed is interpolated
  separately at that level; the interval is a paired bootstrap over seeds and images. The figures of Sintel and
  Middlebury are of the same points. The interval does not include the choice of the roundings.
- Length: total variation and the term of the recipe at three strengths for 900 steps, as long as the quickstart, with
  two seeds: does their order change? The term of the recipe has the chosen rounding, and the quickstart's.
- Tolerance: the range of strengths whose EPE of all pixels is within 5 % of the best one's.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import mean

from experiments.common.accuracy import benchmark_sets, data_folder, final_layers, held_out, image_errors, network_flow
from experiments.common.grid import Results, Row, Settings, Value, check_again, identity, read_rows, run_grid
from experiments.common.recipe import fit_quickstart
from experiments.exp10_smoothness_front.forms import FORMS, SHARED, arguments
from experiments.exp10_smoothness_front.report import write_report
from unrollflow.contracts import FlowSample
from unrollflow.data.transforms.motion_boundaries import WithBoundaryDistance

RESULTS = Path(__file__).with_name("results")

SEARCH_STEPS, FRONT_STEPS, VALIDATIONS = 200, 300, 5
SEARCH_SEED, SEEDS = 100, (0, 1, 2, 3, 4)
SEARCHED = (0.4, 1.2)
STRENGTHS = (0.1, 0.25, 0.6, 1.5, 3.5, 8.0)
MAIN = (
    "none", "total variation", "Charbonnier", "Huber", "unrolled, T = 4, detached", "unrolled, T = 1, released",
)  # fmt: skip
"""Terms with fronts that are trained first."""

RAMPED = ("total variation", "unrolled, T = 4, detached")
LONG_STEPS, LONG_STRENGTHS, LONG_SEEDS = 900, STRENGTHS[1:4], 2
QUICKSTART_ROUNDING = 0.3
IMAGES = 256
MEASURES = ("epe", "epe_noc", "epe_occ", "epe_d0_5", "epe_d10_60")

SMOKE = {"steps": 6, "images": 2}
VERIFIED = {"term": "total variation", "rounding": 0.0, "strength": 0.6}


def trained(
    *, term: str, rounding: float, strength: float, ramp: int, seed: int, steps: int, images: int, test: bool
) -> Results:
    """Return the learning curve of a training, and its errors on each image.

    Args:
        term, rounding, strength, ramp: see :func:`~experiments.exp10_smoothness_front.forms.arguments`.
        seed: seed of weights, samples and order.
        steps: number of training steps.
        images: largest number of images of each set.
        test: measure test images and benchmark sequences; False: validation images.
    """
    words = arguments(term, rounding=rounding, strength=strength, ramp=ramp)
    module, curve = fit_quickstart(words, seed=seed, steps=steps, validations=max(1, min(VALIDATIONS, steps // 40)))
    layers = final_layers() if test else held_out()
    sets: dict[str, Iterable[FlowSample]] = {"layers": [layers[index] for index in range(images)]}
    if test:
        found = benchmark_sets(data_folder(), "middlebury", "sintel", "sintel final")
        sets |= {name: list(islice(WithBoundaryDistance(pairs), images)) for name, pairs in found.items()}  # type: ignore[arg-type, call-overload]
    return {"curve": curve} | {
        name: image_errors(network_flow(module), pairs, MEASURES) for name, pairs in sets.items()
    }


def search_cells() -> list[Settings]:
    """Return the trials of the roundings, and an equal number of trials of the strength of total variation."""
    trials = [
        (name, rounding, strength)
        for name, form in FORMS.items()
        if len(form.roundings) > 1
        for rounding in form.roundings
        for strength in SEARCHED
    ]
    trials += [("total variation", 0.0, strength) for strength in STRENGTHS]
    return [
        {"term": name, "rounding": rounding, "strength": strength, **search_settings()}
        for name, rounding, strength in trials
    ]


def search_settings() -> dict[str, Value]:
    """Return the settings that all trials share."""
    return {"ramp": 0, "seed": SEARCH_SEED, "steps": SEARCH_STEPS, "images": len(held_out()), "test": False}


def chosen_roundings(rows: Iterable[Row]) -> dict[str, float]:
    """Return the rounding of each term: that of the trial with the lowest EPE."""
    best: dict[str, Row] = {}
    for row in rows:
        name = row["settings"]["term"]
        if name not in best or mean(row["results"]["layers"]["epe"]) < mean(best[name]["results"]["layers"]["epe"]):
            best[name] = row
    found = {name: float(row["settings"]["rounding"]) for name, row in best.items()}
    return {name: found.get(SHARED.get(name, name), 0.0) for name in FORMS}


def front_cells(roundings: Mapping[str, float], seeds: Sequence[int]) -> list[Settings]:
    """Return every term at every strength: the main terms by seed, then the others and those with a ramp."""
    common = {"steps": FRONT_STEPS, "images": IMAGES, "test": True}
    first = [(name, 0) for name in MAIN]
    second = [(name, 0) for name in FORMS if name not in MAIN] + [(name, FRONT_STEPS // 2) for name in RAMPED]
    return [
        {
            "term": name, "rounding": roundings[name], "strength": strength, "ramp": ramp, "seed": seed, **common
        }
        for arms in (first, second)
        for seed in seeds
        for name, ramp in arms
        for strength in (STRENGTHS if name != "none" else STRENGTHS[:1])
    ]  # fmt: skip


def long_cells(roundings: Mapping[str, float], seeds: Sequence[int]) -> list[Settings]:
    """Return the longer trainings of two terms."""
    hard, unrolled = RAMPED
    arms = [(hard, 0.0), *((unrolled, rounding) for rounding in sorted({roundings[unrolled], QUICKSTART_ROUNDING}))]
    common = {"ramp": 0, "steps": LONG_STEPS, "images": IMAGES, "test": True}
    return [
        {"term": name, "rounding": rounding, "strength": strength, "seed": seed, **common}
        for seed in seeds[:LONG_SEEDS]
        for name, rounding in arms
        for strength in LONG_STRENGTHS
    ]


def run_protocol(store: Path, seeds: Sequence[int], processes: int) -> None:
    """Search, choose the roundings, and train the fronts; finished runs of the store are skipped."""
    roundings = chosen_roundings(run_grid(search_cells(), trained, store, processes=processes, about="search"))
    main = [cell for cell in front_cells(roundings, seeds) if cell["term"] in MAIN and not cell["ramp"]]
    run_grid(main, trained, store, processes=processes, about="fronts of the main terms")
    run_grid(long_cells(roundings, seeds), trained, store, processes=processes, about="longer trainings")
    run_grid(front_cells(roundings, seeds), trained, store, processes=processes, about="all fronts")


def smoke_cells() -> list[Settings]:
    """Run two terms at two strengths for a few steps."""
    return [
        {"term": name, "rounding": 0.1, "strength": strength, "ramp": 0, "seed": 0, "test": True, **SMOKE}
        for name in RAMPED
        for strength in STRENGTHS[1:3]
    ]


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Verify a cell, or train all with FULL=1; then write tables and figure of the stored rows."""
    store = folder / "rows.jsonl"
    if smoke:
        run_grid(smoke_cells(), trained, store)
    elif os.environ.get("FULL") == "1":
        run_protocol(store, SEEDS[: int(os.environ.get("SEEDS", len(SEEDS)))], processes=os.cpu_count() or 1)
    else:
        verified = identity(VERIFIED | search_settings())
        known = [row for row in read_rows(store) if identity(row["settings"]) == verified]
        check_again(known, trained, lambda results: float(mean(results["layers"]["epe"])))
    write_report(folder, read_rows(store))


if __name__ == "__main__":
    main()

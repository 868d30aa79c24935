"""Which settings the terms of experiment 04 are tried with, the same number for each family, and which of them win."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from experiments.common.grid import Row, Settings, Value, identity, significant

FAMILY = {
    "none": "none", "tv": "hard", "charbonnier": "hard", "huber": "hard", "unrolled": "unrolled",
    "supervised": "supervised",
}  # fmt: skip
RIVALS = ("hard", "unrolled")
FINALISTS = ("none", *RIVALS, "supervised")
RATE = 1.4e-3
SCAN = (0.3, 1.0, 3.0)
"""Factors on a finalist's weight with which it is trained again: how far from its best weight does it train?"""

SCAN_SEEDS = (6, 8)
"""Of these runs, which chose nothing; the search's is 0."""

LONG_SEED = 7
"""Of the runs that choose the weights of the finals."""

SPREAD = {"weight": 4.0, "scale": 3.0, "learning_rate": 2.0}
"""A refining trial multiplies a setting of the best one by this to the power of a draw from -1 to 1."""

TOLERATED = 1.05
"""EPE of all pixels against the best without smoothness, up to which a trial is of use: the rates of `none` alone make
a difference of 2.6 %."""


class Protocol(NamedTuple):
    """How long and on what.

    Attributes:
        search_steps, final_steps: of training.
        factors: on a finalist's weight, with which it is trained once more as long as a final: a longer training bears
            more smoothness.
        samples: different training pairs.
        images: of validation.
        test_images: in the finals alone.
        seeds: of the finals; the search has seed 0.
        supervised_seeds: of the finals of `supervised`.
        starts: trials of each rival family with fixed settings.
        rounds: of refinement.
        refinements: trials of each rival family in a round.
        rates: learning rates that `none` is tried with.
        supervised_rates: those of `supervised`.
        points: of a final's learning curve.
    """

    search_steps: int = 900
    final_steps: int = 4000
    factors: tuple[float, ...] = (1.0, 1.7, 3.0)
    samples: int = 4000
    images: int = 128
    test_images: int = 256
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    supervised_seeds: tuple[int, ...] = (1,)
    starts: int = 16
    rounds: int = 2
    refinements: int = 2
    rates: tuple[float, ...] = (RATE / 2, RATE, 2 * RATE)
    supervised_rates: tuple[float, ...] = (RATE / 4, RATE / 2, RATE, 2 * RATE)
    points: int = 16

    def trial(self, settings: Settings) -> dict[str, Value]:
        """A run of the search."""
        shared = {"seed": 0, "steps": self.search_steps, "samples": self.samples, "images": self.images, "points": 6}
        return {**settings, **shared}

    def long_trials(self, rows: Sequence[Row]) -> list[dict[str, Value]]:
        """Runs as long as a final: `none`'s finalist among the trials, and the rivals' with each of the factors."""
        cells = [cell for family in RIVALS for cell in reweighted(finalist(rows, family)["settings"], self.factors)]
        longer = {"steps": self.final_steps, "points": self.points, "seed": LONG_SEED}
        return [{**settings, **longer} for settings in (*cells, finalist(rows, "none")["settings"])]

    def finals(self, rows: Sequence[Row]) -> list[dict[str, Value]]:
        """The finals' runs, seed by seed: the rivals' winners of the long trials, and the others' finalists."""
        longer = {"steps": self.final_steps, "points": self.points, "test_images": self.test_images}
        chosen = {
            family: (long_winner if family in RIVALS else finalist)(rows, family)["settings"] for family in FINALISTS
        }
        return [
            {**settings, **longer, "seed": seed}
            for seed in self.seeds
            for family, settings in chosen.items()
            if family != "supervised" or seed in self.supervised_seeds
        ]

    def scan(self, rows: Sequence[Row]) -> list[dict[str, Value]]:
        """The finalist of `none`, and those of the rivals with other weights, with the ramp and from the first step."""
        cells: list[Settings] = [finalist(rows, "none")["settings"]]
        for family in RIVALS:
            weights = reweighted(finalist(rows, family)["settings"], SCAN)
            cells += [*weights, *(chosen | {"ramp": 0.0} for chosen in weights)]
        return [{**settings, "seed": seed} for seed in SCAN_SEEDS for settings in cells]

    def own(self, rows: Sequence[Row]) -> list[Row]:
        """Rows of this protocol: a store may hold those of another, and of what were finalists before more trials."""
        own = [row for row in rows if row["settings"].get("steps") == self.search_steps and is_trial(row)]
        if not all(search_rows(own, family) for family in FINALISTS):
            return own
        own += among(rows, self.long_trials(own) + self.scan(own))
        if all(long_rows(own, family) for family in ("none", *RIVALS)):
            own += among(rows, self.finals(own))
        return own


def reweighted(settings: Settings, factors: Sequence[float]) -> list[Settings]:
    """The same settings with other weights."""
    return [settings | {"weight": significant(settings["weight"] * factor)} for factor in factors]


def among(rows: Sequence[Row], cells: Sequence[Settings]) -> list[Row]:
    """Those rows that are runs of some cells."""
    wanted = {identity(cell) for cell in cells}
    return [row for row in rows if identity(row["settings"]) in wanted]


def reference_trials(protocol: Protocol, term: str) -> list[Settings]:
    """Of `none` or `supervised` the learning rate alone is to be found."""
    rates = protocol.supervised_rates if term == "supervised" else protocol.rates
    return [protocol.trial({"term": term, "learning_rate": rate}) for rate in rates]


def starting_trials(protocol: Protocol) -> list[Settings]:
    """The core grid, hard and unrolled by turns: whatever has been run, both families have had as many trials."""
    hard = [{"term": "tv", "weight": weight} for weight in (0.03, 0.1, 0.3, 1.0)]
    hard += [
        {"term": term, "weight": weight, "scale": scale}
        for term, scales in (("charbonnier", (0.03, 0.3)), ("huber", (0.1, 1.0)))
        for scale in scales
        for weight in (0.1, 0.3, 1.0)
    ]
    unrolled = [
        {
            "term": "unrolled", "weight": weight, "scale": 0.3, "iterations": iterations, "detach": detach,
            "initial_term": initial,
        }
        for weight in (1.0, 0.3)
        for iterations in (1, 4)
        for detach in (False, True)
        for initial in (True, False)
    ]  # fmt: skip
    turns = zip(hard[: protocol.starts], unrolled[: protocol.starts], strict=True)
    return [protocol.trial({**settings, "learning_rate": RATE}) for pair in turns for settings in pair]


def refined(best: Settings, number: int) -> Settings:
    """A trial beside the best one: weight, scale and learning rate times random factors; `number` decides them."""
    generator = np.random.default_rng(number)
    factors = {name: spread ** generator.uniform(-1, 1) for name, spread in SPREAD.items()}
    return best | {name: significant(best[name] * factor) for name, factor in factors.items() if name in best}


def is_final(row: Row) -> bool:
    """Whether a run was measured on test data."""
    return bool(row["settings"].get("test_images"))


def is_trial(row: Row) -> bool:
    """Whether a run is one of the search, which finalists are chosen of."""
    return not is_final(row) and row["settings"]["seed"] not in (*SCAN_SEEDS, LONG_SEED)


def search_rows(rows: Sequence[Row], family: str) -> list[Row]:
    """Trials of a family among any rows."""
    return [row for row in rows if FAMILY[row["settings"]["term"]] == family and is_trial(row)]


def scan_rows(rows: Sequence[Row], family: str) -> list[Row]:
    """Runs of a family's finalist with other weights, by weight."""
    return seeded(rows, family, *SCAN_SEEDS)


def long_rows(rows: Sequence[Row], family: str) -> list[Row]:
    """Those that are as long as a final, by weight."""
    return seeded(rows, family, LONG_SEED)


def seeded(rows: Sequence[Row], family: str, *seeds: int) -> list[Row]:
    """Runs of a family with some seeds, by weight."""
    chosen = [row for row in rows if row["settings"]["seed"] in seeds and FAMILY[row["settings"]["term"]] == family]
    return sorted(chosen, key=lambda row: row["settings"].get("weight", 0.0))


def ramped(row: Row) -> bool:
    """Whether the weight rose from 0, as it does where nothing else is said."""
    return bool(row["settings"].get("ramp", True))


def alike(rows: Sequence[Row]) -> list[list[Row]]:
    """Runs that differ in their seed alone, together."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(identity({**row["settings"], "seed": 0}), []).append(row)
    return list(groups.values())


def mean_error(rows: Sequence[Row], measure: str) -> float:
    """Of some runs' validation errors."""
    return float(np.mean([error(row, measure) for row in rows]))


def error(row: Row, measure: str) -> float:
    """A validation error; one that is not finite is infinite, so that a broken run never wins."""
    value = float(row["results"]["validation"][measure])
    return value if math.isfinite(value) else math.inf


def lowest(none: Sequence[Row]) -> float:
    """The EPE of all pixels that runs without smoothness reach; infinite where there are none."""
    return min((error(row, "epe") for row in none), default=math.inf)


def useful(trials: Sequence[Row], bare: float, of: Callable[[Row, str], float] = error) -> list[Row]:
    """Trials whose EPE of all pixels is within :data:`TOLERATED` of one without smoothness.

    Args:
        trials: to choose of.
        bare: the EPE without smoothness.
        of: reads a measure of a row.
    """
    return [row for row in trials if of(row, "epe") <= TOLERATED * bare]


def winner(trials: Sequence[Row], bare: float, of: Callable[[Row, str], float] = error) -> Row:
    """The trial that goes on, by validation data; arguments as of :func:`useful`.

    The lowest EPE of occluded pixels, the figure that the paper claims, among the useful trials: a term that helps
    occluded pixels by ruining the rest is of no use. Where none is, the lowest EPE of all pixels.
    """
    within = useful(trials, bare, of)
    return min(within or trials, key=lambda row: of(row, "epe_occ" if within else "epe"))


def finalist(rows: Sequence[Row], family: str) -> Row:
    """The :func:`winner` of a family's trials; of `supervised` the one with the lowest EPE of all pixels."""
    trials = search_rows(rows, family)
    if family == "supervised":
        return min(trials, key=lambda row: error(row, "epe"))
    return winner(trials, lowest(search_rows(rows, "none")))


def long_winner(rows: Sequence[Row], family: str) -> Row:
    """The :func:`winner` of a rival's runs that are as long as a final."""
    return winner(long_rows(rows, family), lowest(long_rows(rows, "none")))

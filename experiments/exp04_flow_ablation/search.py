"""Settings of the trials of experiment 04, the same number for each family, and the choice of the best ones."""

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
"""Factors on the weight of a finalist for the sensitivity runs."""

SCAN_SEEDS = (6, 8)
"""Seeds of these runs, which are not used for any choice; the seed of the search is 0."""

LONG_SEED = 7
"""Seed of the runs that choose the weights of the finals."""

SPREAD = {"weight": 4.0, "scale": 3.0, "learning_rate": 2.0}
"""A refining trial multiplies a setting of the best trial by this number to the power of a draw from [-1, 1]."""

TOLERATED = 1.05
"""Largest EPE of all pixels of an eligible trial, relative to the best without smoothness. The rates of `none` alone
differ by 2.6 %."""


class Protocol(NamedTuple):
    """Length and data of the runs.

    Attributes:
        search_steps, final_steps: numbers of training steps.
        factors: factors on the weight of a finalist for runs as long as a final: a longer training allows more
            smoothness.
        samples: number of different training pairs.
        images: number of validation images.
        test_images: number of test images, in the finals only.
        seeds: seeds of the finals; the search has seed 0.
        supervised_seeds: seeds of the finals of `supervised`.
        starts: number of trials of each compared family with fixed settings.
        rounds: number of rounds of refinement.
        refinements: number of trials of each compared family in a round.
        rates: learning rates of the trials of `none`.
        supervised_rates: learning rates of the trials of `supervised`.
        points: number of points of the learning curve of a final.
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
        """Return a run of the search."""
        shared = {"seed": 0, "steps": self.search_steps, "samples": self.samples, "images": self.images, "points": 6}
        return {**settings, **shared}

    def long_trials(self, rows: Sequence[Row]) -> list[dict[str, Value]]:
        """Return the runs as long as a final: the finalist of `none`, and those of both families with each factor."""
        cells = [cell for family in RIVALS for cell in reweighted(finalist(rows, family)["settings"], self.factors)]
        longer = {"steps": self.final_steps, "points": self.points, "seed": LONG_SEED}
        return [{**settings, **longer} for settings in (*cells, finalist(rows, "none")["settings"])]

    def finals(self, rows: Sequence[Row]) -> list[dict[str, Value]]:
        """Return the runs of the finals by seed: winners of the long trials of both families, and other finalists."""
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
        """Return the finalist of `none`, and those of both families with other weights, with and without the ramp."""
        cells: list[Settings] = [finalist(rows, "none")["settings"]]
        for family in RIVALS:
            weights = reweighted(finalist(rows, family)["settings"], SCAN)
            cells += [*weights, *(chosen | {"ramp": 0.0} for chosen in weights)]
        return [{**settings, "seed": seed} for seed in SCAN_SEEDS for settings in cells]

    def own(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows of this protocol: a store can contain rows of earlier protocols and of earlier finalists."""
        own = [row for row in rows if row["settings"].get("steps") == self.search_steps and is_trial(row)]
        if not all(search_rows(own, family) for family in FINALISTS):
            return own
        own += among(rows, self.long_trials(own) + self.scan(own))
        if all(long_rows(own, family) for family in ("none", *RIVALS)):
            own += among(rows, self.finals(own))
        return own


def reweighted(settings: Settings, factors: Sequence[float]) -> list[Settings]:
    """Return the same settings with other weights."""
    return [settings | {"weight": significant(settings["weight"] * factor)} for factor in factors]


def among(rows: Sequence[Row], cells: Sequence[Settings]) -> list[Row]:
    """Return the rows that are runs of the given cells."""
    wanted = {identity(cell) for cell in cells}
    return [row for row in rows if identity(row["settings"]) in wanted]


def reference_trials(protocol: Protocol, term: str) -> list[Settings]:
    """Return the trials of `none` or `supervised`, which differ only in the learning rate."""
    rates = protocol.supervised_rates if term == "supervised" else protocol.rates
    return [protocol.trial({"term": term, "learning_rate": rate}) for rate in rates]


def starting_trials(protocol: Protocol) -> list[Settings]:
    """Return the core grid with alternating families, so that a partial grid has equal numbers of trials."""
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
    """Return a trial near the best one: weight, scale and learning rate times random factors that `number` seeds."""
    generator = np.random.default_rng(number)
    factors = {name: spread ** generator.uniform(-1, 1) for name, spread in SPREAD.items()}
    return best | {name: significant(best[name] * factor) for name, factor in factors.items() if name in best}


def is_final(row: Row) -> bool:
    """Return whether a run was measured on test data."""
    return bool(row["settings"].get("test_images"))


def is_trial(row: Row) -> bool:
    """Return whether a run is a trial of the search, from which finalists are chosen."""
    return not is_final(row) and row["settings"]["seed"] not in (*SCAN_SEEDS, LONG_SEED)


def search_rows(rows: Sequence[Row], family: str) -> list[Row]:
    """Return the trials of a family."""
    return [row for row in rows if FAMILY[row["settings"]["term"]] == family and is_trial(row)]


def scan_rows(rows: Sequence[Row], family: str) -> list[Row]:
    """Return the runs of a family's finalist with other weights, by weight."""
    return seeded(rows, family, *SCAN_SEEDS)


def long_rows(rows: Sequence[Row], family: str) -> list[Row]:
    """Return the runs that are as long as a final, by weight."""
    return seeded(rows, family, LONG_SEED)


def seeded(rows: Sequence[Row], family: str, *seeds: int) -> list[Row]:
    """Return the runs of a family with the given seeds, by weight."""
    chosen = [row for row in rows if row["settings"]["seed"] in seeds and FAMILY[row["settings"]["term"]] == family]
    return sorted(chosen, key=lambda row: row["settings"].get("weight", 0.0))


def ramped(row: Row) -> bool:
    """Return whether the weight rose from 0, which is the default."""
    return bool(row["settings"].get("ramp", True))


def alike(rows: Sequence[Row]) -> list[list[Row]]:
    """Group the runs that differ only in their seed."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(identity({**row["settings"], "seed": 0}), []).append(row)
    return list(groups.values())


def mean_error(rows: Sequence[Row], measure: str) -> float:
    """Return the mean of a validation error over runs."""
    return float(np.mean([error(row, measure) for row in rows]))


def error(row: Row, measure: str) -> float:
    """Return a validation error; infinite if it is not finite, so that a failed run never wins."""
    value = float(row["results"]["validation"][measure])
    return value if math.isfinite(value) else math.inf


def lowest(none: Sequence[Row]) -> float:
    """Return the lowest EPE of all pixels of runs without smoothness; infinite if there are none."""
    return min((error(row, "epe") for row in none), default=math.inf)


def useful(trials: Sequence[Row], bare: float, of: Callable[[Row, str], float] = error) -> list[Row]:
    """Return the trials whose EPE of all pixels is within :data:`TOLERATED` of that without smoothness.

    Args:
        trials: candidates.
        bare: the EPE without smoothness.
        of: function that reads a measure of a row.
    """
    return [row for row in trials if of(row, "epe") <= TOLERATED * bare]


def winner(trials: Sequence[Row], bare: float, of: Callable[[Row, str], float] = error) -> Row:
    """Return the best trial on validation data; arguments as for :func:`useful`.

    It has the lowest EPE of occluded pixels, the figure that the paper reports, among the useful trials, so that a term
    cannot win by making other pixels worse. Without useful trials, it has the lowest EPE of all pixels.
    """
    within = useful(trials, bare, of)
    return min(within or trials, key=lambda row: of(row, "epe_occ" if within else "epe"))


def finalist(rows: Sequence[Row], family: str) -> Row:
    """Return the :func:`winner` of a family's trials; for `supervised`, the one with the lowest EPE of all pixels."""
    trials = search_rows(rows, family)
    if family == "supervised":
        return min(trials, key=lambda row: error(row, "epe"))
    return winner(trials, lowest(search_rows(rows, "none")))


def long_winner(rows: Sequence[Row], family: str) -> Row:
    """Return the :func:`winner` of the runs of a family that are as long as a final."""
    return winner(long_rows(rows, family), lowest(long_rows(rows, "none")))

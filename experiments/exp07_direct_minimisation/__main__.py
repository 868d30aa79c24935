"""Without a network: how do optimizers and smoothness terms minimise the objective, and how accurate is the flow?

Command: make reproduce EXP=07. CPU minutes: about 5. The network is that of the shipped weights.

Pairs are those of Middlebury and Sintel below the folder that UNROLLFLOW_DATA_DIR names. Optimizers and terms are
compared at a quarter of the size, from one start: classical flow at an eighth of the size. For each optimizer, the rate
with the lowest energy is reported; ground truth is not used for any choice. The parameters of the classical solver were
chosen while looking at these pairs and FlyingChairs; experiment 14 measures the choice without each pair of
Middlebury. `seconds` are CPU seconds, summed over all threads.

The methods of opencv-contrib need a separate environment; UNROLLFLOW_CONTRIB_PYTHON is the path of its Python.
Without it, their stored rows are used:

    python -m venv contrib && contrib/bin/pip install opencv-contrib-python-headless
    UNROLLFLOW_CONTRIB_PYTHON=contrib/bin/python make reproduce EXP=07
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from experiments.common.accuracy import required_data
from experiments.common.grid import Results, Row, identity, read_rows, run_grid
from experiments.common.results import write_table
from experiments.exp07_direct_minimisation.figure import draw
from experiments.exp07_direct_minimisation.methods import CONTRIB, CONTRIB_METHODS, METHODS
from unrollflow.contracts import FlowSample
from unrollflow.data import Middlebury, MovingLayers, Sintel
from unrollflow.losses import (
    L1,
    Charbonnier,
    NoSmoothness,
    Smoothness,
    TotalVariation,
    UnrolledTotalVariation,
)
from unrollflow.metrics import endpoint_error
from unrollflow.ops import resize_flow, resize_image
from unrollflow.variational import (
    FlowEnergy,
    LinearisedFlow,
    estimate_flow,
    primal_dual_flow,
)
from unrollflow.variational.descent import descend
from unrollflow.weights import DEFAULT, read_card, weights_file

RESULTS = Path(__file__).with_name("results")

WEIGHT = 0.05
"""Weight of total variation relative to L1 colour differences, for the comparison of optimizers."""

RATES = {
    "sgd": 1.0, "momentum": 0.2, "nesterov": 0.2, "adagrad": 0.1,
    "adadelta": 1.0, "rmsprop": 0.02, "adam": 0.05, "lbfgs": 1.0,
}  # fmt: skip
MEASURED = 5
FACTORS = (0.25, 1.0, 4.0)
TERMS: dict[str, Callable[[], Smoothness]] = {
    "none": NoSmoothness,
    "total variation": TotalVariation,
    "Charbonnier": lambda: TotalVariation(penalty="charbonnier"),
    "Huber": lambda: TotalVariation(penalty="huber", delta=0.1),
    "unrolled, as released": UnrolledTotalVariation,
    "unrolled, bounded": lambda: UnrolledTotalVariation(lam=0.1, rho=1.0, steps=4, detach=True, initial_term=False),
}
TERM_WEIGHTS = (0.01, 0.05, 0.25)


def benchmark(name: str) -> Path:
    """Return the folder of a benchmark below UNROLLFLOW_DATA_DIR."""
    return required_data("middlebury and sintel") / name


def sample_of(pair: str) -> FlowSample:
    """Return a pair by its name: of Middlebury, of Sintel (`pass/scene/frame`), or `layers`, which needs no data."""
    if pair == "layers":
        return MovingLayers(split="test", size=(96, 128))[0]
    if "/" in pair:
        return next(s for s in Sintel(root=benchmark("sintel")) if s["name"] == pair)
    return next(s for s in Middlebury(root=benchmark("middlebury")) if s["name"] == pair)


def error_of(flow: Tensor, sample: FlowSample) -> float:
    """Return the mean end-point error in pixels of a flow (1, 2, h, w), at the size and valid pixels of the truth."""
    truth = sample["flow"].unsqueeze(0)
    size = (truth.shape[-2], truth.shape[-1])
    error = endpoint_error(flow if flow.shape == truth.shape else resize_flow(flow, size, align_corners=False), truth)
    return float(error[0][sample["valid"]].mean())


def shrunk(sample: FlowSample) -> tuple[Tensor, Tensor, Tensor]:
    """Return both frames (1, 3, h, w) at a quarter of their size, and the initial flow."""
    frames = [sample[name].unsqueeze(0) for name in ("image1", "image2")]
    sizes = [(frames[0].shape[-2] // n, frames[0].shape[-1] // n) for n in (4, 8)]
    coarse = LinearisedFlow(weighted_median=False, search=False).forward_only(
        *(resize_image(frame, sizes[1]) for frame in frames)
    )
    first, second = (resize_image(frame, sizes[0]) for frame in frames)
    return first, second, resize_flow(coarse, sizes[0], align_corners=False)


class Curve:
    """Energy and CPU seconds of each step of a descent, and error of every fifth step; measuring is not timed."""

    def __init__(self, sample: FlowSample) -> None:
        self.sample = sample
        self.energy: list[float] = []
        self.error: list[float] = []
        self.steps: list[int] = []
        self.seconds: list[float] = []
        self.measuring, self.begun = 0.0, time.process_time()

    def __call__(self, flow: Tensor, energy: float) -> None:
        """Record a step."""
        now = time.process_time()
        self.seconds.append(now - self.begun - self.measuring)
        self.energy.append(energy)
        if len(self.energy) % MEASURED == 1:
            self.error.append(error_of(flow, self.sample))
            self.steps.append(len(self.energy))
        self.measuring += time.process_time() - now

    def results(self) -> Results:
        """Return the results of a row."""
        return {"energy": self.energy, "epe": self.error, "epe_steps": self.steps, "cpu_seconds": self.seconds}


def run_optimizer(*, pair: str, optimizer: str, rate: float, steps: int) -> Results:
    """Minimise L1 and total variation by descent, or by the primal-dual method."""
    sample = sample_of(pair)
    first, second, flow = shrunk(sample)
    curve = Curve(sample)
    if optimizer == "primal-dual":
        primal_dual_flow(first, second, smoothness_weight=WEIGHT, initial=flow, warps=steps, on_step=curve)
    else:
        estimate_flow(
            first, second, photometric=L1(), smoothness=TotalVariation(), smoothness_weight=WEIGHT, initial=flow,
            optimizer=optimizer, rate=rate, steps=steps, on_step=curve,
        )  # fmt: skip
    return curve.results()


def run_term(*, pair: str, term: str, weight: float, steps: int) -> Results:
    """Minimise with another smoothness term by Adam; return total variation and error of the flow."""
    sample = sample_of(pair)
    first, second, flow = shrunk(sample)
    flow = estimate_flow(
        first, second, photometric=L1(), smoothness=TERMS[term](), smoothness_weight=weight, initial=flow,
        optimizer="adam", rate=0.05, steps=steps,
    )  # fmt: skip
    difference = FlowEnergy(L1(), NoSmoothness(), smoothness_weight=0)(first, second, flow)
    roughness = TotalVariation()(flow, first)
    return {"epe": error_of(flow, sample), "difference": float(difference), "roughness": float(roughness)}


def run_lesson(*, pair: str, lesson: str, rate: float, steps: int) -> Results:
    """Return the energies of three lessons on descent, on a rounded energy at an eighth of the size."""
    sample = sample_of(pair)
    frames = [sample[name].unsqueeze(0).double() for name in ("image1", "image2")]
    first, second = (resize_image(f, (f.shape[-2] // 8, f.shape[-1] // 8)) for f in frames)
    energy = FlowEnergy(Charbonnier(), TotalVariation(penalty="charbonnier", epsilon=0.1), smoothness_weight=WEIGHT)
    flow = torch.zeros_like(first[:, :2])

    def cost(field: Tensor) -> Tensor:
        return energy(first, second, field)

    if lesson == "descent":
        return {"energy": [value for _, value in descend(cost, flow, "sgd", rate=rate, steps=steps)]}
    if lesson == "random search":
        return {"energy": random_search(cost, flow, scale=rate, steps=steps)}
    return {"difference": gradient_difference(cost, flow + 0.3, width=rate)}


def random_search(cost: Callable[[Tensor], Tensor], flow: Tensor, *, scale: float, steps: int) -> list[float]:
    """Return the energies of a search that moves all pixels at random and keeps moves that reduce the energy."""
    generator = torch.Generator().manual_seed(0)
    energies = [float(cost(flow))]
    for _ in range(steps - 1):
        other = flow + scale * torch.randn(flow.shape, generator=generator, dtype=flow.dtype)
        found = float(cost(other))
        flow = other if found < energies[-1] else flow
        energies.append(min(found, energies[-1]))
    return energies


def gradient_difference(cost: Callable[[Tensor], Tensor], flow: Tensor, *, width: float) -> float:
    """Return the largest error of central differences (over 2 * width pixels), relative to the largest gradient."""
    moved = flow.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cost(moved), [moved])
    places = torch.linspace(0, flow.numel() - 1, 40).long()
    numerical = []
    for place in places:
        step = torch.zeros(flow.numel(), dtype=flow.dtype)
        step[place] = width
        step = step.view(flow.shape)
        numerical.append((float(cost(flow + step)) - float(cost(flow - step))) / (2 * width))
    difference = torch.tensor(numerical, dtype=flow.dtype) - gradient.flatten()[places]
    return float(difference.abs().max() / gradient.abs().max())


def run_method(*, pair: str, method: str, weights: str) -> Results:
    """Return error and CPU seconds of a method at full size; networks use the shipped weights with this SHA-256."""
    sample = sample_of(pair)
    first, second = (sample[name].unsqueeze(0) for name in ("image1", "image2"))
    flow, seconds = (METHODS | CONTRIB_METHODS)[method](first, second)
    return {"epe": error_of(flow, sample), "cpu_seconds": seconds}


def write_tables(folder: Path, methods: list[Row], best: list[Row], terms: list[Row]) -> None:
    """Write the table of the methods; the tables of optimizers and of terms are in separate folders."""
    pairs = list(dict.fromkeys(row["settings"]["pair"] for row in methods))
    lines = []
    for method in dict.fromkeys(row["settings"]["method"] for row in methods):
        own = {row["settings"]["pair"]: row["results"] for row in methods if row["settings"]["method"] == method}
        errors, seconds = ([own[pair][name] for pair in pairs] for name in ("epe", "cpu_seconds"))
        lines.append([method, *errors, sum(errors) / len(pairs), max(seconds)])
    write_table(
        folder, ["method", *(f"EPE {pair} (px)" for pair in pairs), "mean EPE (px)", "most CPU s a pair"], lines
    )
    write_table(
        folder / "optimizers",
        ["pair", "optimizer", "rate", "steps", "first energy", "last energy", "last EPE (px)", "CPU s"],
        [
            [*(row["settings"][name] for name in ("pair", "optimizer", "rate", "steps")), curve["energy"][0],
             *(curve[name][-1] for name in ("energy", "epe", "cpu_seconds"))]
            for row in best for curve in [row["results"]]
        ],
    )  # fmt: skip
    write_table(
        folder / "terms",
        ["pair", "term", "weight", "mean L1 difference", "total variation (px per px)", "EPE (px)"],
        [
            [*(row["settings"][name] for name in ("pair", "term", "weight")),
             *(row["results"][name] for name in ("difference", "roughness", "epe"))]
            for row in terms
        ],
    )  # fmt: skip


def best_rates(rows: list[Row]) -> list[Row]:
    """Return the row with the lowest final energy of each pair and optimizer."""
    lowest: dict[tuple[object, object], Row] = {}
    for row in rows:
        key = row["settings"]["pair"], row["settings"]["optimizer"]
        if key not in lowest or row["results"]["energy"][-1] < lowest[key]["results"]["energy"][-1]:
            lowest[key] = row
    return list(lowest.values())


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Run the missing cells, then write tables and figure.

    Args:
        smoke: use a few steps and small generated pairs.
        folder: folder of the results.
    """
    pairs = ["layers"] if smoke else ["RubberWhale", "final/bandage_1/frame_0035"]
    steps, store = 2 if smoke else 81, folder / "rows.jsonl"
    factors, weights = ((1.0,), TERM_WEIGHTS[:1]) if smoke else (FACTORS, TERM_WEIGHTS)
    descents = [
        {"pair": pair, "optimizer": name, "rate": rate * factor, "steps": steps}
        for pair in pairs for name, rate in RATES.items() for factor in factors
    ]  # fmt: skip
    warps = 1 if smoke else 11
    descents += [{"pair": pair, "optimizer": "primal-dual", "rate": 0.0, "steps": warps} for pair in pairs]
    smoothed = [
        {"pair": pair, "term": term, "weight": weight, "steps": steps}
        for pair in pairs for term in TERMS for weight in weights
    ]  # fmt: skip
    lessons = [
        {"pair": pairs[0], "lesson": lesson, "rate": rate, "steps": 3 if smoke else 200}
        for lesson, rates in {
            "descent": (1.0, 10.0, 100.0, 1000.0), "random search": (0.1, 1.0), "gradient": (1.0, 0.1, 1e-2, 1e-4, 1e-6)
        }.items() for rate in rates
    ]  # fmt: skip
    shipped = read_card(weights_file(DEFAULT))["sha256"][:12]
    sequences = pairs if smoke else [str(sample["name"]) for sample in Middlebury(root=benchmark("middlebury"))]
    ways = [
        {"pair": pair, "method": name, "weights": shipped if name.startswith("network") else ""}
        for name in METHODS for pair in sequences
    ]  # fmt: skip
    peers = [{"pair": pair, "method": name, "weights": ""} for name in CONTRIB_METHODS for pair in sequences]
    stored = {identity(row["settings"]) for row in read_rows(store)}
    ways += [cell for cell in peers if os.environ.get(CONTRIB) or identity(cell) in stored]
    methods = run_grid(ways, run_method, store, about="methods")
    best = best_rates(run_grid(descents, run_optimizer, store, about="optimizers"))
    terms = run_grid(smoothed, run_term, store, about="smoothness terms")
    taught = run_grid(lessons, run_lesson, store, about="lessons")
    write_tables(folder, methods, best, terms)
    draw(folder, pairs[0], best, terms, taught)
    print((folder / "table.md").read_text())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few steps of small generated pairs")
    main(**vars(parser.parse_args()))

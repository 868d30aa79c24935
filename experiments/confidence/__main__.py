"""Does the forward-backward mismatch predict where the flow of the shipped weights is accurate?

Command: python -m experiments.confidence. Minutes on one CPU core: 6.

The confidence is the estimated probability of an end-point error under 1 px. Its three numbers are fitted on the
MovingLayers split "test", seed 1, with the size and the motions of the training of the weights: once for the flow of
the network, and once for that flow after `predict --refine`. The tables are of other sets: held-out MovingLayers (split
"validation"), which share neither photographs nor random numbers with the fit, and Middlebury and Sintel below
UNROLLFLOW_DATA_DIR. Nothing is fitted on these sets. The window of the mean mismatch was chosen by the likelihood on
split "test", seed 0; the figures of the other sets were seen as well. The table of signals compares other predictors of
errors: the mismatch of the pixel alone, and the entropy of the soft-argmax matching at full and at half size. Each one
is fitted on the same samples by logistic regression.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from experiments.common.accuracy import benchmark_sets, data_folder, held_out
from experiments.common.results import write_table
from experiments.confidence.figure import write_figure
from experiments.confidence.fit import (
    fitted_calibration,
    logistic,
    negative_log_likelihood,
    probability,
    with_constant,
)
from experiments.confidence.signals import Pixels, pixels_of
from unrollflow.contracts import FlowSample
from unrollflow.data import MovingLayers
from unrollflow.inference import pretrained
from unrollflow.metrics import confidence_groups, sparsification_area
from unrollflow.ops import Calibration
from unrollflow.ops.occlusion import CALIBRATION, REFINED_CALIBRATION
from unrollflow.variational import refine_flow
from unrollflow.weights import DEFAULT, read_card, weights_file

RESULTS = Path(__file__).with_name("results")

FIT = {"split": "test", "seed": 1, "length": 128}
"""Arguments of the samples of the fit that differ from those of the training."""

SETS = ("middlebury", "sintel", "sintel final")
HELD_OUT = "held-out MovingLayers"


def fit_samples() -> MovingLayers:
    """Return the samples of the fit."""
    training = read_card(weights_file(DEFAULT))["training"]["data"]["init_args"]
    return MovingLayers(**(training | FIT))


def samples(pairs: Iterable[FlowSample], count: int | None) -> list[FlowSample]:
    """Return the first pairs of a set; None selects all."""
    length = len(pairs)  # type: ignore[arg-type]
    return [pairs[i] for i in range(length if count is None else min(count, length))]  # type: ignore[index]


def write_calibrations(folder: Path, calibration: Calibration, for_refined: Calibration) -> None:
    """Write the table of the newly fitted calibrations and those of the package."""
    found = {
        "network, fitted now": calibration,
        "network, in the package": CALIBRATION,
        "refined flow, fitted now": for_refined,
        "refined flow, in the package": REFINED_CALIBRATION,
    }
    headings = ["calibration", "scale (px)", "power", "floor"]
    write_table(folder, headings, [[name, *numbers] for name, numbers in found.items()])


def calibration_error(pixels: Pixels) -> float:
    """Return the mean over deciles of |confidence - share of errors under 1 px|."""
    groups = confidence_groups(pixels.error, pixels.confidence)
    return sum(abs(group.confidence - group.reached) for group in groups) / len(groups)


def write_areas(folder: Path, sets: Mapping[str, Pixels]) -> None:
    """Write the table of all sets: areas under the sparsification curve, and errors of the calibration."""
    headings = ["set", "EPE (px)", "area, confidence (px)", "area, oracle (px)", "under 1 px", "mean confidence"]
    rows = [
        [
            name,
            pixels.error.double().mean().item(),
            sparsification_area(pixels.error, pixels.confidence),
            sparsification_area(pixels.error, -pixels.error),
            (pixels.error < 1).double().mean().item(),
            pixels.confidence.double().mean().item(),
            calibration_error(pixels),
        ]
        for name, pixels in sets.items()
    ]
    write_table(folder, [*headings, "calibration error"], rows)


def write_deciles(folder: Path, sets: Mapping[str, Pixels]) -> None:
    """Write the table of each set's deciles, the least confident pixels first."""
    rows = [
        [name, i + 1, group.confidence, group.reached, group.error]
        for name, pixels in sets.items()
        for i, group in enumerate(confidence_groups(pixels.error, pixels.confidence))
    ]
    write_table(folder, ["set", "decile", "mean confidence", "under 1 px", "EPE (px)"], rows)


def log_odds(confidence: Tensor) -> Tensor:
    """Return the log-odds of a confidence (N,) in [0, 1]; finite."""
    return confidence.double().logit(eps=1e-6)


def signals(pixels: Pixels, mean: Calibration, own: Calibration) -> dict[str, Tensor]:
    """Return the signals of each candidate, (N, K), by name."""
    near = log_odds(probability(pixels.mismatch, mean))
    alone = log_odds(probability(pixels.own_mismatch, own))
    return {
        "mean mismatch": near.unsqueeze(1),
        "mismatch of the pixel": alone.unsqueeze(1),
        "entropy, full size": pixels.full_entropy.unsqueeze(1),
        "entropy, half size": pixels.half_entropy.unsqueeze(1),
        "mean mismatch and entropy, full size": torch.stack([near, pixels.full_entropy.double()], dim=1),
        "mean mismatch and entropy, half size": torch.stack([near, pixels.half_entropy.double()], dim=1),
    }


def write_signals(folder: Path, fit: Pixels, sets: Mapping[str, Pixels], mean: Calibration) -> None:
    """Write the table of the predictors of errors, each fitted on the samples of the fit."""
    right = fit.error < 1
    own = fitted_calibration(fit.own_mismatch, right)
    weights = {name: logistic(values, right) for name, values in signals(fit, mean, own).items()}
    rows = []
    for group, pixels in sets.items():
        for name, values in signals(pixels, mean, own).items():
            found = (with_constant(values) @ weights[name]).sigmoid()
            excess = sparsification_area(pixels.error, found) - sparsification_area(pixels.error, -pixels.error)
            rows.append([group, name, excess, negative_log_likelihood(found, pixels.error < 1)])
    write_table(folder, ["set", "signals", "area above the oracle's (px)", "negative log-likelihood (nats)"], rows)


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Fit the calibration, and write the tables and the figure."""
    module, count = pretrained(), 2 if smoke else None
    fit = pixels_of(module, samples(fit_samples(), count))
    fit_refined = pixels_of(module, samples(fit_samples(), count), refinement=refine_flow)
    calibration, for_refined = (fitted_calibration(pixels.mismatch, pixels.error < 1) for pixels in (fit, fit_refined))
    write_calibrations(folder / "calibration", calibration, for_refined)
    groups = {HELD_OUT: held_out(), **benchmark_sets(None if smoke else data_folder(), *SETS)}
    pairs = {name: samples(group, count) for name, group in groups.items()}
    sets = {name: pixels_of(module, group) for name, group in pairs.items()}
    refined = {
        f"{name}, refined": pixels_of(module, group, calibration=REFINED_CALIBRATION, refinement=refine_flow)
        for name, group in pairs.items()
    }
    write_areas(folder, sets | refined)
    write_deciles(folder / "deciles", sets | refined)
    write_signals(folder / "signals", fit, sets, calibration)
    write_figure(folder / "figure.png", sets)
    for table in ("calibration", ".", "signals"):
        print((folder / table / "table.md").read_text())


if __name__ == "__main__":
    main()

"""Does the unrolled penalty recover piecewise-constant signals better or faster than total variation?

Question: (a) direct descent on noisy signals: steps to within 1 % and 0.1 % of the exact optimum of total variation,
error and jumps found after all steps; (b) a small network trained without clean targets.

Command: make reproduce EXP=02. Minutes on two quiet CPU cores, one process each: about 4.

Equal for all penalties: signals (128 samples, 5 jumps), noise, data term 1/2 |x - y|^2, start x = y, Adam, steps, and
the number of tested settings. (a) Each penalty gets 3 rates x 2 schedules x 49 pairs of weight and scale (epsilon,
delta or threshold; total variation has no scale and gets 49 weights). The settings are chosen on 8 separate signals:
once for speed (fewest steps to both tolerances, of the energy of *total variation*), once for the error against the
clean signals. Test: 20 other signals. An active-set solver computes the exact optimum; its weight is from the tuning
signals. (b) Noise 0.1; each penalty gets 4 settings around its best one of (a), chosen by the error on 32 separate
signals; then 3 other seeds on the test signals.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.common.denoiser import train_denoiser
from experiments.common.grid import Results, check_again, run_grid
from experiments.common.penalties import COMPARED, PENALTIES, beside, final_cells, numbers, trials
from experiments.exp02_piecewise_constant.report import write_report
from experiments.exp02_piecewise_constant.signals import (
    LENGTH,
    best_exact_weight,
    clean_signals,
    descend,
    exact_energies,
    exact_total_variation,
    jumps_found,
    noisy,
    root_mean_square,
)

RESULTS = Path(__file__).with_name("results")

TUNING, TEST, TRAINING, VALIDATION = 1, 2, 3, 4
"""Seeds of the signals of each split."""

SIGMAS = (0.05, 0.1)
LEARNT_SIGMA = 0.1
"""Noise of part (b)."""

RATES = (0.001, 0.003, 0.01)
GRID = {"factors": "0.25 0.5 1 1.5 2 3 6", "scales": "0.001 0.003 0.01 0.03 0.1 0.3 1"}
"""Weights, relative to the best weight of exact total variation, and epsilons, deltas or thresholds."""


def descent(*, penalty: str, sigma: float, factors: str, scales: str, tuning: int, test: int, steps: int) -> Results:
    """Part (a): tune a penalty on some signals, once for speed and once for error, and measure both on others."""
    weight = best_exact_weight(tuning, sigma, TUNING)
    weights, bends = trials(penalty, [weight * factor for factor in numbers(factors)], numbers(scales))

    def attempt(clean: Tensor, seed: int, pairs: slice, rates: Sequence[float], cosine: bool) -> tuple[Tensor, ...]:
        signals = noisy(clean, sigma, seed)
        found = descend(
            signals.float(), PENALTIES[penalty], weights[pairs], bends[pairs], rates, cosine=cosine, steps=steps,
            exact_weight=weight, optimum=exact_energies(signals, weight),
        )  # fmt: skip
        return root_mean_square(found.signals.double() - clean), jumps_found(found.signals, clean), *found.reached

    clean, unseen = clean_signals(tuning, TUNING), clean_signals(test, TEST)
    both = [attempt(clean, TUNING, slice(None), RATES, cosine) for cosine in (False, True)]
    error, _, coarse, fine = (torch.stack(values).mean(-1, dtype=torch.float64) for values in zip(*both, strict=True))
    results: dict[str, object] = {"exact_weight": weight}
    for purpose, score in (("error", error), ("speed", coarse + fine)):
        cosine, rate, pair = (int(i) for i in torch.unravel_index(score.argmin(), score.shape))
        measures = attempt(unseen, TEST, slice(pair, pair + 1), [RATES[rate]], bool(cosine))
        results |= {
            f"{purpose}_{name}": value.flatten().tolist()
            for name, value in zip(("rmse", "jumps", "coarse", "fine"), measures, strict=True)
        }
        results[f"{purpose}_settings"] = {
            "rate": RATES[rate], "cosine": bool(cosine), "weight": float(weights[pair]), "scale": float(bends[pair]),
        }  # fmt: skip
    return results


def exact(*, sigma: float, tuning: int, test: int) -> Results:
    """Return the error and the jumps of the exact optimum of total variation on the test signals."""
    weight = best_exact_weight(tuning, sigma, TUNING)
    clean = clean_signals(test, TEST)
    solved = torch.stack(
        [torch.from_numpy(exact_total_variation(y.numpy(), weight)) for y in noisy(clean, sigma, TEST)]
    )
    return {"rmse": root_mean_square(solved - clean).tolist(), "jumps": jumps_found(solved, clean).tolist()}


def network(*, penalty: str, weight: float, scale: float, sigma: float, seed: int, steps: int, split: int) -> Results:
    """Part (b): train on new noisy signals in each step, and measure on the signals of a split."""

    def batch(step: int) -> Tensor:
        number = 1_000_000 * TRAINING + 10_000 * seed + step
        return noisy(clean_signals(8, number), sigma, number).float().view(-1, 1, LENGTH)

    trained = train_denoiser(batch, PENALTIES[penalty], weight=weight, scale=scale, rate=3e-3, steps=steps, seed=seed)
    clean = clean_signals(32 if split == VALIDATION else 20, split)
    with torch.no_grad():
        signals = trained(noisy(clean, sigma, split).float().unsqueeze(1)).squeeze(1).double()
    return {
        "rmse": root_mean_square(signals - clean).tolist(),
        "jumps": jumps_found(signals, clean).tolist(),
    }


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Run the missing cells, then write table and figure.

    Args:
        smoke: use two penalties and few signals and steps.
        folder: output folder.
    """
    names = ("tv", "unrolled T=1 attached t0") if smoke else COMPARED
    sigmas = (0.1,) if smoke else SIGMAS
    size = {"tuning": 1, "test": 2} if smoke else {"tuning": 8, "test": 20}
    cells = [
        {"penalty": name, "sigma": sigma, **GRID, **size, "steps": 5 if smoke else 300}
        for sigma in sigmas
        for name in names
    ]
    processes = 1 if smoke else os.cpu_count() or 1
    descents = run_grid(cells, descent, folder / "rows.jsonl", processes=processes, about="descents")
    optima = run_grid([{"sigma": sigma, **size} for sigma in sigmas], exact, folder / "exact.jsonl", about="exact")
    write_report(folder, descents, optima, [])  # the networks run last
    best = {
        row["settings"]["penalty"]: row["results"]["error_settings"]
        for row in descents
        if row["settings"]["sigma"] == LEARNT_SIGMA and row["settings"]["penalty"] in names
    }
    shared = {"sigma": LEARNT_SIGMA, "seed": 0, "steps": 2 if smoke else 1500, "split": VALIDATION}
    cells = [cell | shared for name in best for cell in beside(name, best[name])[: 1 if smoke else 4]]
    store = folder / "networks.jsonl"
    tried = run_grid(cells, network, store, processes=processes, about="networks")
    seeds = (1, 2) if smoke else (1, 2, 3)
    cells = final_cells(tried, lambda row: -sum(row["results"]["rmse"]), split=TEST, seeds=seeds)
    finals = run_grid(cells, network, store, processes=processes, about="finals")
    write_report(folder, descents, optima, finals)
    if not smoke:
        check_again(descents, descent, lambda results: float(np.mean(results["error_rmse"])))
        check_again(finals, network, lambda results: float(np.mean(results["rmse"])))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    main()

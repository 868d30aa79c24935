"""Does the unrolled penalty denoise photographs better than total variation?

Question: direct descent at noise 15, 25 and 50 (of 255), beside scikit-image's Chambolle total variation; and one
small network trained without clean targets at noise 25.

Command: make reproduce EXP=03. Minutes on two quiet CPU cores, one process each: about 10.

Equal for all penalties: photographs (grey, central 96x96 at half size), noise, data term 1/2 |x - y|^2, start x = y,
forward differences along x and y, Adam with a cosine rate, 100 steps, and the number of tested settings: 2 rates x 25
pairs of weight and scale (total variation has no scale and gets 25 weights), chosen by PSNR on three separate
photographs (scikit-image's: 25 weights). Test: six others. Chambolle's total variation is isotropic, ours is the sum of
both directions. Networks: 4 settings each around those of the best descent, chosen on the three photographs, trained on
crops of four more photographs; then 3 other seeds on the test photographs.
"""

import argparse
import os
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import skimage
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor

from experiments.common.denoiser import train_denoiser
from experiments.common.grid import Results, check_again, run_grid
from experiments.common.penalties import COMPARED, PENALTIES, beside, final_cells, numbers, scaled, trials
from experiments.exp03_denoising.report import write_report

RESULTS = Path(__file__).with_name("results")

PHOTOGRAPHS = {
    "training": ("coffee.png", "rocket.jpg", "ihc.png", "grass.png"),
    "tuning": ("brick.png", "hubble_deep_field.jpg", "page.png"),
    "test": ("astronaut.png", "camera.png", "chelsea.png", "coins.png", "moon.png", "motorcycle_left.png"),
}
SIDE = 96
LEVELS = (15, 25, 50)
RATES = (0.01, 0.03)
GRID = {"weights": "0.3 0.6 1 1.7 3", "scales": "0.03 0.1 0.4 1.5 5"}
"""Weights, and epsilons, deltas or thresholds, in standard deviations of the noise."""

LEARNT = ("tv", "huber", "unrolled T=1 attached t0", "unrolled T=4 detached")
LEARNT_LEVEL = 25
"""Penalties and noise for the training of the network."""


@lru_cache
def photographs(split: str, side: int = SIDE) -> Tensor:
    """Return the grey photographs of a split: their centres at half the size, (B, side, side) in [0, 1]."""
    pictures = []
    for name in PHOTOGRAPHS[split]:
        grey = cv2.imread(str(Path(skimage.__file__).parent / "data" / name), cv2.IMREAD_GRAYSCALE)
        top, left = ((length - 2 * side) // 2 for length in grey.shape)
        middle = np.ascontiguousarray(grey[top : top + 2 * side, left : left + 2 * side])
        pictures.append(cv2.resize(middle, (side, side), interpolation=cv2.INTER_AREA) / np.float32(255))
    return torch.from_numpy(np.stack(pictures))


def noisy(clean: Tensor, level: int, seed: int) -> Tensor:
    """Add Gaussian noise with the standard deviation level / 255, without clipping."""
    return clean + level / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))


def descend(start: Tensor, penalty: str, weights: Tensor, scales: Tensor, *, rate: float, steps: int) -> Tensor:
    """Minimise with Adam from x = start (B, H, W) for all K settings at once; return (K, B, H, W)."""
    weights, scales = (values.view(-1, 1, 1, 1) for values in (weights, scales))
    x = start.expand(len(weights), -1, -1, -1).clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for _ in range(steps):
        cost = (x - start).square().sum() / 2
        for dim in (-1, -2):
            cost = cost + (weights * scaled(PENALTIES[penalty], x.diff(dim=dim), scales)).sum()
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        scheduler.step()
    return x.detach()


def quality(denoised: Tensor, clean: Tensor) -> dict[str, list[float]]:
    """Return the PSNR (dB) and SSIM of every photograph."""
    pairs = list(zip(denoised.clamp(0, 1).numpy(), clean.numpy(), strict=True))
    return {
        "psnr": [float(peak_signal_noise_ratio(y, x, data_range=1.0)) for x, y in pairs],
        "ssim": [float(structural_similarity(y, x, data_range=1.0)) for x, y in pairs],
    }


def psnr(denoised: Tensor, clean: Tensor) -> Tensor:
    """Return the mean PSNR over photographs (B, H, W), (...)."""
    return -10 * (denoised.clamp(0, 1) - clean).square().mean((-2, -1)).log10().mean(-1)


def descent(*, penalty: str, level: int, weights: str, scales: str, steps: int) -> Results:
    """Tune a penalty on the tuning photographs, and measure on the test photographs."""
    sigma = level / 255
    strengths, bends = trials(penalty, *([sigma * value for value in numbers(text)] for text in (weights, scales)))
    clean, unseen = photographs("tuning"), photographs("test")
    start = noisy(clean, level, 1)
    scores = torch.stack(
        [psnr(descend(start, penalty, strengths, bends, rate=rate, steps=steps), clean) for rate in RATES]
    )
    rate, pair = (int(i) for i in torch.unravel_index(scores.argmax(), scores.shape))
    best = slice(pair, pair + 1)
    found = descend(noisy(unseen, level, 2), penalty, strengths[best], bends[best], rate=RATES[rate], steps=steps)[0]
    chosen = {"rate": RATES[rate], "weight": float(strengths[pair]), "scale": float(bends[pair])}
    return {**quality(found, unseen), "chosen": chosen}


def chambolle(*, level: int, weights: str, scales: str) -> Results:
    """Measure scikit-image's total variation; its weight is chosen on the same photographs, from as many weights."""

    def solved(pictures: Tensor, weight: float) -> Tensor:
        return torch.stack(
            [torch.from_numpy(denoise_tv_chambolle(p.numpy(), weight, eps=1e-5, max_num_iter=500)) for p in pictures]
        )

    clean, unseen = photographs("tuning"), photographs("test")
    start = noisy(clean, level, 1)
    strengths = trials("tv", [level / 255 * w for w in numbers(weights)], numbers(scales))[0].tolist()
    weight = max(strengths, key=lambda w: float(psnr(solved(start, w), clean)))
    return {**quality(solved(noisy(unseen, level, 2), weight), unseen), "chosen": {"weight": weight}}


def untouched(*, level: int) -> Results:
    """Measure the noisy photographs."""
    return quality(noisy(photographs("test"), level, 2), photographs("test"))


def network(*, penalty: str, weight: float, scale: float, level: int, seed: int, steps: int, split: str) -> Results:
    """Train on noisy crops of photographs, and measure on the photographs of a split."""
    training = photographs("training")

    def batch(step: int) -> Tensor:
        generator = np.random.default_rng((seed, step))
        places = [(generator.integers(len(training)), *generator.integers(0, SIDE - 40, 2)) for _ in range(4)]
        crops = torch.stack([training[i, top : top + 40, left : left + 40] for i, top, left in places])
        return noisy(crops.unsqueeze(1), level, 10_000 * seed + step)

    trained = train_denoiser(batch, PENALTIES[penalty], weight=weight, scale=scale, rate=3e-3, steps=steps, seed=seed)
    clean = photographs(split)
    with torch.no_grad():
        found = trained(noisy(clean, level, 2 if split == "test" else 1).unsqueeze(1)).squeeze(1)
    return quality(found, clean)


def main(*, smoke: bool = False, folder: Path = RESULTS) -> None:
    """Run the missing cells, then write table and figure.

    Args:
        smoke: use one level, two penalties and few steps.
        folder: output folder.
    """
    levels, methods = ((25,), COMPARED[:4:3]) if smoke else (LEVELS, COMPARED)
    steps = 2 if smoke else 100
    cells = [{"penalty": name, "level": level, **GRID, "steps": steps} for level in levels for name in methods]
    processes = 1 if smoke else os.cpu_count() or 1
    descents = run_grid(cells, descent, folder / "rows.jsonl", processes=processes, about="descents")
    levels_alone = [{"level": level} for level in levels]
    references = {
        "noisy": run_grid(levels_alone, untouched, folder / "noisy.jsonl", about="noisy"),
        "scikit-image TV": run_grid(
            [{"level": level, **GRID} for level in levels], chambolle, folder / "chambolle.jsonl", about="scikit-image"
        ),
    }
    write_report(folder, descents, references, [])  # the networks run last
    best = {
        row["settings"]["penalty"]: row["results"]["chosen"]
        for row in descents
        if row["settings"]["level"] == LEARNT_LEVEL and row["settings"]["penalty"] in LEARNT
    }
    shared = {"level": LEARNT_LEVEL, "seed": 0, "steps": 2 if smoke else 1000, "split": "tuning"}
    cells = [cell | shared for name in best for cell in beside(name, best[name])[: 1 if smoke else 4]]
    store = folder / "networks.jsonl"
    tried = run_grid(cells, network, store, processes=processes, about="networks")
    seeds = (1, 2) if smoke else (1, 2, 3)
    cells = final_cells(tried, lambda row: sum(row["results"]["psnr"]), split="test", seeds=seeds)
    finals = run_grid(cells, network, store, processes=processes, about="finals")
    write_report(folder, descents, references, finals)
    if not smoke:
        for rows, run in ((descents, descent), (finals, network)):
            check_again(rows, run, lambda results: float(np.mean(results["psnr"])))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    main()

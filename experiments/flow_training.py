"""One training of the small PWC-Lite on MovingLayers, where nothing but the smoothness term changes; and its measures.

A plain loop in place of Lightning's: the weight ramps up within it, and thousands of steps of a tenth of a second each
show what a trainer's hooks cost. Module, objective, optimizer and schedule are those of the command line.
"""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from experiments.boundary_score import best_threshold, boundary_f1
from experiments.grid import Results
from experiments.stored_layers import StoredLayers
from unrollflow import losses
from unrollflow.contracts import FlowSample
from unrollflow.data import Compose, FlowDataModule, RandomHorizontalFlip, RandomVerticalFlip
from unrollflow.data.transforms import leaves
from unrollflow.metrics import image_measures
from unrollflow.models import PWCLite
from unrollflow.module import UnsupervisedFlow
from unrollflow.ops import warp

BATCH = 4
RAMP = 0.5
"""Share of the steps over which the smoothness weight rises from 0: terms that would stop a young network from learning
get their chance."""

ALL_VISIBLE_STEPS = 200
"""Steps after which what the range map calls occluded leaves the photometric loss."""

CLIPPED_NORM = 1.0
MEASURES = ("epe", "epe_noc", "epe_occ", "epe_d0_5", "epe_d0_10", "epe_d10_60")


def train_flow(
    *,
    term: str,
    learning_rate: float,
    seed: int,
    steps: int,
    samples: int,
    images: int,
    weight: float = 0.0,
    scale: float = 1.0,
    iterations: int = 1,
    detach: bool = False,
    initial_term: bool = True,
    test_images: int = 0,
    points: int = 10,
) -> Results:
    """Train once, and measure.

    Args:
        term: "none", "tv", "charbonnier", "huber", "unrolled", or "supervised" (end-point error on the ground truth).
        learning_rate: at the first step; a cosine takes it to 0.
        seed: of weights, order and flips.
        steps: of 4 pairs each.
        samples: how many different training pairs.
        images: of validation.
        weight: of the term at the end of the ramp; every term is scaled so that it counts in the unit of TV's.
        scale: epsilon, delta or threshold lam / rho, pixels per pixel of the grid at a quarter of the frame.
        iterations, detach, initial_term: of the unrolled term.
        test_images: measured as well at the end; 0: none, as it must be in a search.
        points: of the learning curve.

    Returns:
        `curve` (`step`, and `epe`, `epe_noc`, `epe_occ` on validation), `validation` and, where asked for, `test`:
        see :func:`measured`.
    """
    torch.manual_seed(seed)
    smoothness, factor = smoothness_term(term, scale, iterations, detach, initial_term)
    model = flow_model(smoothness, supervised=term == "supervised", learning_rate=learning_rate, steps=steps)
    batches = training_batches(samples, seed)
    validation = StoredLayers(split="validation", length=images)
    curve: dict[str, list[float]] = {"step": [], "epe": [], "epe_noc": [], "epe_occ": []}
    due = {round(steps * (i + 1) / points) for i in range(points)}
    for step in descend(model, batches, steps=steps, weight=factor * weight):
        if step in due:
            means = averages(model, validation)
            curve = {name: [*values, means.get(name, step)] for name, values in curve.items()}
    results: dict[str, Any] = {"curve": curve, "validation": measured(model, validation)}
    if test_images:
        threshold = results["validation"]["boundary_threshold"]
        test = StoredLayers(split="test", length=test_images)
        results["test"] = measured(model, test, threshold=threshold, by_image=True)
    return results


def smoothness_term(
    term: str, scale: float, iterations: int, detach: bool, initial_term: bool
) -> tuple[losses.Smoothness, float]:
    """A term, and the factor that brings it to TV's unit: slope 1 (on average near the threshold) in a gradient.

    Huber's slope is delta beyond delta. The unrolled term takes lam = 1, as ADMM does for TV of weight 1, rho = 1 /
    threshold.
    """
    if term in ("none", "supervised"):
        return losses.NoSmoothness(), 0.0
    if term == "tv":
        return losses.TotalVariation(penalty="l1"), 1.0
    if term == "charbonnier":
        return losses.TotalVariation(penalty="charbonnier", epsilon=scale), 1.0
    if term == "huber":
        return losses.TotalVariation(penalty="huber", delta=scale), 1 / scale
    if term == "unrolled":
        unrolled = losses.UnrolledTotalVariation(
            lam=1.0, rho=1 / scale, steps=iterations, detach=detach, initial_term=initial_term
        )
        return unrolled, 1.0
    raise ValueError(f"term={term!r}; choose none, tv, charbonnier, huber, unrolled or supervised.")


def flow_model(
    smoothness: losses.Smoothness, *, supervised: bool, learning_rate: float, steps: int
) -> UnsupervisedFlow:
    """configs/backbone/pwclite_small.yaml under configs/objective/plain.yaml, or supervised.yaml."""
    unsupervised = partial(
        losses.UnsupervisedObjective,
        visibility=losses.Staged(
            tests=[losses.AllVisible(), losses.RangeMap(threshold=0.2)], starts=[0, ALL_VISIBLE_STEPS]
        ),
        smoothness_weight=0.0,
        level_weights=1.0,
        smoothness_level_weights=0.0,
    )
    return UnsupervisedFlow(
        backbone=PWCLite(
            pyramid_channels=[16, 24, 32, 48],
            projection_channels=16,
            search_range=3,
            estimator_channels=[64, 48, 32, 24, 16],
            context_channels=[32, 32, 32, 24, 16],
            normalise_features=True,
            head_scale=0.1,
        ),
        photometric=losses.WeightedSum(
            parts=[losses.L1(), losses.SSIM(window="box", window_size=3)], weights=[0.15, 0.85]
        ),
        smoothness=smoothness,
        objective=losses.SupervisedEndpointError if supervised else unsupervised,
        optimizer=partial(AdamW, lr=learning_rate, weight_decay=1e-6),
        scheduler=partial(CosineAnnealingLR, T_max=steps),
    )


def training_batches(samples: int, seed: int) -> Iterator[FlowSample]:
    """Batches without end: every epoch in another order, flipped at random."""
    flips = Compose(transforms=[RandomHorizontalFlip(), RandomVerticalFlip()])
    data = FlowDataModule(
        train=StoredLayers(split="train", length=samples), batch_size=BATCH, workers=0, seed=seed, transform=flips
    )
    loader = data.train_dataloader()
    for epoch in itertools.count():
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # the data module's own sampler
        yield from loader


def descend(model: UnsupervisedFlow, batches: Iterator[FlowSample], *, steps: int, weight: float) -> Iterator[int]:
    """Steps of the optimizer; yields how many were made. The weight of smoothness rises linearly over :data:`RAMP`."""
    chosen = model.configure_optimizers()
    optimizer, scheduler = chosen["optimizer"], chosen["lr_scheduler"]["scheduler"]
    for step, batch in zip(range(steps), batches, strict=False):
        model.train()
        model.objective.smoothness_weight = weight * min(1.0, step / (RAMP * steps))
        cost = model.objective(batch, *model.backbone.both(batch["image1"], batch["image2"]), step=step)
        optimizer.zero_grad()
        cost.total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIPPED_NORM)
        optimizer.step()
        scheduler.step()
        yield step + 1


@torch.no_grad()
def predicted(model: UnsupervisedFlow, data: StoredLayers) -> dict[str, Tensor]:
    """Every map of a data set, batched, with `flow_forward`, `flow_backward` and `visible` of the network."""
    model.eval()
    parts: list[dict[str, Tensor]] = []
    loader = FlowDataModule(train=None, validation=data, validation_batch_size=32, workers=0).val_dataloader()
    for batch in loader:
        forward, backward, visible = model(batch["image1"], batch["image2"])
        maps = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        parts.append(maps | {"flow_forward": forward, "flow_backward": backward, "visible": visible})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def errors(maps: dict[str, Tensor], flow: Tensor) -> dict[str, Tensor]:
    """Of :data:`MEASURES` each image's mean error of a flow, (B,), pixels; NaN where an image has no such pixel."""
    chosen = {name: maps[name] for name in ("valid", "occluded", "boundary_distance")}
    means = image_measures(flow, maps["flow"], **chosen).mean
    return {name: means[name] for name in MEASURES}


def averages(model: UnsupervisedFlow, data: StoredLayers) -> dict[str, float]:
    """Means over the images of :func:`errors`."""
    maps = predicted(model, data)
    return {name: value.nanmean().item() for name, value in errors(maps, maps["flow_forward"]).items()}


def measured(
    model: UnsupervisedFlow, data: StoredLayers, *, threshold: float | None = None, by_image: bool = False
) -> dict[str, Any]:
    """Errors of a model and of zero flow, motion boundaries, and scores that need no labels.

    Args:
        model: trained.
        data: what it is measured on.
        threshold: of predicted boundaries, px/px; None: the best one here, as on validation data.
        by_image: give each image's errors (`images`), rounded to 1e-4 px, as well.
    """
    maps = predicted(model, data)
    flow, truth = maps["flow_forward"], maps["flow"]
    own, zero = errors(maps, flow), errors(maps, torch.zeros_like(flow))
    threshold = best_threshold(flow, truth) if threshold is None else threshold
    results: dict[str, Any] = {name: value.nanmean().item() for name, value in own.items()}
    results |= {f"zero_{name}": value.nanmean().item() for name, value in zero.items()}
    results |= {"boundary_f1": boundary_f1(flow, truth, threshold=threshold), "boundary_threshold": threshold}
    results |= unlabelled_scores(model, maps)
    if by_image:
        results["images"] = {name: rounded(own[name]) for name in ("epe", "epe_noc", "epe_occ")}
    return results


def rounded(values: Tensor) -> list[float | None]:
    """To 1e-4, None in the place of NaN, which JSON does not know."""
    return [None if value.isnan() else round(value.item(), 4) for value in values]


@torch.no_grad()
def unlabelled_scores(model: UnsupervisedFlow, maps: dict[str, Tensor]) -> dict[str, float]:
    """What may tell a good run from a bad one without ground truth; lower is better, of `visible` higher."""
    image1, image2, flow = maps["image1"], maps["image2"], maps["flow_forward"]
    census = losses.UnsupervisedObjective(
        losses.Census(), losses.NoSmoothness(), visibility=losses.AllVisible(), smoothness_weight=0.0,
        level_weights=1.0, smoothness_level_weights=0.0,
    )  # fmt: skip
    returned = warp(maps["flow_backward"], flow)
    return {
        "photometric": model.objective.held_out(image1, image2, flow).item(),
        "photometric_of_zero": model.objective.held_out(image1, image2, torch.zeros_like(flow)).item(),
        "census": census.held_out(image1, image2, flow).item(),
        "mismatch": torch.linalg.vector_norm(flow + returned, dim=1).mean().item(),
        "visible": maps["visible"].mean().item(),
        "out_of_frame": leaves(flow).float().mean().item(),
        "speed": torch.linalg.vector_norm(flow, dim=1).mean().item(),
    }

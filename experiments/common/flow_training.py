"""Trainings of the small PWC-Lite on MovingLayers that differ in the smoothness term, and their measures.

Module, objective, ramp, optimizer, schedule and trainer are those of the command line, built in Python.
"""

import itertools
import logging
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from experiments.common.flow_measures import averages, measured
from experiments.common.grid import Results
from experiments.common.stored_layers import StoredLayers
from unrollflow import losses
from unrollflow.contracts import FlowSample
from unrollflow.data import Compose, FlowDataModule, RandomHorizontalFlip, RandomVerticalFlip
from unrollflow.models import PWCLite
from unrollflow.training.module import UnsupervisedFlow

BATCH = 4
RAMP = 0.5
"""Share of the steps over which the smoothness weight rises from 0: some terms stop an untrained network's learning."""

ALL_VISIBLE_STEPS = 200
"""Step from which the photometric loss omits the pixels that the range map classifies as occluded."""

CLIPPED_NORM = 1.0

TEST_SEED = 4
"""Seed of the test samples; experiments 06 and 09 use other seeds."""


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
    ramp: float = RAMP,
    test_images: int = 0,
    points: int = 10,
) -> Results:
    """Train once, and measure.

    Args:
        term: "none", "tv", "charbonnier", "huber", "unrolled", or "supervised" (end-point error on the ground truth).
        learning_rate: initial learning rate; a cosine schedule reduces it to 0.
        seed: seed of weights, order and flips.
        steps: number of steps of 4 pairs each.
        samples: number of different training pairs.
        images: number of validation images.
        weight: weight of the term at the end of the ramp; every term is scaled to the unit of total variation.
        scale: epsilon, delta or threshold lam / rho, pixels per pixel of the grid at a quarter of the frame.
        iterations, detach, initial_term: arguments of the unrolled term.
        ramp: share of the steps over which the weight rises from 0; 0: full weight from the first step.
        test_images: number of test images that are measured at the end; 0, none, in a search.
        points: number of points of the learning curve.

    Returns:
        `curve` (`step`, and `epe`, `epe_noc`, `epe_occ` on validation), `validation` and, with `test_images`, `test`:
        see :func:`~experiments.common.flow_measures.measured`.
    """
    torch.manual_seed(seed)
    smoothness, factor = smoothness_term(term, scale, iterations, detach, initial_term)
    model = flow_model(
        smoothness,
        supervised=term == "supervised",
        learning_rate=learning_rate,
        steps=steps,
        weight=factor * weight,
        ramp=ramp,
    )
    validation = StoredLayers(split="validation", length=images)
    curve: dict[str, list[float]] = {"step": [], "epe": [], "epe_noc": [], "epe_occ": []}

    def _measure(step: int) -> None:
        means = averages(model, validation) | {"step": step}
        for name, values in curve.items():
            values.append(means[name])

    fit(model, training_batches(samples, seed), steps=steps, callback=AfterSteps(points_of(steps, points), _measure))
    results: dict[str, Any] = {"curve": curve, "validation": measured(model, validation)}
    if test_images:
        threshold = results["validation"]["boundary_threshold"]
        test = StoredLayers(split="test", length=test_images, seed=TEST_SEED)
        results["test"] = measured(model, test, threshold=threshold, by_image=True)
    return results


def smoothness_term(
    term: str, scale: float, iterations: int, detach: bool, initial_term: bool
) -> tuple[losses.Smoothness, float]:
    """Return a term, and the factor that converts it to the unit of total variation.

    For large gradients, total variation and Charbonnier's penalty have the slope 1, and Huber's penalty has the slope
    delta, so its factor is 1 / delta. The unrolled term has lam = 1, the weight with which ADMM solves for total
    variation, and rho = 1 / threshold. Its slope is about 1 if the form is bounded (T = 4, detached); otherwise it
    grows with the gradient.

    Raises:
        ValueError: if the term is unknown.
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
    smoothness: losses.Smoothness,
    *,
    learning_rate: float,
    steps: int,
    weight: float,
    ramp: float = RAMP,
    supervised: bool = False,
    **changes: Any,
) -> UnsupervisedFlow:
    """configs/backbone/pwclite_small.yaml under configs/objective/plain.yaml, or supervised.yaml.

    Args:
        smoothness: the term.
        learning_rate: at the first step.
        steps: of the training.
        weight: of the term after its ramp.
        ramp: share of the steps over which the weight rises from 0.
        supervised: train with ground truth; weight, ramp and changes are not used.
        changes: other arguments of the unsupervised objective.
    """
    unsupervised = partial(
        losses.UnsupervisedObjective,
        visibility=losses.Staged(
            tests=[losses.AllVisible(), losses.RangeMap(threshold=0.2)], starts=[0, ALL_VISIBLE_STEPS]
        ),
        smoothness_weight=weight,
        smoothness_ramp=losses.Ramp(steps=round(ramp * steps)),
        level_weights=1.0,
        smoothness_level_weights=0.0,
        **changes,
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
    """Yield batches without end: each epoch has a new order and random flips."""
    flips = Compose(transforms=[RandomHorizontalFlip(), RandomVerticalFlip()])
    data = FlowDataModule(
        train=StoredLayers(split="train", length=samples), batch_size=BATCH, workers=0, seed=seed, transform=flips
    )
    loader = data.train_dataloader()
    for epoch in itertools.count():
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # the data module's own sampler
        yield from loader


class AfterSteps(pl.Callback):
    """Calls a function with the number of steps that were made, after some of them.

    Args:
        steps: after which it is called.
        measure: the function; it may set the network to evaluation.
    """

    def __init__(self, steps: Collection[int], measure: Callable[[int], None]) -> None:
        self.steps, self.measure = steps, measure

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Measure, if it is due."""
        if trainer.global_step in self.steps:
            self.measure(trainer.global_step)
            pl_module.train()


def points_of(steps: int, points: int) -> set[int]:
    """Points of a learning curve at equal distances, the last one after the last step.

    >>> sorted(points_of(10, 4))
    [2, 5, 8, 10]
    """
    return {round(steps * (i + 1) / points) for i in range(points)}


def fit(
    model: UnsupervisedFlow, batches: Iterable[FlowSample], *, steps: int, callback: pl.Callback | None = None
) -> None:
    """Train through Lightning on one CPU device; neither validation nor files."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # a grid makes hundreds of trainers
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        devices=1,
        gradient_clip_val=CLIPPED_NORM,
        limit_val_batches=0,
        use_distributed_sampler=False,
        callbacks=[callback] if callback else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")  # neither validation nor workers: both intended
        trainer.fit(model, batches)

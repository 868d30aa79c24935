"""Invalid frames, flows and gradients."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor

from tests.reliability.fault import Fault, refusal
from tests.training.test_module import OBJECTIVE, layers, parts, trainer
from unrollflow.callbacks.average_weights import AverageWeights
from unrollflow.callbacks.skip_non_finite import SkipNonFiniteSteps
from unrollflow.checkpoints import read_checkpoint
from unrollflow.contracts import FlowSample
from unrollflow.data import FlowDataModule, MovingLayers
from unrollflow.data.datamodule import EpochSampler
from unrollflow.losses import (
    L1,
    SSIM,
    Census,
    Charbonnier,
    ForwardBackward,
    NoSmoothness,
    RangeMap,
    TotalVariation,
    UnrolledTotalVariation,
)
from unrollflow.losses.masking import photometric_loss
from unrollflow.metrics import FlowMetrics, image_measures
from unrollflow.models import RAFT
from unrollflow.ops import forward_backward_visibility, range_map_visibility, resize_flow, warp
from unrollflow.training.module import UnsupervisedFlow

PHOTOMETRIC = (Census(patch_size=3), SSIM(), L1(), Charbonnier())
SMOOTHNESS = (TotalVariation(), UnrolledTotalVariation(), NoSmoothness())
WILD = {"NaN": float("nan"), "infinite": float("inf"), "minus infinite": float("-inf"), "1e30 px": 1e30}
SMALL_RAFT: dict[str, Any] = {
    "encoder_channels": (4, 6, 8), "feature_channels": 8, "hidden_channels": 6, "context_channels": 6,
    "motion_channels": (8, 6, 6, 4, 8), "head_channels": 6, "correlation_levels": 3, "radius": 2, "iterations": 2,
}  # fmt: skip


class Poisoned(MovingLayers):
    """Moving layers whose samples are changed from a given index on."""

    poison: Callable[[Tensor], Tensor]
    first, last = 2, 2

    def __getitem__(self, index: int) -> FlowSample:
        sample = super().__getitem__(index)
        inside = self.first <= index <= self.last
        return sample | {"image1": self.poison(sample["image1"])} if inside else sample


def poisoned(poison: Callable[[Tensor], Tensor], *, first: int = 2, last: int = 2, side: int = 32) -> Poisoned:
    made = Poisoned(split="train", length=8, size=(side, side + 16))
    made.poison, made.first, made.last = poison, first, last
    return made


def one_pixel(value: float) -> Callable[[Tensor], Tensor]:
    def change(image: Tensor) -> Tensor:
        changed = image.clone()
        changed[0, 5, 7] = value
        return changed

    return change


def fit(folder: Path, train: Any, guard: SkipNonFiniteSteps, *, steps: int = 4, **options: Any) -> UnsupervisedFlow:
    """A training of four steps, and its module."""
    pl.seed_everything(0)
    flow = UnsupervisedFlow(**parts(**options.pop("parts", {})))
    data = FlowDataModule(train=train, batch_size=2, workers=0)
    trainer(folder, callbacks=[guard], max_steps=steps, limit_val_batches=0, **options).fit(flow, data)
    return flow


def finite(flow: UnsupervisedFlow) -> bool:
    """Whether all weights and buffers, and the flow of an evaluation, are finite."""
    with torch.no_grad():
        predicted = flow.eval()(*torch.rand(2, 1, 3, 128, 128, generator=torch.Generator().manual_seed(0)))
    return all(bool(value.isfinite().all()) for value in (*flow.state_dict().values(), predicted.flow))


def poisoned_step(folder: Path, *, value: float, backbone: str = "pwclite") -> str:
    guard, train = SkipNonFiniteSteps(), poisoned(one_pixel(value), side=128 if backbone == "raft" else 32)
    changes = {"parts": {"backbone": RAFT(**SMALL_RAFT)}} if backbone == "raft" else {}
    assert finite(fit(folder, train, guard, **changes))
    assert guard.skipped == 1, guard.skipped
    return "1 of 4 steps skipped; weights, buffers and an evaluation are finite"


def untouched(folder: Path, *, batch_norm: bool = False, accumulate: int = 1) -> str:
    """A training whose every step is faulty ends with the weights, buffers and moments that it began with."""
    guard = SkipNonFiniteSteps(most_in_a_row=9)
    torch.manual_seed(0)
    changes = {"backbone": RAFT(**SMALL_RAFT)} if batch_norm else {}
    before = UnsupervisedFlow(**copy.deepcopy(parts(**changes)))
    train = poisoned(one_pixel(float("nan")), first=0, last=99, side=128 if batch_norm else 32)
    flow = fit(folder, train, guard, parts=changes, accumulate_grad_batches=accumulate)
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in flow.state_dict().items())
    assert guard.skipped == 4
    assert not flow.optimizers().state  # type: ignore[union-attr]  # one optimizer
    return "4 of 4 steps skipped; weights and buffers are bit-exact; no moments"


class Trained(pl.Callback):
    """Weights and buffers after each step."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.state_dict().items()})


def untouched_average(folder: Path) -> str:
    """Of four steps the third is skipped: the average is that of the states after the other three."""
    guard, trained, broken = SkipNonFiniteSteps(), Trained(), one_pixel(float("nan"))
    third_batch = list(EpochSampler(poisoned(broken), seed=0))[4]
    train = poisoned(broken, first=third_batch, last=third_batch, side=128)
    pl.seed_everything(0)
    flow = UnsupervisedFlow(**parts(backbone=RAFT(**SMALL_RAFT)))
    data = FlowDataModule(train=train, batch_size=2, workers=0)
    runner = trainer(folder, callbacks=[AverageWeights(decay=0.5), guard, trained], max_steps=4, limit_val_batches=0)
    runner.fit(flow, data)
    assert guard.skipped == 1
    first, second, skipped, last = trained.states
    assert all(torch.equal(value, skipped[name]) for name, value in second.items())
    assert finite(flow)
    for name, value in flow.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (first[name] + second[name] + 2 * last[name]) / 4, msg=name)
    return "1 of 4 steps skipped; the average is over the other three"


def overflowing_norm(folder: Path) -> str:
    """Gradients are finite, but the sum of their squares is not."""
    guard = SkipNonFiniteSteps(most_in_a_row=1)
    pl.seed_everything(0)
    flow = UnsupervisedFlow(**parts())
    data = FlowDataModule(train=layers(8), batch_size=2, workers=0)
    runner = trainer(folder, callbacks=[BreaksGradients(1e20), guard], max_steps=4, limit_val_batches=0)
    words = refusal(lambda: runner.fit(flow, data), names="norm of the gradients (each is finite, the largest 1e+20)")
    assert finite(flow)
    assert "loss" not in words.split("Look at")[0]
    return words


def too_many(folder: Path) -> str:
    guard = SkipNonFiniteSteps(most_in_a_row=2)
    train = poisoned(one_pixel(float("nan")), first=0, last=99)
    words = refusal(lambda: fit(folder, train, guard), names="2 steps in a row were not finite")
    assert "loss/photometric" in words, words
    assert "train-0000" in words, words
    saved = next(folder.rglob("stopped.ckpt"))
    assert read_checkpoint(saved)["global_step"] == 2
    return words


def dull(folder: Path, *, change: Callable[[Tensor], Tensor]) -> str:
    """Whole batches of dull frames, through every photometric term."""
    for term in PHOTOMETRIC:
        guard = SkipNonFiniteSteps()
        changes = {"photometric": term, "objective": partial(OBJECTIVE, visibility=ForwardBackward())}
        assert finite(fit(folder, poisoned(change, first=0, last=99), guard, steps=2, parts=changes))
        assert guard.skipped == 0, type(term).__name__
    return f"no step skipped; weights finite; {len(PHOTOMETRIC)} photometric terms"


def occluded(folder: Path, *, masking: Any) -> str:
    image, other = (torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    for term in PHOTOMETRIC:
        reconstruction = other.clone().requires_grad_()
        loss = photometric_loss(term, image, reconstruction, torch.zeros(2, 1, 16, 16), masking=masking)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.isfinite()
        assert reconstruction.grad is not None
        assert reconstruction.grad.abs().max() == 0
    return "loss finite; gradient 0; 4 photometric terms"


def wild_flow(value: float, share: str) -> Tensor:
    flow = torch.randn(2, 2, 12, 16, generator=torch.Generator().manual_seed(0))
    if share == "one":
        flow[0, 0, 3, 4] = value
    else:
        flow[:] = value
    return flow


def warped(folder: Path, *, value: float, share: str) -> str:
    for padding in ("border", "zeros"):
        image = torch.rand(2, 3, 12, 16).requires_grad_()
        flow = wild_flow(value, share).requires_grad_()
        warp(image, flow, padding=padding).sum().backward()  # type: ignore[no-untyped-call]
        assert image.grad is not None
        assert flow.grad is not None
        assert image.grad.isfinite().all()
        assert flow.grad.isfinite().all()
    return "result and both gradients finite"


def hidden(folder: Path, *, value: float) -> str:
    flow = wild_flow(value, "one")
    for visible in (
        forward_backward_visibility(flow, -flow),
        range_map_visibility(flow),
        ForwardBackward()(flow, flow),
        RangeMap()(flow, flow),
    ):
        assert set(visible.unique().tolist()) <= {0.0, 1.0}
    assert forward_backward_visibility(flow, -flow)[0, 0, 3, 4] == 0
    return "maps of 0 and 1; the pixel is not visible"


def rough(folder: Path) -> str:
    image = torch.rand(2, 3, 12, 16)
    for term in SMOOTHNESS:
        for field in (torch.zeros(2, 2, 12, 16), torch.full((2, 2, 12, 16), 1e4), 1e4 * torch.randn(2, 2, 12, 16)):
            flow = field.clone().requires_grad_()
            cost = term(flow, image)
            if cost.requires_grad:
                cost.backward()
                assert flow.grad is not None
                assert flow.grad.isfinite().all()
            assert cost.isfinite()
    return f"cost and gradient finite; {len(SMOOTHNESS)} terms"


def measured(folder: Path, *, predicted: float = 1.0, valid: bool = True, occluded: bool = False) -> str:
    """Two images, of which the second is sound."""
    metrics = FlowMetrics()
    for value, known in ((predicted, valid), (1.0, True)):
        flow = torch.full((1, 2, 8, 8), value)
        maps = {name: torch.full((1, 8, 8), fact) for name, fact in (("valid", known), ("occluded", occluded))}
        metrics.update(image_measures(flow, torch.zeros(1, 2, 8, 8), **maps, foreground=None, boundary_distance=None))
    epe = float(metrics.compute()["epe"])
    wild = torch.tensor(predicted).isfinite().logical_not().item()
    assert (epe != epe or epe == float("inf")) if wild else abs(epe - 2**0.5) < 1e-6
    return f"end-point error {epe:.3f}"


def shrunk(folder: Path) -> str:
    small = resize_flow(torch.full((1, 2, 8, 8), 1e30), (4, 4))
    assert small.isfinite().all()
    return "finite"


def overflow(folder: Path) -> str:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    guard, plugin = SkipNonFiniteSteps(), MixedPrecision("16-mixed", "cpu", scaler)
    flow = fit(folder, layers(8), guard, steps=24, plugins=[plugin])
    fresh = UnsupervisedFlow(**parts())
    moved = any(not value.equal(fresh.state_dict()[name]) for name, value in flow.state_dict().items())
    assert finite(flow)
    assert moved
    assert guard.skipped == 0
    assert scaler.get_scale() < 2.0**40
    return f"scale reduced from 2^40 to {scaler.get_scale():.0f}; then the weights change and stay finite"


def bad_frame_under_float16(folder: Path) -> str:
    guard, plugin = SkipNonFiniteSteps(), MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1.0))
    assert finite(fit(folder, poisoned(one_pixel(float("nan"))), guard, plugins=[plugin]))
    assert guard.skipped == 1
    return "1 of 4 steps skipped; weights finite"


class BreaksGradients(pl.Callback):
    """Sets one weight's gradient in the second step."""

    def __init__(self, value: float = float("inf")) -> None:
        self.value = value

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step == 1:
            next(p for p in pl_module.parameters() if p.grad is not None).grad[:] = self.value  # type: ignore[index]


def broken_gradient(folder: Path) -> str:
    guard = SkipNonFiniteSteps()
    pl.seed_everything(0)
    flow = UnsupervisedFlow(**parts())
    data = FlowDataModule(train=layers(8), batch_size=2, workers=0)
    options: dict[str, Any] = {"max_steps": 4, "limit_val_batches": 0, "gradient_clip_val": 1.0}
    trainer(folder, callbacks=[BreaksGradients(), guard], **options).fit(flow, data)
    assert finite(flow)
    assert guard.skipped == 1
    return "1 of 4 steps skipped; weights finite; gradient clipping enabled"


def half_of_a_step(folder: Path) -> str:
    guard = SkipNonFiniteSteps()
    assert finite(fit(folder, poisoned(one_pixel(float("nan"))), guard, steps=2, accumulate_grad_batches=2))
    assert guard.skipped == 1
    return "1 of 2 steps skipped; weights finite"


SKIPPED = "the step is skipped and counted; weights, buffers and evaluations stay finite"
UNTOUCHED = "neither weights, buffers nor the optimizer's state change"
FAULTS = [
    Fault("a NaN pixel in a training frame", SKIPPED, partial(poisoned_step, value=float("nan"))),
    Fault("an infinite pixel in a training frame", SKIPPED, partial(poisoned_step, value=float("inf"))),
    Fault("a NaN pixel in a frame for RAFT", SKIPPED, partial(poisoned_step, value=float("nan"), backbone="raft")),
    Fault("NaN pixels in every batch", UNTOUCHED, untouched),
    Fault("NaN pixels in every batch for RAFT", UNTOUCHED, partial(untouched, batch_norm=True)),
    Fault(
        "NaN pixels in every accumulated batch for RAFT", UNTOUCHED, partial(untouched, batch_norm=True, accumulate=2)
    ),
    Fault("a NaN pixel in a frame under averaged weights", "the average is over the other steps", untouched_average),
    Fault("finite gradients whose norm overflows", "the step is skipped; the message names the norm", overflowing_norm),
    Fault(
        "NaN pixels in every batch, most_in_a_row: 2",
        "stops with a checkpoint; names the loss term and samples",
        too_many,
    ),
    Fault("an infinite gradient of one weight, finite loss", SKIPPED, broken_gradient),
    Fault("a NaN pixel in half of an accumulated step", SKIPPED, half_of_a_step),
    Fault("float16 gradients that overflow at scale 2^40", "the scaler recovers; no step counts as a fault", overflow),
    Fault("a NaN pixel under float16 and a scale of 1", SKIPPED, bad_frame_under_float16),
    Fault("constant frames", "finite losses and weights", partial(dull, change=lambda x: x * 0 + 0.5)),
    Fault("black first frames", "finite losses and weights", partial(dull, change=lambda x: x * 0)),
    Fault("a fully occluded batch, masking: image", "finite", partial(occluded, masking="image")),
    Fault("a fully occluded batch, masking: released", "finite", partial(occluded, masking="released")),
    *(
        Fault(
            f"{'one vector is' if share == 'one' else 'all vectors are'} {name} in a warp",
            "finite values and gradients",
            partial(warped, value=v, share=share),
        )
        for name, v in WILD.items()
        for share in ("one", "only")
    ),
    *(
        Fault(f"one vector is {name} in the occlusion tests", "maps of 0 and 1", partial(hidden, value=v))
        for name, v in WILD.items()
    ),
    Fault("constant, large and random fields in the smoothness terms", "finite cost and gradient", rough),
    Fault("a flow of 1e30 px is resized", "finite", shrunk),
    Fault("a NaN prediction in a validation", "the metric is not finite", partial(measured, predicted=float("nan"))),
    Fault("an image without a valid pixel", "it is not counted", partial(measured, valid=False)),
    Fault("fully occluded images in a validation", "the metric is defined", partial(measured, occluded=True)),
]

"""Detects silently collapsed training runs: zero flow, or no visible pixels."""

import math
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_warn

ADVICE = {
    "broken": "the flow is not finite (its mean motion is {motion}). Lower the learning rate (now {rate}), set "
    "--trainer.gradient_clip_val 1.0, or train with --trainer.precision 32-true or bf16-mixed.",
    "still": "the flow has collapsed to zero: {motion:.3g} px on average, under {least:g}. Lower "
    "--model.objective.init_args.smoothness_weight (now {weight}), or raise the learning rate (now {rate}). If the "
    "motion between frames is very small, use frames that are farther apart (--data.train.stride), or lower "
    "least_motion.",
    "hidden": "nearly all pixels are classified as occluded: {visible:.1%} of the pixels are visible, under "
    "{least:.1%}. Start without an occlusion test (unrollflow.losses.Staged: first AllVisible, then RangeMap, finally "
    "ForwardBackward), lower the learning rate (now {rate}), or check that the images of each pair belong together.",
}


class CollapseGuard(Callback):
    """Warns, or stops the training, when validation shows that the flow has collapsed, and suggests what to change.

    A flow has collapsed if its mean motion is almost zero, if the forward-backward test finds almost no visible pixels,
    or if it is not finite. The check does not need ground truth.

    Args:
        least_motion: mean length of the flow below which it has collapsed to zero, pixels.
        least_visible: share of visible pixels below which the flow has collapsed.
        patience: successive validations of a fit that must show it; an untrained network predicts almost no motion.
        stop: end the training as well.

    Raises:
        ValueError: if a value is out of range.
    """

    def __init__(
        self, *, least_motion: float = 0.05, least_visible: float = 0.05, patience: int = 2, stop: bool = False
    ) -> None:
        if least_motion < 0 or not 0 <= least_visible < 1 or patience < 1:
            raise ValueError(
                f"a value is out of range: least_motion={least_motion}, least_visible={least_visible}, "
                f"patience={patience}; expected least_motion >= 0, 0 <= least_visible < 1 and patience >= 1."
            )
        self.least_motion, self.least_visible = least_motion, least_visible
        self.patience, self.stop = patience, stop
        self.seen = 0

    def state_dict(self) -> dict[str, Any]:
        """Number of successive collapsed validations."""
        return {"seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the count of a checkpoint."""
        self.seen = state_dict["seen"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the logged figures of the validation; warn once for each collapse."""
        measured = [trainer.callback_metrics.get(f"val/{name}") for name in ("motion", "visible_fraction")]
        if trainer.sanity_checking or any(value is None for value in measured):
            return
        motion, visible = (float(value) for value in measured if value is not None)
        kind = self.judge(motion, visible)
        fitting = trainer.state.fn == "fit"
        if fitting:
            self.seen = self.seen + 1 if kind else 0
        if kind is None or (fitting and self.seen != self.patience):
            return
        least = self.least_motion if kind == "still" else self.least_visible
        rate = f"{trainer.optimizers[0].param_groups[0]['lr']:.3g}" if trainer.optimizers else "the run's"
        weight = getattr(getattr(pl_module, "objective", None), "smoothness_weight", "none")
        text = ADVICE[kind].format(motion=motion, visible=visible, least=least, rate=rate, weight=weight)
        ending = " The training is stopped." if self.stop and fitting else ""
        rank_zero_warn(f"After {trainer.global_step} steps {text}{ending}")
        trainer.should_stop = trainer.should_stop or self.stop

    def judge(self, motion: float, visible: float) -> str | None:
        """Kind of collapse for a mean motion (pixels) and a share of visible pixels; None if there is none.

        >>> CollapseGuard().judge(0.01, 0.9), CollapseGuard().judge(2.0, 0.01), CollapseGuard().judge(2.0, 0.9)
        ('still', 'hidden', None)
        """
        if not math.isfinite(motion):
            return "broken"
        if motion < self.least_motion:
            return "still"
        return "hidden" if visible < self.least_visible else None

"""What the smoothness term does in a training: its share of the update, and the flow gradients that it acts on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor, nn

from unrollflow.losses import LossTerms, Smoothness, UnrolledTotalVariation, UnsupervisedObjective, edge_aware_mean
from unrollflow.ops import unroll
from unrollflow.training.compile import StepParts
from unrollflow.training.module import UnsupervisedFlow

EDGES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Of the histogram of |c|, in the term's unit, such as pixels per pixel; the last bin is what lies above."""


class SmoothnessTelemetry(Callback):
    """Logs, every few steps and to every logger, what the smoothness term does, as `telemetry/...`.

    - `gradient_photometric`, `gradient_smoothness`: norms of the two weighted terms' gradients of the network's
      weights; `smoothness_share`: the second over their sum; `cosine`: of the angle between the two, below 0 where they
      work against each other. Lessons of a student are in neither.
    - `c_mean` and `c_from_A_to_B`: mean of |c| and its histogram, as shares of the entries, where c is what the penalty
      sees: the flow's gradient, edge-weighted where the weights stand inside. W&B gets the histogram as one, too.
    - of :class:`~unrollflow.losses.UnrolledTotalVariation`, for each t from 1 to T, `thresholded_t`: share of the
      entries that the soft threshold sets to zero (q_t = 0), and `residual_t`: mean of |q_t - c|.

    They are of one batch (the first of a step, of the first process), as the step itself sees it: with its jitter, in
    its precision. Only steps that are logged cost anything, about one backward pass each, run without torch.compile,
    and read values back from a GPU.

    Args:
        every_n_steps: whose multiples are logged.

    Raises:
        ValueError: if that is less than 1.
    """

    def __init__(self, *, every_n_steps: int = 100) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps={every_n_steps}: a number of steps of at least 1 is needed.")
        self.every_n_steps, self.measured = every_n_steps, -1
        self.parts: StepParts | None = None
        self.terms: LossTerms | None = None
        self.seen: list[tuple[Smoothness, Tensor, Tensor]] = []
        self.hooks: list[Any] = []  # torch's handles

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse an objective without the two terms.

        Raises:
            ValueError: if there is nothing to measure.
        """
        self.measured = -1
        objective = getattr(pl_module, "objective", None)
        if not isinstance(objective, UnsupervisedObjective):
            raise ValueError(
                f"SmoothnessTelemetry needs an UnsupervisedObjective, but got a {type(objective).__name__}, "
                "which has no smoothness term; take the callback away."
            )

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Listen to the objective of a step that is due, uncompiled: compiled graphs cannot be walked twice."""
        step = trainer.global_step
        if step % self.every_n_steps or step == self.measured or not isinstance(pl_module, UnsupervisedFlow):
            return
        self.measured, self.parts = step, pl_module.parts
        pl_module.parts = StepParts(pl_module.backbone, pl_module.objective)
        self.hooks = [
            pl_module.objective.register_forward_hook(self._keep_terms),
            pl_module.objective.smoothness.register_forward_pre_hook(self._keep_field),
        ]

    def _keep_terms(self, objective: nn.Module, arguments: Any, terms: LossTerms) -> None:
        self.terms = terms

    def _keep_field(self, smoothness: Smoothness, arguments: tuple[Tensor, Tensor]) -> None:
        field, image = arguments
        self.seen.append((smoothness, field.detach(), image))

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Measure what was kept, and hand it to the loggers."""
        if self.terms is None:
            return
        weights = [p for p in pl_module.parameters() if p.requires_grad]
        values = gradient_shares(self.terms, weights) | field_statistics(self.seen)
        self._release(pl_module)
        names, figures = (
            list(values),
            torch.stack([v.float() for v in values.values()]).tolist(),
        )  # waits for a GPU once
        logged = {f"telemetry/{name}": figure for name, figure in zip(names, figures, strict=True)}
        for logger in trainer.loggers:
            extra = {"telemetry/c": wandb_histogram(logged)} if isinstance(logger, WandbLogger) else {}
            logger.log_metrics(logged | extra, step=trainer.global_step)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Stop listening."""
        self._release(pl_module)

    def _release(self, pl_module: pl.LightningModule) -> None:
        for hook in self.hooks:
            hook.remove()
        if self.parts is not None and isinstance(pl_module, UnsupervisedFlow):
            pl_module.parts = self.parts
        self.hooks, self.seen, self.terms, self.parts = [], [], None, None


def gradient_shares(terms: LossTerms, weights: Sequence[Tensor]) -> dict[str, Tensor]:
    """Norms of the gradients of a step's two terms, weighted as they are summed, and how they relate.

    The graph is kept for the backward pass.

    Args:
        terms: of a step, with their graph.
        weights: that are learnt.

    Returns:
        scalars by name, see :class:`SmoothnessTelemetry`; where both are zero, share and cosine are 0.
    """
    # the difference is the smoothness term times its weight, whatever weight is in force
    parts = {"photometric": terms.photometric, "smoothness": terms.total - terms.photometric}
    gradients = {
        name: torch.autograd.grad(part, weights, retain_graph=True, allow_unused=True, materialize_grads=True)
        for name, part in parts.items()
    }
    photometric, smoothness = (nn.utils.get_total_norm(gradients[name]) for name in parts)
    dot = torch.stack([(a * b).sum() for a, b in zip(*gradients.values(), strict=True)]).sum()
    tiny = torch.finfo(dot.dtype).tiny
    return {
        "gradient_photometric": photometric,
        "gradient_smoothness": smoothness,
        "smoothness_share": smoothness / (photometric + smoothness).clamp_min(tiny),
        "cosine": dot / (photometric * smoothness).clamp_min(tiny),
    }


@torch.no_grad()
def field_statistics(seen: Sequence[tuple[Smoothness, Tensor, Tensor]]) -> dict[str, Tensor]:
    """Statistics of c over all fields (B, C, h, w) that a term has seen, each with its guide (B, 3, H, W).

    Returns:
        scalars by name, see :class:`SmoothnessTelemetry`; {} without a field.

    >>> ramp = torch.arange(4.0).expand(1, 1, 4, 4)  # c is 1 along x, 0 along y
    >>> term = UnrolledTotalVariation(lam=0.5, rho=1.0, edge_alpha=0.0)
    >>> values = field_statistics([(term, ramp, torch.zeros(1, 3, 4, 4))])
    >>> [values[name].item() for name in ("c_mean", "c_from_1_to_3", "thresholded_1", "residual_1")]
    [0.5, 0.5, 0.5, 0.25]
    """
    if not seen:
        return {}
    c = torch.cat([part for term, field, image in seen for part in penalised(term, field, image)])
    edges = [*EDGES[1:], torch.inf]
    below = [(c.abs() < edge).float().mean() for edge in edges]
    shares = [high - low for low, high in zip([below[0].new_zeros(()), *below], below, strict=False)]
    values = {"c_mean": c.abs().mean()} | {
        f"c_from_{low:g}_to_{high:g}": share for low, high, share in zip(EDGES, edges, shares, strict=True)
    }
    term = seen[0][0]
    if isinstance(term, UnrolledTotalVariation):
        iterates = unroll(c, lam=term.lam, rho=term.rho, eta=term.eta, steps=term.steps)[1:]
        values |= {f"thresholded_{t}": (q == 0).float().mean() for t, (q, _) in enumerate(iterates, start=1)}
        values |= {f"residual_{t}": (q - c).abs().mean() for t, (q, _) in enumerate(iterates, start=1)}
    return values


def penalised(smoothness: Smoothness, field: Tensor, image: Tensor) -> list[Tensor]:
    """What a term's penalty sees of a field: c of both directions, flattened."""
    found: list[Tensor] = []

    def _keep(c: Tensor) -> Tensor:
        found.append(c.flatten())
        return c

    edge_aware_mean(
        field,
        image,
        _keep,
        operator=smoothness.operator,
        order=smoothness.order,
        edge_alpha=smoothness.edge_alpha,
        edge_position=smoothness.edge_position,
        guide_range=smoothness.guide_range,
    )
    return found


def wandb_histogram(logged: dict[str, float]) -> Any:
    """The shares of |c| as W&B's own histogram, what lies above the last edge up to ten times that edge."""
    import wandb  # heavy, and here it is in use anyway

    shares = [value for name, value in logged.items() if name.startswith("telemetry/c_from_")]
    return wandb.Histogram(np_histogram=(np.array(shares), np.array([*EDGES, 10 * EDGES[-1]])))

"""Statistics of the smoothness term in training: its share of the update and the flow gradients that it acts on."""

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
"""Edges of the histogram of |c|, in the unit of the term, such as pixels per pixel; the last bin is unbounded."""


class SmoothnessTelemetry(Callback):
    """Logs statistics of the smoothness term as `telemetry/...`, every few steps and to every logger.

    - `gradient_photometric`, `gradient_smoothness`: norms of the gradients of the two weighted terms with respect to
      the network's weights; `smoothness_share`: the second norm divided by the sum of both; `cosine`: cosine of the
      angle between the gradients, negative if the terms oppose each other. Distillation terms are not included.
    - `c_mean` and `c_from_A_to_B`: mean of |c| and its histogram, as shares of the entries. c is the input of the
      penalty: the flow gradient, multiplied by the edge weights if they are inside the penalty. W&B also receives a
      histogram object.
    - for :class:`~unrollflow.losses.UnrolledTotalVariation` and each t from 1 to T, `thresholded_t`: share of the
      entries that the soft threshold sets to zero (q_t = 0), and `residual_t`: mean of |q_t - c|.

    The statistics are of one batch (the first of a step, in the first process), with the jitter and precision of the
    step. Each logged step costs about one more backward pass, runs without torch.compile, and synchronises with the
    GPU; other steps cost nothing.

    Args:
        every_n_steps: steps that are multiples of this number are logged.

    Raises:
        ValueError: if it is less than 1.
    """

    def __init__(self, *, every_n_steps: int = 100) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps is out of range: {every_n_steps}; it must be at least 1.")
        self.every_n_steps, self.measured = every_n_steps, -1
        self.parts: StepParts | None = None
        self.terms: LossTerms | None = None
        self.seen: list[tuple[Smoothness, Tensor, Tensor]] = []
        self.hooks: list[Any] = []  # torch's handles

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check that the objective has both terms.

        Raises:
            ValueError: if it does not.
        """
        self.measured = -1
        objective = getattr(pl_module, "objective", None)
        if not isinstance(objective, UnsupervisedObjective):
            raise ValueError(
                f"SmoothnessTelemetry needs an UnsupervisedObjective: found a {type(objective).__name__}, "
                "which has no smoothness term; remove the callback."
            )

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Hook into the objective if the step is due; without torch.compile, whose graphs allow one backward pass."""
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
        """Compute the statistics and log them."""
        if self.terms is None:
            return
        weights = [p for p in pl_module.parameters() if p.requires_grad]
        values = gradient_shares(self.terms, weights) | field_statistics(self.seen)
        self._release(pl_module)
        names, figures = (
            list(values),
            torch.stack([v.float() for v in values.values()]).tolist(),
        )  # one synchronisation with the GPU
        logged = {f"telemetry/{name}": figure for name, figure in zip(names, figures, strict=True)}
        for logger in trainer.loggers:
            extra = {"telemetry/c": wandb_histogram(logged)} if isinstance(logger, WandbLogger) else {}
            logger.log_metrics(logged | extra, step=trainer.global_step)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Remove the hooks."""
        self._release(pl_module)

    def _release(self, pl_module: pl.LightningModule) -> None:
        for hook in self.hooks:
            hook.remove()
        if self.parts is not None and isinstance(pl_module, UnsupervisedFlow):
            pl_module.parts = self.parts
        self.hooks, self.seen, self.terms, self.parts = [], [], None, None


def gradient_shares(terms: LossTerms, weights: Sequence[Tensor]) -> dict[str, Tensor]:
    """Norms, share and cosine of the gradients of the two weighted terms of a step.

    The graph is retained for the backward pass.

    Args:
        terms: loss terms of a step, with their graph.
        weights: trainable weights.

    Returns:
        scalars by name, see :class:`SmoothnessTelemetry`; share and cosine are 0 if both gradients are zero.
    """
    # the difference is the smoothness term times its current weight
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
    """Statistics of c over all input fields (B, C, h, w) of a term, each with its guide (B, 3, H, W).

    Returns:
        scalars by name, see :class:`SmoothnessTelemetry`; {} if there are no fields.

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
    """Inputs of a term's penalty for a field: c in both directions, flattened."""
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
    """W&B histogram of the shares of |c|; its last bin ends at ten times the last edge."""
    import wandb  # slow to import; here it is already in use

    shares = [value for name, value in logged.items() if name.startswith("telemetry/c_from_")]
    return wandb.Histogram(np_histogram=(np.array(shares), np.array([*EDGES, 10 * EDGES[-1]])))

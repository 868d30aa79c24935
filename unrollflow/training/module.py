"""LightningModule for training, validation and prediction with a backbone and an objective."""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from unrollflow.checkpoints import check_fits, read_checkpoint
from unrollflow.contracts import FlowEstimate, FlowNetwork, FlowSample, Prediction, check_images
from unrollflow.data.transforms.geometry import crop_to_multiple
from unrollflow.losses import Distillation, Objective, Photometric, Smoothness, unlabelled_measures
from unrollflow.losses.views import jittered
from unrollflow.metrics import FlowMetrics, image_measures
from unrollflow.metrics.names import MEASURES
from unrollflow.models.pairs import check_frames
from unrollflow.ops import crop_centre, forward_backward_visibility, pad_to_multiple
from unrollflow.ops.seeds import derived_seed
from unrollflow.training.compile import StepParts, compiled
from unrollflow.training.loading import LoadsData
from unrollflow.training.lr_schedulers import check_rate, schedule, set_rate, step_on_plateau
from unrollflow.training.shared import Shared
from unrollflow.weights import weights_file

TRUE_MAPS = ("valid", "occluded", "foreground", "boundary_distance", "flow_candidates")
ObjectiveFactory = Callable[[Photometric, Smoothness], Objective]
OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]


class UnsupervisedFlow(LoadsData):
    """Unsupervised training, validation and prediction of an optical-flow network.

    In training, images are cropped to multiples of the backbone's stride. Otherwise, they are padded (replicate), and
    the flow is cropped.

    Args:
        backbone: a :class:`~unrollflow.contracts.FlowNetwork`.
        photometric: photometric term.
        smoothness: smoothness term.
        objective: combines the two terms; in Python `functools.partial(UnsupervisedObjective, visibility=..., ...)`.
        optimizer: creates an optimizer from parameter groups; weight decay applies to weights, not to biases and norms.
        scheduler: creates a learning-rate scheduler from the optimizer, advanced once per step, or after each
            validation if it is a ReduceLROnPlateau; None: a constant rate.
        distillation: terms of the self-supervision, in which the network's flow is the teacher; [] or None: none.
        jitter: changes the input of the backbone in training, such as :class:`~unrollflow.data.AppearanceJitter`; the
            objective compares the original frames (SMURF). None: the input are the original frames.
        init_weights: initial weights: a checkpoint of an earlier stage, a safetensors file, or the name of shipped
            weights.
        compile: compile network and objective (torch.compile) when a training starts; checkpoints do not change.

    Attributes:
        learning_rate: replaces the optimizer's rate if it is not None; set by Lightning's learning-rate finder.

    Raises:
        ValueError: if the backbone is not a FlowNetwork, or `init_weights` contains another network.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        photometric: Photometric,
        smoothness: Smoothness,
        objective: ObjectiveFactory,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None = None,
        distillation: list[Distillation] | None = None,
        jitter: nn.Module | None = None,
        init_weights: str | Path | None = None,
        compile: bool = False,  # noqa: A002, the command line's --model.compile
    ) -> None:
        super().__init__()
        if not isinstance(backbone, FlowNetwork):
            raise ValueError(
                f"backbone is a {type(backbone).__name__}; expected a FlowNetwork, see unrollflow.contracts."
            )
        self.backbone: FlowNetwork = backbone
        self.objective = objective(photometric, smoothness)
        self.make_optimizer = Shared(optimizer)
        self.make_scheduler = None if scheduler is None else Shared(scheduler)
        self.learning_rate: float | None = None
        self.rate_in_use: float | None = None
        self.distillation = cast(list[Distillation], nn.ModuleList(distillation or []))
        self.jitter, self.rehearsed = jitter, False
        self.measures = FlowMetrics()
        self.compiles, self.parts = compile, StepParts(self.backbone, self.objective)
        if init_weights is not None:
            weights = read_checkpoint(weights_file(init_weights))["state_dict"]
            check_fits(weights, self.state_dict(), str(init_weights))
            self.load_state_dict(weights)

    def forward(self, image1: Tensor, image2: Tensor) -> Prediction:
        """Flow in both directions of images (B, 3, H, W), RGB in [0, 1], not smaller than the backbone's minimum."""
        both = self.backbone.bidirectional(*self._padded(image1, image2))
        size = (image1.shape[-2], image1.shape[-1])
        flow, flow_backward = (crop_centre(estimates[-1].flow, size) for estimates in both)
        return Prediction(flow, flow_backward, forward_backward_visibility(flow, flow_backward))

    def one_way(self, image1: Tensor, image2: Tensor) -> Tensor:
        """Flow (B, 2, H, W) only from image1 to image2, at half the cost of :meth:`forward`."""
        estimates = self.backbone(*self._padded(image1, image2))
        return crop_centre(estimates[-1].flow, (image1.shape[-2], image1.shape[-1]))

    def _padded(self, image1: Tensor, image2: Tensor) -> list[Tensor]:
        check_frames(self.backbone, image1, image2)
        return [pad_to_multiple(image, self.backbone.stride) for image in (image1, image2)]

    def setup(self, stage: str) -> None:
        """Disable TF32, whose products have 10 bits, because flow heads, up-sampling and correlations need float32."""
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        # our data module does not have this hook, so the warning does not apply
        warnings.filterwarnings("ignore", message=".*overridden `on_before_batch_transfer`")

    def on_before_batch_transfer(self, batch: FlowSample, dataloader_idx: int) -> FlowSample:
        """Check the frames before they are copied to a GPU, where the check would be slow."""
        check_images(batch["image1"], batch["image2"], user=type(self).__name__)
        return batch

    def on_fit_start(self) -> None:
        """Compile if requested; restart the schedule if a learning-rate finder has set a rate."""
        if self.learning_rate != self.rate_in_use:
            self.trainer.strategy.setup_optimizers(self.trainer)
        if self.compiles:
            self.parts = compiled(self.backbone, self.objective, device=self.device)

    def training_step(self, batch: FlowSample, batch_idx: int) -> Tensor:
        """Cost of a batch: the objective plus the distillation terms."""
        check_frames(self.backbone, batch["image1"], batch["image2"])
        sample = crop_to_multiple(batch, self.backbone.stride)
        seen = frames = (sample["image1"], sample["image2"])
        if self.jitter is not None:
            seen = jittered(self.jitter, *frames, seeds=self._seeds(batch))
        forward, backward = self.parts.network.bidirectional(*seen)
        cost = self.parts.objective(sample, forward, backward, step=self.global_step)
        total: Tensor = cost.total + self._distil(sample, forward, backward)
        self.log_dict(cost.log | {"loss/total": total.detach()})
        self.log("loss", total.detach(), prog_bar=True, logger=False)
        return total

    def _seeds(self, batch: FlowSample) -> list[int]:
        """Seeds from (seed, step, sample), so that draws do not depend on the number of processes or on a resume."""
        return [derived_seed(torch.initial_seed(), self.global_step, name) for name in batch["name"]]

    def _distil(self, sample: FlowSample, forward: list[FlowEstimate], backward: list[FlowEstimate]) -> Tensor:
        """Weighted loss of the distillation terms of this step; the teacher's input are the original frames."""
        flows = (forward[-1].flow, backward[-1].flow)
        if not self.rehearsed:  # run all terms once, so that errors occur at the first step
            self.rehearsed = True
            with torch.no_grad():
                for part in self.distillation:
                    part(self.backbone, sample, *flows, seeds=self._seeds(sample), step=part.start)
        lessons = [(i, part) for i, part in enumerate(self.distillation) if part.weight_at(self.global_step)]
        if not lessons:
            return sample["image1"].new_zeros(())
        if self.jitter is not None:
            with torch.no_grad():
                forward, backward = self.parts.network.bidirectional(sample["image1"], sample["image2"])
                flows = (forward[-1].flow, backward[-1].flow)
        losses = []
        for i, part in lessons:
            own = [derived_seed(seed, i) for seed in self._seeds(sample)]
            loss = part(self.parts.network, sample, *flows, seeds=own, step=self.global_step)
            self.log(f"loss/distillation_{i}", loss.detach())
            losses.append(part.weight_at(self.global_step) * loss)
        return torch.stack(losses).sum()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the norm of the gradient before clipping."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        self.log("grad_norm", nn.utils.get_total_norm(gradients))

    def validation_step(self, batch: FlowSample, batch_idx: int) -> dict[str, Any]:
        """Compute flow, visibility, label-free measures and, with ground truth, the measures of each image."""
        return self._evaluate(batch, "test" if self.trainer.testing else "val")

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log all defined measures, and `score`: the EPE, or the photometric loss without ground truth."""
        stage = "test" if self.trainer.testing else "val"
        score = self.trainer.callback_metrics.get(f"{stage}/photometric")
        if self.measures.update_called:
            means = self.measures.compute()  # the table of an evaluation has those pooled over pixels
            # already reduced over processes; `sync_dist` only avoids a warning of Lightning
            defined = {f"{stage}/{k}": means[k] for k in MEASURES if not means[k].isnan()}
            self.log_dict(defined, sync_dist=True)
            self.log("epe", means["epe"], prog_bar=True, logger=False, sync_dist=True)
            score = means["epe"]
            self.measures.reset()
        if score is not None:
            self.log(f"{stage}/score", score, sync_dist=True)
            if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
                step_on_plateau(self.trainer.lr_scheduler_configs, float(score))

    on_test_epoch_end = on_validation_epoch_end

    def predict_step(self, batch: FlowSample, batch_idx: int) -> Prediction:
        """Flow in both directions, at the size of the images."""
        return cast(Prediction, self(batch["image1"], batch["image2"]))

    def configure_optimizers(self) -> Any:
        """Create the optimizer, without weight decay for biases and norms, and the scheduler, advanced per step."""
        weights = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        rest = [p for p in self.parameters() if p.requires_grad and p.ndim <= 1]
        optimizer = self.make_optimizer([{"params": weights}, {"params": rest, "weight_decay": 0.0}])
        self.rate_in_use = self.learning_rate
        set_rate(optimizer, self.learning_rate)
        if self.make_scheduler is None:
            return optimizer
        scheduler = self.make_scheduler(optimizer)
        check_rate(scheduler, self.learning_rate)
        return {"optimizer": optimizer, "lr_scheduler": schedule(scheduler)}

    def _evaluate(self, batch: FlowSample, stage: str) -> dict[str, Any]:
        image1, image2 = batch["image1"], batch["image2"]
        prediction: Prediction = self(image1, image2)
        blind = unlabelled_measures(image1, image2, prediction)
        means = {f"{stage}/{name}": values.mean() for name, values in blind.items()}
        means[f"{stage}/photometric"] = self.objective.held_out(image1, image2, prediction.flow)
        self.log_dict(means, batch_size=len(image1), sync_dist=True)
        outputs: dict[str, Any] = {"flow": prediction.flow, "visible": prediction.visible, "unlabelled": blind}
        if "flow" in batch:
            maps: dict[str, Any] = {name: batch.get(name) for name in TRUE_MAPS}
            outputs["measures"] = image_measures(prediction.flow, batch["flow"], **maps)
            self.measures.update(outputs["measures"])
        return outputs

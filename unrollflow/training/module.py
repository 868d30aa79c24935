"""The LightningModule: a backbone makes flow of two images, an objective makes a loss of it."""

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

    Training crops images to the backbone's multiples; everything else pads them (replicate) and crops the flow back.

    Args:
        backbone: a :class:`~unrollflow.contracts.FlowNetwork`.
        photometric: how a frame and its reconstruction differ.
        smoothness: how rough a flow is.
        objective: combines the two; in Python `functools.partial(UnsupervisedObjective, visibility=..., ...)`.
        optimizer: makes an optimizer of parameter groups; weight decay reaches weights, not biases and norms.
        scheduler: makes a learning-rate scheduler of the optimizer, advanced once a step, or after each validation if
            it is a ReduceLROnPlateau; None: a constant rate.
        distillation: kinds of lessons for a student that the network's own flow teaches (self-supervision); [] or None:
            none.
        jitter: changes what the backbone sees in training, such as :class:`~unrollflow.data.AppearanceJitter`; the
            objective compares the frames as they were (SMURF). None: it sees the frames themselves.
        init_weights: weights that this training starts from: a checkpoint of an earlier stage, a safetensors file,
            or the name of shipped weights.
        compile: compile network and objective (torch.compile) when a training starts; checkpoints do not change.

    Attributes:
        learning_rate: replaces the optimizer's own rate if it is not None, as Lightning's learning-rate finder sets it.

    Raises:
        ValueError: if the backbone is not a FlowNetwork, or `init_weights` holds another network.
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
                f"backbone is a {type(backbone).__name__}, but a FlowNetwork is needed: see unrollflow.contracts."
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
        """Flow both ways of images (B, 3, H, W) of any size of at least the backbone's minimum, RGB in [0, 1]."""
        both = self.backbone.both(*self._padded(image1, image2))
        size = (image1.shape[-2], image1.shape[-1])
        flow, flow_backward = (crop_centre(estimates[-1].flow, size) for estimates in both)
        return Prediction(flow, flow_backward, forward_backward_visibility(flow, flow_backward))

    def one_way(self, image1: Tensor, image2: Tensor) -> Tensor:
        """Flow (B, 2, H, W) from image1 to image2 alone: as :meth:`forward`, for half of the work."""
        estimates = self.backbone(*self._padded(image1, image2))
        return crop_centre(estimates[-1].flow, (image1.shape[-2], image1.shape[-1]))

    def _padded(self, image1: Tensor, image2: Tensor) -> list[Tensor]:
        check_frames(self.backbone, image1, image2)
        return [pad_to_multiple(image, self.backbone.stride) for image in (image1, image2)]

    def setup(self, stage: str) -> None:
        """Disable TF32, whose products have 10 bits: flow heads, up-sampling and correlations need float32."""
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        # our data module has no such hook of its own, so nothing is omitted
        warnings.filterwarnings("ignore", message=".*overridden `on_before_batch_transfer`")

    def on_before_batch_transfer(self, batch: FlowSample, dataloader_idx: int) -> FlowSample:
        """Check the frames where their range is cheap to read: before they are on a GPU."""
        check_images(batch["image1"], batch["image2"], user=type(self).__name__)
        return batch

    def on_fit_start(self) -> None:
        """Compile, where that is asked for; start the schedule at a rate that a finder found."""
        if self.learning_rate != self.rate_in_use:
            self.trainer.strategy.setup_optimizers(self.trainer)
        if self.compiles:
            self.parts = compiled(self.backbone, self.objective, device=self.device)

    def training_step(self, batch: FlowSample, batch_idx: int) -> Tensor:
        """The objective of a batch, and what its student does not do as its teacher."""
        check_frames(self.backbone, batch["image1"], batch["image2"])
        sample = crop_to_multiple(batch, self.backbone.stride)
        seen = frames = (sample["image1"], sample["image2"])
        if self.jitter is not None:
            seen = jittered(self.jitter, *frames, seeds=self._seeds(batch))
        forward, backward = self.parts.network.both(*seen)
        cost = self.parts.objective(sample, forward, backward, step=self.global_step)
        total: Tensor = cost.total + self._distil(sample, forward, backward)
        self.log_dict(cost.log | {"loss/total": total.detach()})
        self.log("loss", total.detach(), prog_bar=True, logger=False)
        return total

    def _seeds(self, batch: FlowSample) -> list[int]:
        """Of (seed, step, sample): the same draws however a batch is split over processes, and after a resume."""
        return [derived_seed(torch.initial_seed(), self.global_step, name) for name in batch["name"]]

    def _distil(self, sample: FlowSample, forward: list[FlowEstimate], backward: list[FlowEstimate]) -> Tensor:
        """Weighted loss of the lessons that count at this step; the teacher sees the frames as they are."""
        flows = (forward[-1].flow, backward[-1].flow)
        if not self.rehearsed:  # one that does not fit shall fail at the first step, not at its own
            self.rehearsed = True
            with torch.no_grad():
                for part in self.distillation:
                    part(self.backbone, sample, *flows, seeds=self._seeds(sample), step=part.start)
        lessons = [(i, part) for i, part in enumerate(self.distillation) if part.weight_at(self.global_step)]
        if not lessons:
            return sample["image1"].new_zeros(())
        if self.jitter is not None:
            with torch.no_grad():
                forward, backward = self.parts.network.both(sample["image1"], sample["image2"])
                flows = (forward[-1].flow, backward[-1].flow)
        losses = []
        for i, part in lessons:
            own = [derived_seed(seed, i) for seed in self._seeds(sample)]
            loss = part(self.parts.network, sample, *flows, seeds=own, step=self.global_step)
            self.log(f"loss/distillation_{i}", loss.detach())
            losses.append(part.weight_at(self.global_step) * loss)
        return torch.stack(losses).sum()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the gradient's norm as it is before clipping."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        self.log("grad_norm", nn.utils.get_total_norm(gradients))

    def validation_step(self, batch: FlowSample, batch_idx: int) -> dict[str, Any]:
        """Flow, visibility and, where there is ground truth, each image's measures."""
        return self._evaluate(batch, "test" if self.trainer.testing else "val")

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log what is defined, and `score`: the EPE, or the photometric loss where there is no ground truth."""
        stage = "test" if self.trainer.testing else "val"
        score = self.trainer.callback_metrics.get(f"{stage}/photometric")
        if self.measures.update_called:
            means = self.measures.compute()  # what is pooled over pixels stands in the evaluation's table
            # joined over the processes already: `sync_dist` only silences Lightning's warning
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
        """Flow both ways, at the size of the images."""
        return cast(Prediction, self(batch["image1"], batch["image2"]))

    def configure_optimizers(self) -> Any:
        """Optimizer over weights and, without weight decay, biases and norms; scheduler by the step."""
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

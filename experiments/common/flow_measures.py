"""Measures of the flow of a trained network on stored samples, with and without ground truth."""

from typing import Any

import torch
from torch import Tensor

from experiments.common.boundary_score import best_threshold, boundary_f1
from experiments.common.results import rounded_values
from experiments.common.stored_layers import StoredLayers
from unrollflow.contracts import Prediction
from unrollflow.data import FlowDataModule
from unrollflow.losses import unlabelled_measures
from unrollflow.metrics import image_measures
from unrollflow.training.module import UnsupervisedFlow

MEASURES = ("epe", "epe_noc", "epe_occ", "epe_d0_5", "epe_d0_10", "epe_d10_60")


@torch.no_grad()
def predicted(model: UnsupervisedFlow, data: StoredLayers) -> dict[str, Tensor]:
    """Return all maps of a data set as batches, with `flow_forward`, `flow_backward` and `visible` of the network."""
    model.eval()
    parts: list[dict[str, Tensor]] = []
    loader = FlowDataModule(train=None, validation=data, validation_batch_size=32, workers=0).val_dataloader()
    for batch in loader:
        forward, backward, visible = model(batch["image1"], batch["image2"])
        maps = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        parts.append(maps | {"flow_forward": forward, "flow_backward": backward, "visible": visible})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def errors(maps: dict[str, Tensor], flow: Tensor) -> dict[str, Tensor]:
    """Return the mean error of each image for each of :data:`MEASURES`, (B,), pixels; NaN without such pixels."""
    chosen = {name: maps[name] for name in ("valid", "occluded", "boundary_distance")}
    means = image_measures(flow, maps["flow"], **chosen).mean
    return {name: means[name] for name in MEASURES}


def averages(model: UnsupervisedFlow, data: StoredLayers) -> dict[str, float]:
    """Return the means over the images of :func:`errors`."""
    maps = predicted(model, data)
    return {name: value.nanmean().item() for name, value in errors(maps, maps["flow_forward"]).items()}


def measured(
    model: UnsupervisedFlow, data: StoredLayers, *, threshold: float | None = None, by_image: bool = False
) -> dict[str, Any]:
    """Return the errors of a model and of zero flow, the boundary score, and label-free measures (`unlabelled`).

    Args:
        model: trained model.
        data: samples to measure.
        threshold: threshold of predicted boundaries, px/px; None selects the best one on this data.
        by_image: also return the errors of each image (`images`), rounded to 1e-4 px.
    """
    maps = predicted(model, data)
    flow, truth = maps["flow_forward"], maps["flow"]
    own, zero = errors(maps, flow), errors(maps, torch.zeros_like(flow))
    threshold = best_threshold(flow, truth) if threshold is None else threshold
    results: dict[str, Any] = {name: value.nanmean().item() for name, value in own.items()}
    results |= {f"zero_{name}": value.nanmean().item() for name, value in zero.items()}
    results |= {"boundary_f1": boundary_f1(flow, truth, threshold=threshold), "boundary_threshold": threshold}
    results["unlabelled"] = unlabelled(model, maps)
    if by_image:
        results["images"] = {name: rounded_values(own[name]) for name in ("epe", "epe_noc", "epe_occ")}
    return results


@torch.no_grad()
def unlabelled(model: UnsupervisedFlow, maps: dict[str, Tensor]) -> dict[str, float]:
    """Return the means over the images of the label-free measures of a validation."""
    image1, image2, flow = maps["image1"], maps["image2"], maps["flow_forward"]
    found = unlabelled_measures(image1, image2, Prediction(flow, maps["flow_backward"], maps["visible"]))
    means = {name: values.mean().item() for name, values in found.items()}
    return means | {"photometric": model.objective.held_out(image1, image2, flow).item()}

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from unrollflow.metrics import MEASURES, FlowMetrics, best_constant_flow, fl_outliers, image_measures


def vector(u: float, v: float) -> Tensor:
    return torch.tensor([u, v]).view(1, 2, 1, 1)


def random(count: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Prediction, target, valid, occluded."""
    generator = torch.Generator().manual_seed(0)
    flow, target = (4 * torch.randn(count, 2, 6, 7, generator=generator) for _ in range(2))
    valid, occluded = (torch.rand(count, 6, 7, generator=generator) < p for p in (0.8, 0.3))
    return flow, target, valid, occluded


def test_measures_are_what_a_few_lines_of_numpy_say() -> None:
    flow, target, valid, occluded = random()
    ours = image_measures(flow, target, valid=valid, occluded=occluded)
    for i in range(3):
        error = np.linalg.norm((flow - target)[i].numpy(), axis=0)
        length = np.linalg.norm(target[i].numpy(), axis=0)
        v, o = valid[i].numpy(), occluded[i].numpy()
        expected = {
            "epe": error[v].mean(),
            "epe_noc": error[v & ~o].mean(),
            "epe_occ": error[v & o].mean(),
            "fl": 100 * ((error > 3) & (error > 0.05 * length))[v].mean(),
            "epe_zero_flow": length[v].mean(),
        }
        for name, value in expected.items():
            assert ours[name][i].item() == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize(
    ("error", "motion", "outlier"), [(2.9, 10.0, False), (3.1, 10.0, True), (3.1, 100.0, False), (5.1, 100.0, True)]
)
def test_outliers_need_three_pixels_and_five_per_cent(error: float, motion: float, outlier: bool) -> None:
    assert fl_outliers(vector(motion + error, 0), vector(motion, 0)).item() is outlier


def test_no_constant_beats_the_best_one() -> None:
    _, target, valid, _ = random()
    best = image_measures(torch.zeros_like(target), target, valid=valid)["epe_best_constant"]
    generator = torch.Generator().manual_seed(1)
    rivals = [target.mean(dim=(2, 3), keepdim=True), target.flatten(2).median(dim=2).values[..., None, None]]
    rivals += [torch.randn(3, 2, 1, 1, generator=generator) for _ in range(50)]
    for rival in rivals:
        epe = image_measures(rival.expand_as(target), target, valid=valid)["epe"]
        assert (best <= epe + 1e-4).all()


def test_best_constant_ignores_what_is_not_valid() -> None:
    target = torch.cat([vector(2, 1), vector(1e5, 0)], dim=-1)
    assert best_constant_flow(target, torch.tensor([[[True, False]]])).flatten().tolist() == [2, 1]


def test_an_image_without_occlusion_leaves_the_occluded_mean_alone() -> None:
    flow, target = vector(0, 0), vector(3, 4)
    metrics = FlowMetrics()
    metrics.update(image_measures(flow, target, occluded=torch.ones(1, 1, 1, dtype=torch.bool)))
    metrics.update(image_measures(flow, 3 * target, occluded=torch.zeros(1, 1, 1, dtype=torch.bool)))
    means = metrics.compute()
    assert (means["epe"], means["epe_occ"], means["epe_noc"]) == (10, 5, 15)


def test_without_occlusion_maps_those_measures_are_undefined() -> None:
    metrics = FlowMetrics()
    metrics.update(image_measures(vector(0, 0), vector(3, 4)))
    assert math.isnan(metrics.compute()["epe_occ"])
    assert set(metrics.compute()) == set(MEASURES)


def test_a_broken_prediction_is_infinitely_wrong_and_not_left_out() -> None:
    metrics = FlowMetrics()
    metrics.update(image_measures(vector(float("nan"), 0), vector(3, 4)))
    metrics.update(image_measures(vector(3, 4), vector(3, 4)))
    assert math.isinf(metrics.compute()["epe"])
    assert metrics.compute()["fl"] == 50


def test_images_count_once_whatever_the_batches() -> None:
    flow, target, valid, occluded = random()
    whole, parts = FlowMetrics(), FlowMetrics()
    whole.update(image_measures(flow, target, valid=valid, occluded=occluded))
    for i in range(3):
        s = slice(i, i + 1)
        parts.update(image_measures(flow[s], target[s], valid=valid[s], occluded=occluded[s]))
    for name, value in whole.compute().items():
        torch.testing.assert_close(parts.compute()[name], value)

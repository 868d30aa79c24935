import math

import numpy as np
import pytest
import torch
from torch import Tensor

from unrollflow.metrics import (
    FlowMetrics,
    angular_error,
    fl_outliers,
    image_measures,
    median_flow,
)
from unrollflow.metrics.averages import bootstrap_interval, image_mean, pooled_mean
from unrollflow.metrics.names import MEASURES


def vector(u: float, v: float) -> Tensor:
    return torch.tensor([float(u), float(v)]).view(1, 2, 1, 1)


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
            assert ours.mean[name][i].item() == pytest.approx(value, rel=1e-5), name
            assert ours.pixels["epe_occ"][i] == (v & o).sum()


@pytest.mark.parametrize(
    ("error", "motion", "outlier"), [(2.9, 10.0, False), (3.1, 10.0, True), (3.1, 100.0, False), (5.1, 100.0, True)]
)
def test_outliers_need_three_pixels_and_five_per_cent(error: float, motion: float, outlier: bool) -> None:
    assert fl_outliers(vector(motion + error, 0), vector(motion, 0)).item() is outlier


def test_the_constant_baseline_is_the_component_wise_median_of_what_is_valid() -> None:
    """Of (1, 4), (2, 0) and (9, 5) it is (2, 4), which is 1, 4 and sqrt(50) px away."""
    target = torch.tensor([[1.0, 2.0, 9.0, 1e5], [4.0, 0.0, 5.0, -1e5]]).view(1, 2, 1, 4)
    valid = torch.tensor([[[True, True, True, False]]])
    assert median_flow(target, valid).flatten().tolist() == [2, 4]
    measured = image_measures(torch.zeros_like(target), target, valid=valid).mean["epe_median_flow"]
    assert measured.item() == pytest.approx((1 + 4 + math.sqrt(50)) / 3)


def test_each_image_has_its_own_median() -> None:
    _, target, valid, _ = random()
    for image, known, found in zip(target, valid, median_flow(target, valid), strict=True):
        assert torch.equal(found.flatten(), image[:, known].median(dim=1).values)


def test_the_median_of_no_valid_pixel_is_zero() -> None:
    target = vector(float("nan"), 2)
    assert median_flow(target, torch.zeros(1, 1, 1, dtype=torch.bool)).flatten().tolist() == [0, 0]


def test_unknown_truth_counts_in_no_measure() -> None:
    target = torch.cat([vector(3, 4), vector(1e10, 1e10), vector(float("nan"), 0)], dim=-1)
    means, pixels = image_measures(torch.zeros_like(target), target)
    assert (means["epe"].item(), means["epe_zero_flow"].item(), pixels["epe"].item()) == (5, 5, 1)


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
    assert set(metrics.compute()) == {*MEASURES, *(f"{name}_pooled" for name in MEASURES)}


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
        torch.testing.assert_close(parts.compute()[name], value, equal_nan=True)


def test_processes_that_join_their_images_average_over_all_of_them() -> None:
    flow, target, valid, occluded = random()
    measures = image_measures(flow, target, valid=valid, occluded=occluded)
    alone, joined = FlowMetrics(), FlowMetrics()
    for metrics in (alone, joined):
        metrics.update(measures)
    joined.distributed_available_fn = lambda: True
    joined.dist_sync_fn = lambda state, group: [state, state]  # of two processes, which saw the same images
    for name, value in alone.compute().items():
        torch.testing.assert_close(joined.compute()[name], value, equal_nan=True)


def test_regions_are_those_of_the_benchmarks() -> None:
    """Errors 1..4 px on pixels that move 5, 10, 39, 40 px and lie 0, 5, 10, 60 px from a boundary."""
    target = torch.tensor([[5.0, 10, 39, 40], [0, 0, 0, 0]]).view(1, 2, 1, 4)
    flow = target + torch.tensor([[0.0, 0, 0, 0], [1, 2, 3, 4]]).view(1, 2, 1, 4)
    foreground = torch.tensor([[[True, False, False, True]]])
    distance = torch.tensor([[[0.0, 5, 10, 60]]])
    means, pixels = image_measures(flow, target, foreground=foreground, boundary_distance=distance)
    expected = {
        "epe": (2.5, 4), "epe_fg": (2.5, 2), "epe_bg": (2.5, 2), "fl": (25, 4), "fl_fg": (50, 2), "fl_bg": (0, 2),
        "epe_s0_10": (1, 1), "epe_s10_40": (2.5, 2), "epe_s40": (4, 1),
        "epe_d0_5": (1, 1), "epe_d0_10": (1.5, 2), "epe_d10_60": (3, 1), "epe_d60_140": (4, 1),
        "over_1px": (75, 4), "over_3px": (25, 4), "over_5px": (0, 4),
    }  # fmt: skip
    for name, (mean, count) in expected.items():
        assert (means[name].item(), pixels[name].item()) == (pytest.approx(mean), count), name


def test_every_region_leaves_out_what_is_not_valid() -> None:
    flow, target, valid, occluded = random()
    everywhere, distance = torch.ones_like(valid), torch.zeros(valid.shape)
    maps = {"occluded": occluded, "foreground": occluded, "boundary_distance": distance}
    spoilt = torch.where(valid[:, None], flow, 1e6)
    for flow_, target_ in ((flow, target), (spoilt, target)):
        measures = image_measures(flow_, target_, valid=valid, **maps)
        assert measures.mean["over_5px"].max() < 100
        assert torch.equal(measures.pixels["epe_noc"] + measures.pixels["epe_occ"], valid.flatten(1).sum(1))
        assert torch.equal(measures.pixels["epe_fg"] + measures.pixels["epe_bg"], measures.pixels["epe"])
    for name, values in image_measures(spoilt, target, valid=valid, **maps).mean.items():
        clean = image_measures(flow, target, valid=valid, **maps).mean[name]
        torch.testing.assert_close(values, clean, equal_nan=True)
    assert not image_measures(flow, target, valid=everywhere).mean["epe"].equal(measures.mean["epe"])


@pytest.mark.parametrize(
    ("flow", "target", "degrees"), [((0, 0), (1, 0), 45), ((3, 4), (3, 4), 0), ((1, 0), (-1, 0), 90)]
)
def test_angle_in_space_time(flow: tuple[float, float], target: tuple[float, float], degrees: float) -> None:
    assert angular_error(vector(*flow), vector(*target)).item() == pytest.approx(degrees, abs=1e-5)


def test_a_tiny_angle_keeps_its_precision_in_float32() -> None:
    assert angular_error(vector(1e-4, 0), vector(0, 0)).item() == pytest.approx(math.degrees(1e-4), rel=1e-4)


def test_pooled_counts_pixels_and_the_mean_counts_images() -> None:
    flow, target = torch.zeros(1, 2, 1, 4), vector(3, 4).expand(1, 2, 1, 4)
    metrics = FlowMetrics()
    metrics.update(image_measures(flow, target))
    metrics.update(image_measures(flow, 2 * target, valid=torch.tensor([[[True, False, False, False]]])))
    means = metrics.compute()
    assert means["epe"] == 7.5
    assert means["epe_pooled"] == 6
    assert pooled_mean([5, 10], [4, 1]) == 6


def test_float64_stays_and_half_precision_is_lifted() -> None:
    flow, target = vector(0, 0), vector(3, 4)
    assert image_measures(flow.double(), target.double()).mean["epe"].dtype == torch.float64
    assert image_measures(flow.bfloat16(), target.bfloat16()).mean["epe"].dtype == torch.float32


def test_bootstrap_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    intervals = [bootstrap_interval(list(generator.exponential(2.0, 60)), confidence=0.8) for _ in range(60)]
    covered = sum(low <= 2.0 <= high for low, high in intervals)
    assert 38 <= covered <= 56  # 48 are expected; the standard deviation is 3.1


def test_bootstrap_needs_two_images_and_repeats_itself() -> None:
    assert all(math.isnan(bound) for bound in bootstrap_interval([1.0, math.nan]))
    assert bootstrap_interval([1.0, 2.0, 5.0]) == bootstrap_interval([1.0, 2.0, 5.0])
    assert bootstrap_interval([1.0, 2.0, 5.0], seed=1, confidence=0.5) != bootstrap_interval([1.0, 2.0, 5.0])


def test_the_mean_of_no_image_is_undefined() -> None:
    assert math.isnan(image_mean([math.nan]))
    assert math.isnan(pooled_mean([math.nan], [0]))


def test_of_several_true_flows_the_closest_counts_and_the_longest_sets_the_tolerance() -> None:
    """Spring's rule, by hand: two pixels with four true flows each."""
    candidates = torch.tensor([
        [[3.0, 4.0], [0.0, 0.0], [6.0, 8.0], [30.0, 40.0]],  # of a pixel whose prediction is (0, 1)
        [[10.0, 0.0], [90.0, 0.0], [0.0, 120.0], [60.0, 0.0]],  # of one whose prediction is (5, 0)
    ])  # fmt: skip
    candidates = candidates.permute(1, 2, 0).reshape(1, 4, 2, 1, 2)
    flow = torch.tensor([[0.0, 5.0], [1.0, 0.0]]).view(1, 2, 1, 2)
    found = image_measures(flow, candidates[:, 0], flow_candidates=candidates).mean
    assert found["epe"].item() == pytest.approx((1.0 + 5.0) / 2)
    assert found["epe_zero_flow"].item() == pytest.approx((0.0 + 10.0) / 2)
    assert found["fl"].item() == 0  # 5 px is over 3 px, but not over 5 % of 120 px
    assert found["over_3px"].item() == 50
    alone = image_measures(flow, candidates[:, 0]).mean
    assert alone["epe"].item() == pytest.approx((18**0.5 + 5.0) / 2)
    assert alone["fl"].item() == 100

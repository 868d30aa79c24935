from math import isqrt

import pytest
import torch

from tests.models.test_backbones import pair
from unrollflow.contracts import LikelihoodEstimate
from unrollflow.models import LikeNet
from unrollflow.models.likenet import Branches
from unrollflow.ops import resize_flow
from unrollflow.ops.matching import soft_argmax
from unrollflow.ops.shifts import window_offsets


def small() -> LikeNet:
    torch.manual_seed(0)
    return LikeNet(search_ranges=[2, 1, 1], feature_channels=[8, 6, 4], branch_channels=6)


def test_parameters_beside_the_published_ones() -> None:
    assert sum(p.numel() for p in LikeNet().parameters()) == 692_397


def test_branches_are_as_many_as_published() -> None:
    assert [(2 * branch.search_range + 1) ** 2 for branch in LikeNet().branches] == [121, 169, 49, 9, 9]


def test_estimates_carry_likelihoods_that_sum_to_one() -> None:
    for way in small().bidirectional(*pair()):
        assert [tuple(e.likelihood.shape) for e in way] == [(2, 25, 8, 12), (2, 9, 16, 24), (2, 9, 32, 48)]
        for estimate in way:
            assert isinstance(estimate, LikelihoodEstimate)
            torch.testing.assert_close(estimate.likelihood.sum(dim=1), torch.ones_like(estimate.raw[:, 0]))


def test_flow_is_the_expected_displacement_from_where_a_level_starts() -> None:
    estimates = small()(*pair())
    assert estimates[0].start.abs().max() == 0
    for before, estimate in zip([None, *estimates], estimates, strict=False):
        if before is not None:
            torch.testing.assert_close(estimate.start, resize_flow(before.raw, tuple(estimate.raw.shape[-2:])))
        side = round(estimate.likelihood.shape[1] ** 0.5)
        window = estimate.likelihood.unflatten(1, (side, side))  # (B, dy, dx, h, w)
        offsets = torch.arange(side, dtype=torch.float32) - side // 2
        expected = torch.stack(
            [torch.einsum("byxhw,x->bhw", window, offsets), torch.einsum("byxhw,y->bhw", window, offsets)], dim=1
        )
        torch.testing.assert_close(estimate.raw, estimate.start + expected)


def test_a_certain_branch_is_its_displacement() -> None:
    scores = torch.zeros(1, 25, 1, 1)
    scores[0, 5 * (1 + 2) + (-2 + 2)] = 100.0  # dy = 1, dx = -2
    assert soft_argmax(scores)[1].flatten().tolist() == [-2.0, 1.0]


def test_the_expectation_keeps_its_digits_under_autocast() -> None:
    torch.manual_seed(0)
    network = LikeNet(search_ranges=[9, 1], feature_channels=[6, 4], branch_channels=6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        estimates = network(*pair())
    for estimate in estimates:
        assert estimate.raw.dtype == estimate.likelihood.dtype == estimate.start.dtype == torch.float32
        exact = torch.einsum(
            "bkhw,kc->bchw",
            estimate.likelihood.double(),
            window_offsets(isqrt(estimate.likelihood.shape[1]) // 2, like=torch.zeros((), dtype=torch.float64)),
        )
        torch.testing.assert_close(estimate.raw.double(), estimate.start + exact, atol=1e-5, rtol=0.0)


def test_a_branch_at_first_sees_the_difference_at_its_displacement() -> None:
    torch.manual_seed(0)
    branches, seen = Branches(4, 3, search_range=1), []
    torch.nn.init.zeros_(branches.first.bias)
    branches.score.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    features = torch.randn(1, 4, 9, 9)
    branches(features, features.roll((1, -1), dims=(-2, -1)))  # y + 1, x - 1
    there = seen[0][3 * (1 + 1) + (-1 + 1)]
    assert there[..., 2:-2, 2:-2].abs().max() < 1e-5
    assert seen[0][4][..., 2:-2, 2:-2].abs().max() > 0.1


def test_all_branches_have_the_same_weights() -> None:
    branches = Branches(4, 3, search_range=1)
    features = torch.ones(1, 4, 9, 9)
    scores = branches(features, features)[..., 4, 4].flatten()
    torch.testing.assert_close(scores, scores[:1].expand(9))


def test_features_of_each_image_are_computed_once() -> None:
    network, calls = small(), []
    network.features[0].register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    network.bidirectional(*pair())
    assert calls == [4]


def test_sizes_that_cannot_be_built_are_named() -> None:
    with pytest.raises(ValueError, match=r"2 search ranges .* and 1 feature channels"):
        LikeNet(search_ranges=[1, 1], feature_channels=[8])
    with pytest.raises(ValueError, match="one range of at least 1"):
        LikeNet(search_ranges=[0], feature_channels=[8])

"""Errors of any method, on pairs with ground truth."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from experiments.common.accuracy import benchmark_sets, dis_flow, errors, network_flow, zero_flow
from experiments.large_motion.__main__ import two_apart, with_levels
from experiments.quickstart import set_rows
from tests.helpers import trees
from unrollflow.contracts import FlowSample
from unrollflow.data import Sintel
from unrollflow.models import PyramidMatcher


def sample(name: str, u: float, *, occluded: bool = False) -> FlowSample:
    """Two pixels of flow (u, 0), of which the second may be occluded."""
    flow = torch.tensor([u, 0.0]).view(2, 1, 1).expand(2, 1, 2)
    known = torch.ones(1, 2, dtype=torch.bool)
    hidden = torch.tensor([[False, occluded]])
    image = torch.zeros(3, 1, 2)
    return FlowSample(image1=image, image2=image, name=name, flow=flow, valid=known, occluded=hidden)


def half_right(image1: Tensor, image2: Tensor) -> Tensor:
    """(3, 0) at the first pixel, no motion at the second."""
    return torch.tensor([[3.0, 0.0], [0.0, 0.0]]).view(1, 2, 1, 2)


def test_errors_are_means_of_the_images_means() -> None:
    found = errors(half_right, [sample("a", 3.0, occluded=True), sample("b", 4.0)])
    assert found.images == {"a": 1.5, "b": 2.5}
    assert found.epe == 2.0
    assert found.visible == pytest.approx((0.0 + 2.5) / 2)
    assert found.occluded == 3.0  # of the one image that has such a pixel


def test_without_occlusion_maps_there_is_no_such_figure() -> None:
    pair = sample("a", 3.0)
    del pair["occluded"]
    assert math.isnan(errors(zero_flow, [pair]).occluded)


def test_dis_finds_a_translation() -> None:
    image = torch.nn.functional.avg_pool2d(
        torch.rand(1, 3, 100, 124, generator=torch.Generator().manual_seed(0)), 5, stride=1
    )
    flow = dis_flow(image[..., 16:-16, 16:-16], image[..., 16:-16, 14:-18])
    assert (flow[0, :, 16:-16, 16:-16].mean(dim=(1, 2)) - torch.tensor([2.0, 0.0])).abs().max() < 0.3


def test_sets_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    trees.middlebury(tmp_path / "middlebury")
    assert list(benchmark_sets(tmp_path, "middlebury", "sintel")) == ["middlebury"]
    assert benchmark_sets(None, "middlebury") == {}


def test_the_quickstarts_table_has_each_image_of_a_real_set() -> None:
    found = errors(half_right, [sample("a", 3.0, occluded=True), sample("b", 4.0)])
    assert set_rows("set", found, found, found, each=True) == [
        ["set", "mean", 2.0, 2.0, 2.0],
        ["set", "a", 1.5, 1.5, 1.5],
        ["set", "b", 2.5, 2.5, 2.5],
    ]
    assert [row[1] for row in set_rows("set", found, found, found, each=False)] == [
        "mean",
        "visible pixels",
        "occluded pixels",
    ]


def test_a_fixed_number_of_levels_is_used_and_given_up_again() -> None:
    class Counted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = PyramidMatcher(levels=2)

        def one_way(self, image1: Tensor, image2: Tensor) -> Tensor:
            estimates = self.backbone(image1, image2)
            return torch.full_like(image1[:, :2], len(estimates))

    module, image = Counted(), torch.rand(1, 3, 64, 64)
    assert with_levels(module, 3)(image, image).unique().item() == 4  # and the last stage
    assert network_flow(module)(image, image).unique().item() == module.backbone.levels_for(64, 64) + 1


def test_flow_of_two_steps_leads_from_the_first_frame_to_the_third(tmp_path: Path) -> None:
    root = trees.sintel(tmp_path)
    steps = {pair["name"]: pair for pair in Sintel(root=root, passes=["clean"])}
    pairs = two_apart(root)
    assert [pair["name"] for pair in pairs] == [f"clean/{scene}/frame_0001 + 2" for scene in ("alley_1", "alley_2")]
    first, second = (steps[f"clean/alley_1/frame_000{number}"] for number in (1, 2))
    torch.testing.assert_close(pairs[0]["image1"], first["image1"])
    torch.testing.assert_close(pairs[0]["image2"], second["image2"])
    assert not pairs[0]["valid"][first["occluded"]].any()
    ys, xs = pairs[0]["valid"].nonzero().unbind(dim=1)
    landed = first["flow"][:, ys, xs] + torch.stack([xs, ys])
    assert not second["occluded"][landed[1].floor().long(), landed[0].floor().long()].any()  # nor in the second step
    y, x = pairs[0]["valid"].nonzero()[0].tolist()
    u, v = first["flow"][:, y, x].tolist()
    left, top = math.floor(x + u), math.floor(y + v)
    a, b = x + u - left, y + v - top
    corners = second["flow"][:, top : top + 2, left : left + 2]
    weights = torch.tensor([[(1 - a) * (1 - b), a * (1 - b)], [(1 - a) * b, a * b]])
    expected = torch.tensor([u, v]) + (corners * weights).sum(dim=(1, 2))
    torch.testing.assert_close(pairs[0]["flow"][:, y, x], expected, atol=1e-4, rtol=1e-4)

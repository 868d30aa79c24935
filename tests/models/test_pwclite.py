from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.references import OneAfterTheOther
from unrollflow.contracts import FlowNetwork
from unrollflow.models import PWCLite

SMALL: dict[str, Any] = {
    "pyramid_channels": [4, 6, 8, 8],
    "projection_channels": 4,
    "search_range": 2,
    "estimator_channels": [8, 8, 6],
    "context_channels": [8, 6],
}


def small(**options: Any) -> PWCLite:
    torch.manual_seed(0)
    return PWCLite(**(SMALL | options))


def pair(count: int = 2, height: int = 32, width: int = 48) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(count, 3, height, width, generator=generator) for _ in range(2))


@pytest.mark.parametrize(("dense", "count"), [(False, 2_236_660), (True, 3_335_434)])
def test_released_parameter_counts(dense: bool, count: int) -> None:
    assert sum(p.numel() for p in PWCLite(dense=dense).parameters()) == count


def test_it_is_a_flow_network() -> None:
    assert isinstance(small(), FlowNetwork)


@pytest.mark.parametrize("dense", [False, True])
def test_estimates_run_from_coarse_to_the_image_size(dense: bool) -> None:
    estimates = small(dense=dense)(*pair())
    assert [tuple(e.raw.shape[-2:]) for e in estimates] == [(2, 3), (4, 6), (8, 12)]
    assert [tuple(e.flow.shape[-2:]) for e in estimates] == [(8, 12), (16, 24), (32, 48)]


def test_flow_is_the_raw_flow_in_pixels_of_the_image() -> None:
    raw, flow = small()(*pair())[-1]
    torch.testing.assert_close(flow[..., 0, 0], 4 * raw[..., 0, 0])  # corner-aligned


def test_both_directions_are_two_runs() -> None:
    network, (image1, image2) = small(normalise_features=True), pair()
    forward, backward = network.bidirectional(image1, image2)
    for joint, single in ((forward, network(image1, image2)), (backward, network(image2, image1))):
        for a, b in zip(joint, single, strict=True):
            torch.testing.assert_close(a.raw, b.raw)
            torch.testing.assert_close(a.flow, b.flow)


def test_it_computes_what_the_plain_arrangement_does() -> None:
    plain = OneAfterTheOther().double()
    network = PWCLite().double()
    network.load_state_dict(plain.state_dict())
    images = [image.double() for image in pair(1, 64, 64)]
    found = []
    for net in (plain, network):
        flows = [estimate.flow for estimates in net.bidirectional(*images) for estimate in estimates]
        torch.stack([flow.square().mean() for flow in flows]).sum().backward()
        found.append([*flows, *(p.grad for p in net.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-12)


def test_features_of_each_image_are_computed_once() -> None:
    network, calls = small(), []
    network.pyramid.register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    network.bidirectional(*pair())
    assert calls == [4]


def test_small_heads_start_near_zero_flow() -> None:
    assert small(head_scale=0.0)(*pair())[-1].flow.abs().max() == 0
    assert small(head_scale=0.01)(*pair())[-1].flow.abs().max() < 0.2


def test_every_parameter_has_a_gradient() -> None:
    network = small()
    forward, backward = network.bidirectional(*pair())
    torch.stack([e.flow.square().mean() for e in (*forward, *backward)]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in network.parameters())


def test_flow_stays_float32_under_autocast() -> None:
    network = small()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = network(*pair())[-1].flow
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, network(*pair())[-1].flow, atol=0.05, rtol=0.1)


@pytest.mark.parametrize("size", [(30, 48), (32, 50)])
def test_sizes_that_do_not_fit_are_named(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        small()(*pair(1, *size))


def test_images_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="of equal shape"):
        small()(pair(1)[0], pair(1, 48, 48)[0])


def test_sizes_that_cannot_be_built_are_named() -> None:
    with pytest.raises(ValueError, match="1 pyramid, 3 estimator and 2 context"):
        small(pyramid_channels=[4])

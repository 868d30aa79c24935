from functools import partial

import pytest
import torch
from torch import Tensor

from unrollflow.contracts import FlowEstimate, FlowSample
from unrollflow.losses import (
    L1,
    AllVisible,
    LabelledObjective,
    NoSmoothness,
    SupervisedEndpointError,
    UnsupervisedObjective,
    endpoint_loss,
)
from unrollflow.ops import resize_flow

SIZE = (8, 12)


def sample(flow: Tensor, valid: Tensor | None = None) -> FlowSample:
    frames = torch.rand(len(flow), 3, *SIZE, dtype=torch.float64)
    pair = FlowSample(image1=frames, image2=frames, name="noise", flow=flow)
    return pair if valid is None else pair | {"valid": valid}


def constant(u: float, v: float, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.tensor([u, v]).double().view(1, 2, 1, 1).expand(1, 2, *size)


def estimates(*flows: Tensor) -> list[FlowEstimate]:
    return [FlowEstimate(flow, flow) for flow in flows]


def objective(epsilon: float = 1e-6, gamma: float = 0.5) -> SupervisedEndpointError:
    return SupervisedEndpointError(L1(), NoSmoothness(), level_weights=gamma, epsilon=epsilon)


def test_iterates_by_hand() -> None:
    terms = objective()(sample(constant(3.0, 4.0)), estimates(constant(0, 0), constant(3, 0)), [], step=0)
    assert terms.last.item() == pytest.approx(4)
    assert terms.total.item() == pytest.approx(0.5 * 5 + 4)
    assert set(terms.log) == {"loss/total", "loss/endpoint_error"}


def test_levels_see_the_flow_in_their_own_pixels() -> None:
    truth = constant(4.0, -2.0)
    exact = estimates(resize_flow(truth, (2, 3)), resize_flow(truth, (4, 6)), truth)
    assert objective()(sample(truth), exact, [], step=0).total.item() < 1e-4


def test_unknown_flow_does_not_count() -> None:
    flow = constant(1.0, 0.0).clone()
    flow[..., 6:] = 1e6
    valid = torch.ones(1, *SIZE, dtype=torch.bool)
    valid[..., 6:] = False
    terms = objective()(sample(flow, valid), estimates(constant(0.25, 0, (4, 6)), constant(0, 0)), [], step=0)
    assert terms.total.item() == pytest.approx(0.5 * 0.25 + 1)
    nowhere = objective()(sample(flow, ~valid & valid), estimates(constant(0, 0)), [], step=0)
    assert nowhere.total == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 12)])
def test_a_single_known_pixel_counts_whole_at_every_level(size: tuple[int, int]) -> None:
    valid = torch.zeros(1, *SIZE, dtype=torch.bool)
    valid[0, 3, 5] = True
    truth = constant(3.0, 0.0)
    expected = 3.0 * size[1] / SIZE[1]
    found = endpoint_loss(constant(0, 0, size), truth, valid.unsqueeze(1).double(), epsilon=1e-6)
    assert found.item() == pytest.approx(expected)


def test_gradcheck() -> None:
    target = torch.randn(1, 2, 6, 6, dtype=torch.float64)
    valid = (torch.rand(1, 1, 6, 6) > 0.3).double()
    flow = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: endpoint_loss(f, target, valid, epsilon=0.01), flow)


def test_samples_without_flow_are_named() -> None:
    pair = sample(constant(0, 0))
    del pair["flow"]
    with pytest.raises(ValueError, match=r"samples have no flow to learn from.*RandomTemporalSwap"):
        objective()(pair, estimates(constant(0, 0)), [], step=0)
    with pytest.raises(ValueError, match="epsilon is 0"):
        objective(epsilon=0.0)


def test_the_raw_field_is_compared_at_its_own_size() -> None:
    truth = constant(4.0, 0.0)
    levels = [FlowEstimate(constant(0, 0, (2, 3)), truth), FlowEstimate(constant(1.0, 0.0, (4, 6)), truth)]
    terms = SupervisedEndpointError(L1(), NoSmoothness(), level_weights=[3.0, 1.0], field="raw", epsilon=1e-6)(
        sample(truth), levels, [], step=0
    )
    assert terms.total.item() == pytest.approx(3 * 1 + 1)  # 4 px of the image are 1 px at a quarter, 2 px at a half
    with pytest.raises(ValueError, match="field='rwa'"):
        SupervisedEndpointError(L1(), NoSmoothness(), field="rwa")


def test_flownets_weights_in_our_units() -> None:
    """Errors in pixels of the image, summed over a level's pixels, are our means times a common factor."""
    size, truth = (64, 64), constant(2.0, 1.0, (64, 64))
    raws = [constant(0.1 * level, 0.2, (64 // 2**level, 64 // 2**level)) for level in (6, 5, 4, 3, 2)]
    summed = sum(
        weight * (2**level * raw - truth[..., : raw.shape[-2], : raw.shape[-1]]).square().sum(dim=1).sqrt().sum()
        for weight, level, raw in zip((0.32, 0.08, 0.02, 0.01, 0.005), (6, 5, 4, 3, 2), raws, strict=True)
    )
    loss = SupervisedEndpointError(
        L1(), NoSmoothness(), level_weights=[4.0, 2.0, 1.0, 1.0, 1.0], field="raw", epsilon=1e-9
    )
    pair = sample(truth)
    found = loss(pair, estimates(*raws), [], step=0).total
    assert summed.item() == pytest.approx(0.00125 * size[0] * size[1] * found.item())


def test_labels_are_weighed_against_the_unsupervised_cost() -> None:
    pair = sample(constant(3.0, 4.0))
    flows = estimates(constant(0, 0), constant(3, 0))
    unsupervised = partial(
        UnsupervisedObjective,
        visibility=AllVisible(),
        smoothness_weight=0.5,
        level_weights=1.0,
        smoothness_level_weights=1.0,
    )
    labels = partial(SupervisedEndpointError, level_weights=0.5, epsilon=1e-6)
    mixed = LabelledObjective(L1(), NoSmoothness(), unsupervised=unsupervised, labels=labels, label_weight=0.1)
    alone = unsupervised(L1(), NoSmoothness())
    terms = mixed(pair, flows, flows, step=0)
    assert terms.total.item() == pytest.approx(alone(pair, flows, flows, step=0).total.item() + 0.1 * (0.5 * 5 + 4))
    assert {"loss/total", "loss/photometric", "loss/smoothness", "loss/endpoint_error"} <= terms.log.keys()
    assert terms.log["loss/total"] == terms.total
    images = pair["image1"], pair["image2"].flip(-1)
    assert mixed.held_out(*images, constant(1, 0)) == alone.held_out(*images, constant(1, 0))
    with pytest.raises(ValueError, match="label_weight is negative: -1; it must be at least 0"):
        LabelledObjective(L1(), NoSmoothness(), unsupervised=unsupervised, labels=labels, label_weight=-1)

"""PyramidMatcher: properties as a FlowNetwork, and properties of its construction."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unrollflow.contracts import FlowNetwork
from unrollflow.models import PyramidMatcher, strips
from unrollflow.models.matching_stages import certainty
from unrollflow.ops.matching import soft_argmax


def small(**changes: object) -> PyramidMatcher:
    torch.manual_seed(0)
    arguments = {"feature_channels": 8, "channels": 8, "levels": 3, "full_feature_channels": 6, "full_channels": 6}
    return PyramidMatcher(**(arguments | changes))


def noise(count: int = 2, height: int = 32, width: int = 48, *, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def smooth(height: int, width: int) -> Tensor:
    return F.avg_pool2d(noise(1, height + 4, width + 4), 5, stride=1)


def test_the_defaults_have_the_stated_number_of_parameters() -> None:
    assert sum(p.numel() for p in PyramidMatcher().parameters()) == 57_390
    assert "57,390 parameters" in (PyramidMatcher.__doc__ or "")


def test_estimates_grow_by_two_up_to_the_images_size() -> None:
    network = small()
    assert isinstance(network, FlowNetwork)
    estimates = network(noise(), noise(seed=1))
    assert [tuple(e.raw.shape[-2:]) for e in estimates] == [(4, 6), (8, 12), (16, 24), (32, 48)]
    assert [tuple(e.flow.shape[-2:]) for e in estimates] == [(8, 12), (16, 24), (32, 48), (32, 48)]


def test_both_directions_are_two_runs() -> None:
    network, image1, image2 = small().double(), noise().double(), noise(seed=1).double()
    forward, backward = network.bidirectional(image1, image2)
    for joint, single in ((forward, network(image1, image2)), (backward, network(image2, image1))):
        for a, b in zip(joint, single, strict=True):
            torch.testing.assert_close(a.raw, b.raw)
            torch.testing.assert_close(a.flow, b.flow)


def test_every_parameter_has_a_gradient() -> None:
    network = small()
    forward, backward = network.bidirectional(noise(), noise(seed=1))
    torch.stack([(e.flow - 1).square().mean() for e in (*forward, *backward)]).sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("x", "y"), [(4, 0), (-2, 3)])
def test_it_matches_before_it_has_learned_anything(x: int, y: int) -> None:
    """The cosine of random features tells a match: the flow of a moved texture is about right at step 0."""
    image = smooth(96, 112)
    first, second = image[..., 16:80, 16:96], image[..., 16 - y : 80 - y, 16 - x : 96 - x]
    torch.manual_seed(0)
    flow = PyramidMatcher().eval()(first, second)[-1].flow[..., 16:-16, 16:-16]
    truth = torch.tensor([x, y], dtype=torch.float32).view(1, 2, 1, 1)
    assert (flow - truth).norm(dim=1).median() < 0.5 * truth.norm()


def test_moving_both_frames_moves_the_flow() -> None:
    """Translation equivariance, by a pixel of the coarsest grid; on a flat surround, so that no mean changes."""
    network, moved = small().double(), 2**3
    patch1, patch2 = noise(1, 32, 32).double(), noise(1, 32, 32, seed=1).double()

    def placed(patch: Tensor, left: int) -> Tensor:
        return F.pad(patch, [left, 352 - 32 - left, 160, 160], value=0.5)

    def flow_of_the_patch(left: int) -> Tensor:
        return network(placed(patch1, left), placed(patch2, left))[-1].flow[..., 160:192, left : left + 32]

    assert flow_of_the_patch(160).abs().max() > 0.1
    torch.testing.assert_close(flow_of_the_patch(160), flow_of_the_patch(160 + moved), atol=1e-9, rtol=0)


def test_the_update_sees_no_absolute_flow() -> None:
    network = small().double()
    inputs = network._pyramid(noise().double())[0]
    flow = 0.01 * torch.randn(2, 2, *inputs.grey.shape[-2:], dtype=torch.float64)
    same = [x.expand_as(x) for x in inputs]
    flat = type(inputs)(torch.ones_like(same[0]), torch.ones_like(same[1]))  # looks the same wherever it is sampled
    one, _ = network.matching(flat, flat, flow)
    other, _ = network.matching(flat, flat, flow + 0.25)
    torch.testing.assert_close((other - one)[..., 4:-4, 4:-4], torch.full_like(one[..., 4:-4, 4:-4], 0.25))


@pytest.mark.parametrize("pixels", [48 * 10, 48 * 26])
def test_strips_of_rows_are_the_whole(pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips overlap by all that a row depends on; also of two pairs, and both ways."""
    network = small(dilations=[1, 2], full_dilations=[2, 1], iterations=2, propagations=2).double().eval()
    image1, image2 = noise(2, 96, 48).double(), noise(2, 96, 48, seed=1).double()
    whole = network.bidirectional(image1, image2)  # with gradients, which are computed of the whole
    monkeypatch.setattr(strips, "MOST_PIXELS", pixels)
    with torch.inference_mode():
        joint, single = network.bidirectional(image1, image2), network(image1, image2)
    for expected, found in ((whole[0], joint[0]), (whole[1], joint[1]), (whole[0], single)):
        for a, b in zip(expected, found, strict=True):
            torch.testing.assert_close(b.raw, a.raw, atol=1e-9, rtol=0)
            torch.testing.assert_close(b.flow, a.flow, atol=1e-9, rtol=0)


def test_strips_keep_the_memory_below_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small(full_iterations=1).eval()
    sizes: list[int] = []
    network.refinement.body.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[2]))
    monkeypatch.setattr(strips, "MOST_PIXELS", 48 * 16)
    with torch.no_grad():
        network(noise(1, 64, 48), noise(1, 64, 48, seed=1))
    assert sizes == [16 + 6, 16 + 12, 16 + 12, 16 + 6]
    with torch.no_grad():
        network(noise(1, 16, 48), noise(1, 16, 48, seed=1))
    assert sizes[4:] == [16]


def test_levels_grow_with_the_frame_at_test_time_alone() -> None:
    network = small(levels=3, coarsest_side=4)
    assert network.levels_for(512, 512) == 3
    network.eval()
    assert [network.levels_for(side, 2 * side) for side in (16, 63, 64, 128, 511)] == [3, 3, 4, 5, 6]
    assert len(network(noise(1, 64, 64), noise(1, 64, 64))) == 5


@pytest.mark.parametrize(("height", "width"), [(16, 16), (20, 36), (68, 84), (100, 76)])
def test_every_multiple_of_the_stride_has_flow(height: int, width: int) -> None:
    network = small().eval()
    flow = network(noise(1, height, width), noise(1, height, width, seed=1))[-1].flow
    assert tuple(flow.shape) == (1, 2, height, width)
    assert flow.isfinite().all()


def test_flow_stays_float32_under_autocast() -> None:
    network = small()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = network(noise(), noise(seed=1))
    full = network(noise(), noise(seed=1))
    assert {field.dtype for estimate in low for field in estimate} == {torch.float32}
    assert (low[-1].flow - full[-1].flow).abs().mean() < 0.1 * full[-1].flow.abs().mean() + 0.02


def test_residuals_keep_their_digits_under_autocast() -> None:
    """A residual of 3.337 px is 3.344 in bfloat16; the heads stay outside autocast."""
    network = small().eval()
    for stage, place in ((network.matching, -2), (network.refinement, -3)):
        torch.nn.init.zeros_(stage.head.weight)
        stage.head.bias.data[place] = 3.337
        stage.temperature.data.zero_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = network(noise(), noise(seed=1))[-1].flow
    assert (low - network(noise(), noise(seed=1))[-1].flow).abs().max() < 1e-3


@pytest.mark.slow
def test_it_compiles_as_one_graph_with_the_same_flow() -> None:
    network, image1, image2 = small(), noise(), noise(seed=1)
    compiled = torch.compile(network.bidirectional, fullgraph=True)
    for a, b in zip(compiled(image1, image2)[0], network.bidirectional(image1, image2)[0], strict=True):
        torch.testing.assert_close(a.flow, b.flow, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(8, 48), (32, 12)])
def test_frames_that_are_too_small_are_named(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"frames are {size[0]}x{size[1]}.*at least 16 pixels per side"):
        small()(noise(1, *size), noise(1, *size))


def test_other_sizes_and_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"PyramidMatcher needs multiples of 4"):
        small()(noise(1, 33, 48), noise(1, 33, 48))
    with pytest.raises(ValueError, match="of equal shape"):
        small()(noise(1, 32, 32), noise(1, 32, 48))


@pytest.mark.parametrize(
    ("argument", "value"),
    [("levels", 0), ("channels", 0), ("feature_channels", 0), ("full_channels", -1), ("propagations", 0)],
)
def test_sizes_that_cannot_be_built_are_named(argument: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"^{argument}={value}: PyramidMatcher needs sizes of at least 1"):
        small(**{argument: value})


@pytest.mark.parametrize("dilations", [[], [1, 0]])
def test_dilations_that_cannot_be_built_are_named(dilations: list[int]) -> None:
    with pytest.raises(ValueError, match="smallest_dilation=0"):
        small(dilations=dilations)


def test_a_certain_match_has_finite_gradients() -> None:
    scores = torch.zeros(1, 25, 2, 2)
    scores[:, 0] = 200.0  # the other likelihoods are 0 in float32
    scores.requires_grad_()
    certainty(soft_argmax(scores)[0]).sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_certainty_of_equal_and_of_certain_likelihoods() -> None:
    equal, certain = torch.full((1, 4, 1, 1), 0.25), torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 4, 1, 1)
    torch.testing.assert_close(certainty(equal).flatten(), torch.tensor([-math.log(4), 0.25]))
    torch.testing.assert_close(certainty(certain).flatten(), torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("argument", ["iterations", "propagations", "full_iterations"])
def test_more_rounds_use_the_same_weights_and_change_the_flow(argument: str) -> None:
    once, twice = small(**{argument: 1}).eval(), small(**{argument: 2}).eval()
    twice.load_state_dict(once.state_dict())
    assert not torch.equal(once(noise(), noise(seed=1))[-1].flow, twice(noise(), noise(seed=1))[-1].flow)


def test_training_makes_one_update_at_the_images_size() -> None:
    once, twice = small(full_iterations=1), small(full_iterations=2)
    twice.load_state_dict(once.state_dict())
    assert torch.equal(once(noise(), noise(seed=1))[-1].flow, twice(noise(), noise(seed=1))[-1].flow)

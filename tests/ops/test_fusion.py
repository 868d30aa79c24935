import pytest
import torch
from torch import Tensor

from unrollflow.ops import fuse_flow
from unrollflow.ops.fusion import polynomial, predict_motion

SIZE = (30, 40)


def field(seed: int = 0, count: int = 1) -> Tensor:
    """A smooth motion of some pixels."""
    coarse = 4 * torch.randn(count, 2, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.interpolate(coarse, SIZE, mode="bicubic", align_corners=True)


def masks(seed: int = 1) -> tuple[Tensor, Tensor]:
    random = torch.rand(2, 1, 1, *SIZE, generator=torch.Generator().manual_seed(seed))
    return random[0] > 0.3, random[1] > 0.2


def test_constant_velocity_is_filled_in_exactly() -> None:
    backward = field()
    forward, (visible, before) = -backward, masks()
    broken = torch.where(visible, forward, 77.0)
    fused = fuse_flow(broken, visible, backward, before)
    assert torch.equal(fused.filled, ~visible & before)
    assert torch.equal(fused.known, visible | before)
    known = fused.known.expand(-1, 2, -1, -1)
    torch.testing.assert_close(fused.flow[known], forward[known], atol=1e-3, rtol=0)
    assert (fused.flow[~known] == 77).all(), "what nobody shows stays"


def test_a_flow_that_is_quadratic_in_the_motion_before_is_found() -> None:
    backward = field()[0]
    terms = polynomial(backward)
    coefficients = torch.randn(2, len(terms), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    forward = torch.einsum("ck,khw->chw", coefficients, terms) - backward
    known = masks()[0][0, 0]
    guess = predict_motion(forward, backward, known)
    assert (guess - forward).abs().max() < 0.1
    assert (forward + backward).abs().max() > 1


def test_a_few_wrong_pixels_do_not_count() -> None:
    backward = field()[0]
    forward = -1.2 * backward
    wrong = forward.clone()
    wrong[:, ::10, ::10] += 50
    guess = predict_motion(wrong, backward, torch.ones(SIZE, dtype=torch.bool))
    assert (guess - forward).abs().mean() < 0.1


def test_too_few_pixels_fill_nothing() -> None:
    backward, visible = field(), torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    visible[..., :10, :10] = True
    fused = fuse_flow(-backward, visible, backward, torch.ones_like(visible))
    assert not fused.filled.any()
    assert torch.equal(fused.known, visible)


@pytest.mark.parametrize("level", [0.0, 5.0])
def test_still_or_even_motion_is_survived(level: float) -> None:
    backward = torch.full((1, 2, *SIZE), level)
    visible, before = masks()
    fused = fuse_flow(-backward, visible, backward, before)
    torch.testing.assert_close(fused.flow, -backward, atol=1e-4, rtol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("which", ["forward", "backward"])
def test_a_pixel_that_is_not_finite_spoils_no_other(which: str, value: float) -> None:
    flows = {"forward": torch.full((1, 2, 20, 30), 2.0), "backward": torch.full((1, 2, 20, 30), -2.0)}
    visible, before = torch.ones(1, 1, 20, 30), torch.ones(1, 1, 20, 30)
    visible[..., :10] = 0
    flows[which][0, 0, 5, 5] = flows[which][0, 1, 5, 20] = value
    fused = fuse_flow(flows["forward"], visible, flows["backward"], before)
    expected = torch.full((1, 2, 20, 30), 2.0)
    known = fused.known.expand_as(expected)
    torch.testing.assert_close(fused.flow[known], expected[known], atol=1e-3, rtol=0)
    assert (~fused.known).sum() == (which == "backward")
    assert fused.filled.sum() == 20 * 10 + (1 if which == "forward" else -1)


def test_flow_whose_squares_overflow_fills_nothing_that_is_not_finite() -> None:
    forward, backward = torch.full((1, 2, 20, 30), 2.0), torch.full((1, 2, 20, 30), -2.0)
    visible, before = torch.ones(1, 1, 20, 30), torch.ones(1, 1, 20, 30)
    visible[..., :10] = 0
    forward[0, :, 5, 20] = backward[0, :, 5, 20] = 3e38  # their sum is infinite
    fused = fuse_flow(forward, visible, backward, before)
    assert fused.flow[fused.known.expand_as(forward)].isfinite().all()
    assert (fused.known == (visible > 0) | fused.filled).all()


def test_each_image_by_itself() -> None:
    backward = field(count=2)
    visible, before = (torch.cat([m, m.flip(-1)]) for m in masks())
    forward = -1.1 * backward + 0.3
    joint = fuse_flow(forward, visible, backward, before)
    for i in range(2):
        part = slice(i, i + 1)
        alone = fuse_flow(forward[part], visible[part], backward[part], before[part])
        assert torch.equal(joint.flow[part], alone.flow)

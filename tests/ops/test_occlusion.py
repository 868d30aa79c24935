import pytest
import torch

from unrollflow.ops import forward_backward_visibility, range_map, range_map_visibility


def constant(u: float, v: float, height: int = 6, width: int = 8) -> torch.Tensor:
    return torch.tensor([u, v], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, height, width).clone()


def test_consistent_flows_see_everything_but_what_left_the_frame() -> None:
    visible = forward_backward_visibility(constant(2, 0), constant(-2, 0))
    assert visible[..., :-2].min() == 1
    assert visible[..., -2:].max() == 0


def test_contradicting_flows_see_nothing() -> None:
    assert forward_backward_visibility(constant(2, 0), constant(2, 0))[..., :-2].max() == 0


def test_tolerance_is_scale_times_motion_plus_bias() -> None:
    there, back = constant(1, 0), constant(-1, 0)
    back[:, 0] += 0.6  # mismatch 0.36, motion 1.16
    inner = (..., slice(None), slice(0, -1))
    assert forward_backward_visibility(there, back, scale=0.0, bias=0.37)[inner].min() == 1
    assert forward_backward_visibility(there, back, scale=0.0, bias=0.35)[inner].max() == 0
    assert forward_backward_visibility(there, back, scale=0.32, bias=0.0)[inner].min() == 1


def test_range_map_conserves_mass_inside() -> None:
    flow = torch.zeros(1, 2, 6, 8, dtype=torch.float64)
    flow[..., 2, 3] = 0.3
    assert range_map(flow).sum().item() == pytest.approx(48)
    assert range_map(constant(0.25, 0))[0, 0, 3, :3].tolist() == [0.75, 1.0, 1.0]


def test_pixel_that_nothing_comes_from_is_occluded() -> None:
    backward = constant(0, 0)
    backward[:, 0, 3, 4] = 1.0  # nothing of frame 2 comes from (4, 3) of frame 1
    visible = range_map_visibility(backward)
    assert visible[0, 0, 3, 4] == 0
    assert visible.sum() == 47


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_what_is_not_finite_is_not_visible(value: float) -> None:
    flow = constant(0, 0)
    flow[..., 2, 2] = value
    assert forward_backward_visibility(flow, constant(0, 0))[0, 0, 2, 2] == 0
    assert range_map(flow).isfinite().all()


def test_visibility_has_no_gradient() -> None:
    flow = constant(0.5, 0).requires_grad_()
    assert not forward_backward_visibility(flow, flow).requires_grad
    assert not range_map_visibility(flow).requires_grad

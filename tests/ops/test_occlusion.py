import pytest
import torch

from unrollflow.ops import (
    Calibration,
    flow_confidence,
    forward_backward_visibility,
    mean_mismatch,
    range_map,
    range_map_visibility,
)
from unrollflow.ops.occlusion import MISMATCHES


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


def uniform(u: float, v: float, size: tuple[int, int] = (8, 9)) -> torch.Tensor:
    return torch.tensor([u, v]).view(1, 2, 1, 1).repeat(1, 1, *size)


def test_flows_that_cancel_are_certain() -> None:
    confidence = flow_confidence(uniform(2.0, -1.0), uniform(-2.0, 1.0))
    assert confidence.shape == (1, 1, 8, 9)
    assert confidence.min() > 0.999


def test_the_mismatch_of_constant_flows_is_the_length_of_their_sum() -> None:
    # outside the frame the nearest backward flow counts, so that the border does not differ
    torch.testing.assert_close(mean_mismatch(uniform(4.0, 1.0), uniform(-1.0, 3.0)), torch.full((1, 1, 8, 9), 5.0))


def test_the_mean_is_geometric_over_five_by_five_pixels() -> None:
    flow = torch.zeros(1, 2, 9, 9)
    backward = uniform(0.1, 0.0, (9, 9))
    backward[:, 0, 4, 4] = 10.0
    found = mean_mismatch(flow, backward)[0, 0]
    assert found[4, 4].item() == pytest.approx(0.1 * 100 ** (1 / 25))
    assert found[2, 6].item() == pytest.approx(0.1 * 100 ** (1 / 25))
    assert found[4, 1].item() == pytest.approx(0.1)


def test_confidence_falls_with_the_mismatch_from_one_to_the_floor() -> None:
    mismatches = torch.logspace(-3, 3, 50)
    flow = torch.zeros(50, 2, 1, 1)
    backward = torch.stack([mismatches, torch.zeros(50)], dim=1).view(50, 2, 1, 1)
    confidence = flow_confidence(flow, backward, calibration=Calibration(scale=0.5, power=2.0, floor=0.25)).flatten()
    assert (confidence.diff() <= 0).all()
    assert confidence[0].item() == pytest.approx(1.0, abs=1e-3)
    assert confidence[-1].item() == pytest.approx(0.25, abs=1e-3)


def test_halfway_between_one_and_the_floor_at_the_scale() -> None:
    calibration = Calibration(scale=0.5, power=3.0, floor=0.2)
    found = flow_confidence(uniform(0.0, 0.0), uniform(0.0, 0.5), calibration=calibration)
    torch.testing.assert_close(found, torch.full_like(found, 0.6))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e10])
def test_unknown_flow_has_no_confidence(value: float) -> None:
    flow, backward = uniform(0.0, 0.0), uniform(0.0, 0.0)
    flow[:, 0, 4, 4] = value
    found = flow_confidence(flow, backward)
    assert found[0, 0, 4, 4] == 0
    assert ((found >= 0) & (found <= 1)).all()  # NaN is neither
    backward[...] = value
    assert mean_mismatch(uniform(0.0, 0.0), backward).unique().item() == pytest.approx(MISMATCHES[1])


def test_half_precision_is_computed_in_full() -> None:
    flow, backward = uniform(300.0, 0.0).bfloat16(), uniform(-300.0, 0.0).bfloat16()
    assert flow_confidence(flow, backward).dtype == torch.float32


@pytest.mark.parametrize(
    ("flow", "backward"),
    [
        (torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)),
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)),
        (torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 5)),
    ],
)
def test_other_shapes_are_refused(flow: torch.Tensor, backward: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected two flows \(B, 2, H, W\) of equal shape"):
        flow_confidence(flow, backward)


@pytest.mark.parametrize("numbers", [(0.0, 1.0, 0.5), (1.0, -1.0, 0.5), (1.0, 1.0, 1.0), (torch.nan, 1.0, 0.5)])
def test_a_calibration_out_of_range_is_refused(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="out of range; expected scale > 0"):
        flow_confidence(uniform(0.0, 0.0), uniform(0.0, 0.0), calibration=Calibration(*numbers))

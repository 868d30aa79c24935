import math

import pytest
import torch
from torch import Tensor

from unrollflow.contracts import Prediction
from unrollflow.losses import unlabelled_measures
from unrollflow.metrics.names import UNLABELLED


def picture(seed: int = 0) -> Tensor:
    return torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(seed))


def constant(u: float, v: float = 0.0) -> Tensor:
    return torch.tensor([u, v]).view(1, 2, 1, 1).repeat(1, 1, 16, 24)


def measured(flow: Tensor, back: Tensor, *, visible: float = 1.0, shift: int = 2) -> dict[str, float]:
    """Of a picture that has moved right by some pixels (what leaves comes in again on the left)."""
    image = picture()
    prediction = Prediction(flow, back, torch.full((1, 1, 16, 24), visible))
    return {k: v.item() for k, v in unlabelled_measures(image, image.roll(shift, dims=-1), prediction).items()}


def test_there_is_a_value_for_every_name_and_image() -> None:
    images = [torch.cat([picture(0), picture(seed)]) for seed in (1, 2)]
    prediction = Prediction(torch.zeros(2, 2, 16, 24), torch.zeros(2, 2, 16, 24), torch.ones(2, 1, 16, 24))
    measures = unlabelled_measures(*images, prediction)
    assert measures.keys() == UNLABELLED.keys()
    assert all(values.shape == (2,) for values in measures.values())


def test_the_true_motion_scores_better_than_zero_and_reversed_motion() -> None:
    true, none, reverse = (measured(constant(u), constant(-u)) for u in (2.0, 0.0, -2.0))
    assert none["zero_flow_ratio"] == pytest.approx(1.0)
    assert true["zero_flow_ratio"] < 0.25 < 0.9 < reverse["zero_flow_ratio"]
    assert true["census"] < 0.25 * none["census"]
    assert (none["motion"], true["motion"]) == (0.0, 2.0)


def test_shares_of_a_motion_to_the_right() -> None:
    values = measured(constant(6.0), constant(-6.0), visible=0.25)
    assert values["out_of_frame_fraction"] == pytest.approx(6 / 24)
    assert values["visible_fraction"] == pytest.approx(0.25)
    assert values["occluded_fraction"] == pytest.approx(0.75 * 18 / 24)


def test_consistency_is_the_length_of_what_does_not_cancel_also_beyond_the_frame() -> None:
    assert measured(constant(6.0), constant(-6.0))["consistency"] == pytest.approx(0.0, abs=1e-5)
    assert measured(constant(3.0, 1.0), constant(0.0, 3.0))["consistency"] == pytest.approx(5.0, abs=1e-5)


def test_a_flow_that_hides_everything_is_the_worst_and_not_the_best() -> None:
    assert measured(constant(2.0), constant(-2.0), visible=0.0)["census"] == 1.0


def test_the_census_is_of_visible_pixels() -> None:
    """The left half is explained, the right one is not, and called occluded."""
    image = picture()
    other = torch.cat([image[..., :12], picture(5)[..., 12:]], dim=-1)
    visible = torch.zeros(1, 1, 16, 24)
    visible[..., :9] = 1  # three pixels from the other half: the census' margin
    zero = torch.zeros(1, 2, 16, 24)
    found = unlabelled_measures(image, other, Prediction(zero, zero, visible))
    assert found["census"].item() == pytest.approx(0.0, abs=1e-6)
    assert unlabelled_measures(image, other, Prediction(zero, zero, 1 - visible))["census"].item() > 0.3


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_non_finite_flow_has_an_infinite_measure(broken: float) -> None:
    flow = constant(2.0)
    flow[0, 0, 3, 4] = broken
    values = measured(flow, constant(-2.0))
    assert all(values[name] == math.inf for name in ("census", "zero_flow_ratio", "consistency", "motion"))
    assert 0 <= values["visible_fraction"] <= 1


def test_half_precision_is_lifted() -> None:
    image, flow = picture().bfloat16(), constant(2.0).bfloat16()
    measures = unlabelled_measures(image, image.roll(2, -1), Prediction(flow, -flow, torch.ones(1, 1, 16, 24)))
    assert all(value.dtype == torch.float32 for value in measures.values())


def test_frames_that_are_alike_give_a_ratio_of_one() -> None:
    assert measured(constant(0.0), constant(0.0), shift=0)["zero_flow_ratio"] == pytest.approx(1.0)

import pytest
import torch

from unrollflow.variational import median_flow, weighted_median_flow
from unrollflow.variational.median import near_boundaries, weighted_median


def step(at: int) -> torch.Tensor:
    """(1, 1, 24, 24): 0 in the columns before, 1 from there on."""
    return (torch.arange(24) >= at).float().expand(1, 1, 24, 24)


def test_a_median_is_of_each_component() -> None:
    flow = torch.zeros(1, 2, 7, 7)
    flow[0, 0, 3, 3], flow[0, 1] = 9, torch.arange(7.0)
    filtered = median_flow(flow)
    assert filtered[0, 0].abs().max() == 0
    assert filtered[0, 1, 3].tolist()[2:5] == [2, 3, 4]
    assert median_flow(flow.double()).dtype == torch.float64
    with pytest.raises(ValueError, match="median filter is 9"):
        median_flow(flow, 9)


def test_weights_decide_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0, 9.0], [9.0, 1.0, 2.0]])
    assert weighted_median(values, torch.ones(2, 3)).tolist() == [2, 2]
    assert weighted_median(values, torch.tensor([[1.0, 1.0, 3.0], [1.0, 4.0, 1.0]])).tolist() == [9, 1]


def test_a_boundary_of_the_flow_moves_to_that_of_the_image() -> None:
    flow, image = 2 * step(14).repeat(1, 2, 1, 1), step(12).repeat(1, 3, 1, 1)
    filtered = weighted_median_flow(flow, image, torch.ones(1, 1, 24, 24))
    assert filtered[..., 2:-2, :].equal(2 * step(12).repeat(1, 2, 1, 1)[..., 2:-2, :])
    assert not median_flow(flow)[..., 2:-2, :].equal(filtered[..., 2:-2, :])


def test_what_is_not_visible_takes_the_flow_of_what_is() -> None:
    flow, visible = torch.zeros(1, 2, 24, 24), torch.ones(1, 1, 24, 24)
    flow[..., 8:14, 8:14], visible[..., 8:14, 8:14] = 5, 0
    assert weighted_median_flow(flow, torch.zeros(1, 3, 24, 24), visible).abs().max() == 0


def test_a_frame_without_anything_visible_stays_finite() -> None:
    flow = torch.rand(1, 2, 24, 24)
    assert weighted_median_flow(flow, torch.rand(1, 3, 24, 24), torch.zeros(1, 1, 24, 24)).isfinite().all()


def test_boundaries_are_where_the_flow_changes_abruptly() -> None:
    near = near_boundaries(2 * step(12).repeat(1, 2, 1, 1))[0, 5]
    assert near.nonzero().flatten().tolist() == list(range(9, 15))
    assert not near_boundaries(0.1 * step(12).repeat(1, 2, 1, 1)).any()

import torch

from unrollflow.contracts import FlowSample
from unrollflow.data.moving_layers.dataset import MovingLayers
from unrollflow.data.transforms.motion_boundaries import WithBoundaryDistance, motion_boundary
from unrollflow.metrics.flow import DISTANCES, image_measures


def square(*, jump: float = 5.0) -> FlowSample:
    """A square of 4x4 in the middle of 12x12, moving by itself."""
    flow = torch.zeros(2, 12, 12)
    flow[0, 4:8, 4:8] = jump
    return FlowSample(image1=torch.rand(3, 12, 12), image2=torch.rand(3, 12, 12), name="square", flow=flow)


def test_distance_grows_from_the_squares_edge() -> None:
    distance = WithBoundaryDistance([square()])[0]["boundary_distance"]  # type: ignore[arg-type]
    assert distance[6].tolist() == [3, 2, 1, 0, 0, 1, 1, 0, 0, 1, 2, 3]
    assert distance[0, 0] == 5  # to (3, 4) or (4, 3): no edge touches the corner (3, 3)


def test_smooth_motion_and_small_jumps_are_no_boundary() -> None:
    ramp = torch.stack([torch.linspace(0, 6, 12).expand(12, 12), torch.zeros(12, 12)])
    assert not motion_boundary(ramp, torch.ones(12, 12, dtype=torch.bool)).any()
    assert WithBoundaryDistance([square(jump=0.9)])[0]["boundary_distance"].isinf().all()  # type: ignore[arg-type]


def test_without_a_boundary_no_pixel_is_at_a_distance_from_one() -> None:
    sample = square(jump=0.0)
    sample |= {key: sample[key].repeat(1, 3, 3) for key in ("image1", "image2", "flow")}  # 36x36: H + W = 72
    distance = WithBoundaryDistance([sample])[0]["boundary_distance"]  # type: ignore[arg-type]
    pixels = image_measures(sample["flow"][None], sample["flow"][None], boundary_distance=distance[None]).pixels
    assert pixels["epe"].item() == 36 * 36
    assert [pixels[f"epe_{name}"].item() for name in DISTANCES] == [0, 0, 0, 0]


def test_unknown_flow_makes_no_boundary() -> None:
    sample = square(jump=0.0)
    sample["valid"] = torch.ones(12, 12, dtype=torch.bool)
    sample["valid"][5, 5] = False
    sample["flow"][0, 5, 5] = 100
    assert WithBoundaryDistance([sample])[0]["boundary_distance"].isinf().all()  # type: ignore[arg-type]


def test_sparse_and_missing_ground_truth_and_known_distances_stay_as_they_are() -> None:
    sparse = square()
    sparse["valid"] = torch.zeros(12, 12, dtype=torch.bool)
    without = FlowSample(image1=sparse["image1"], image2=sparse["image2"], name="without")
    known = MovingLayers(split="validation", length=1, size=(32, 32))[0]
    samples = WithBoundaryDistance([sparse, without, known])  # type: ignore[arg-type]
    assert len(samples) == 3
    assert "boundary_distance" not in samples[0]
    assert "boundary_distance" not in samples[1]
    assert samples[2]["boundary_distance"] is known["boundary_distance"]


def test_layers_boundaries_agree_with_those_seen_in_the_flow_where_the_jump_is_large() -> None:
    sample = MovingLayers(split="validation", length=4, size=(64, 64))[1]
    seen = motion_boundary(sample["flow"], sample["valid"])
    assert seen.any()
    assert sample["boundary_distance"][seen].eq(0).all()

import colorsys
import math

import pytest
import torch

from unrollflow.visualization.flow import (
    colour_wheel,
    error_tile,
    flow_arrows,
    flow_to_rgb,
    longest_flow,
    panel,
    wheel_colours,
)


def vector(u: float, v: float) -> torch.Tensor:
    return torch.tensor([u, v]).view(2, 1, 1)


def standard_colour(u: float, v: float) -> list[float]:
    """The published colour code for one vector in units of the longest, in [0, 1] instead of bytes."""
    wheel = [(1, i / 15, 0) for i in range(15)] + [(1 - i / 6, 1, 0) for i in range(6)]
    wheel += [(0, 1, i / 4) for i in range(4)] + [(0, 1 - i / 11, 1) for i in range(11)]
    wheel += [(i / 13, 0, 1) for i in range(13)] + [(1, 0, 1 - i / 6) for i in range(6)]
    position = (math.atan2(-v, -u) / math.pi + 1) / 2 * 54
    lower = int(position)
    share, radius = position - lower, math.hypot(u, v)
    hue = [(1 - share) * a + share * b for a, b in zip(wheel[lower], wheel[(lower + 1) % 55], strict=True)]
    return [1 - radius * (1 - c) if radius <= 1 else 0.75 * c for c in hue]


def test_no_motion_is_white_and_broken_motion_is_black() -> None:
    assert flow_to_rgb(vector(0, 0), max_flow=1.0).flatten().tolist() == [1, 1, 1]
    assert flow_to_rgb(vector(float("nan"), 0), max_flow=1.0).flatten().tolist() == [0, 0, 0]
    assert flow_to_rgb(vector(float("inf"), 0)).flatten().tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("u", "v", "hue"),
    [(1, 0, 0), (0, 1, 55 / 360), (-1, 0, 180 / 360), (0, -1, 255 / 360)],
    ids=["right: red", "down: yellow", "left: cyan", "up: blue"],
)
def test_direction_is_hue(u: float, v: float, hue: float) -> None:
    found = colorsys.rgb_to_hsv(*flow_to_rgb(vector(u, v), max_flow=1.0).flatten().tolist())[0]
    assert found == pytest.approx(hue, abs=0.05)


def test_colours_are_those_of_the_standard_code() -> None:
    for degrees in range(1, 360, 3):
        for length in (0.3, 0.99, 1.5):
            u, v = (length * f(math.radians(degrees)) for f in (math.cos, math.sin))
            ours = flow_to_rgb(vector(u, v), max_flow=1.0).flatten().tolist()
            assert ours == pytest.approx(standard_colour(u, v), abs=1e-4)


def test_length_is_saturation_and_too_long_is_darker() -> None:
    half, full, over = (flow_to_rgb(vector(s, 0), max_flow=1.0).flatten().tolist() for s in (0.5, 1.0, 2.0))
    assert half == pytest.approx([1, 0.5, 0.5])
    assert full == pytest.approx([1, 0, 0])
    assert over == pytest.approx([0.75, 0, 0])


def test_longest_finite_flow_saturates_by_default() -> None:
    flow = torch.cat([vector(5, 0), vector(2.5, 0), vector(float("nan"), 1)], dim=-1)
    assert flow_to_rgb(flow)[1, 0].tolist() == pytest.approx([0, 0.5, 0])


def test_unknown_flow_is_black_and_sets_no_scale() -> None:
    flow = torch.cat([vector(4, 0), vector(2, 0), vector(1.67e9, 1.67e9), vector(0, -1e10)], dim=-1)
    red, pink, black = [1, 0, 0], [1, 0.5, 0.5], [0, 0, 0]
    assert flow_to_rgb(flow)[:, 0].T.tolist() == [red, pink, black, black]
    assert longest_flow(flow) == 4


def test_unknown_flow_is_a_dot_and_scales_no_other_arrow() -> None:
    image, flow = torch.zeros(3, 64, 64), torch.zeros(2, 64, 64)
    flow[0, :32] = 3
    unknown = flow.clone()
    unknown[:, 32:] = 1e10
    assert flow_arrows(image, unknown).equal(flow_arrows(image, flow))


def test_unknown_truth_is_grey_in_a_panel_and_counts_in_no_caption() -> None:
    flow = vector(5.0, 0.0).repeat(1, 64, 64)
    truth = flow.clone()
    truth[:, :32] = 1.67e9
    valid = torch.ones(64, 64, dtype=torch.bool)
    valid[:32] = False
    images = {"image1": torch.zeros(3, 64, 64), "prediction": flow, "visible": torch.ones(1, 64, 64)}
    assert panel(**images, target=truth).equal(panel(**images, target=flow, valid=valid))


def test_batches_are_coloured_one_by_one() -> None:
    flows = torch.randn(2, 3, 2, 4, 5)
    assert flow_to_rgb(flows).shape == (2, 3, 3, 4, 5)
    torch.testing.assert_close(flow_to_rgb(flows)[1, 2], flow_to_rgb(flows[1, 2]))


def test_wheel_has_the_standards_colours() -> None:
    colours = wheel_colours()
    assert len(colours) == 55
    assert colours[15].tolist() == [1, 1, 0]  # yellow, after 15 steps from red
    assert colours.min() >= 0
    assert colours.max() <= 1
    assert colour_wheel(9)[:, 4, 8].tolist() == pytest.approx([1, 0, 0])


def test_arrows_point_along_the_flow() -> None:
    image = torch.zeros(3, 64, 64)
    flow = torch.zeros(2, 64, 64)
    flow[0] = 12
    drawn = flow_arrows(image, flow, spacing=64, scale=1.0)
    lit = drawn.sum(dim=0) > 0.5
    assert lit[32, 33:44].all()
    assert not lit[:, :30].any()
    assert flow_arrows(image, 0 * flow).equal(flow_arrows(image, torch.full_like(flow, torch.nan)))
    assert flow_arrows(image, 1e12 * flow, scale=1.0).isfinite().all()  # as of a network that diverged


@pytest.mark.parametrize("labelled", [True, False])
def test_panel_is_a_readable_row(labelled: bool) -> None:
    flow = torch.randn(2, 64, 80)
    known = torch.ones(64, 80, dtype=torch.bool)
    truth = {"target": flow, "valid": known, "occluded": ~known} if labelled else {}
    drawn = panel(image1=torch.rand(3, 64, 80), prediction=flow, visible=torch.ones(1, 64, 80), **truth)
    assert drawn.shape[-2] >= 192
    assert drawn.shape[-1] > (6 if labelled else 3) * 3 * 80
    assert drawn.min() >= 0
    assert drawn.max() <= 1


def test_panel_survives_a_truth_without_a_known_pixel_and_a_broken_prediction() -> None:
    flow = torch.full((2, 16, 16), float("nan"))
    unknown = torch.zeros(16, 16, dtype=torch.bool)
    drawn = panel(
        image1=torch.rand(3, 16, 16),
        prediction=flow,
        visible=torch.zeros(1, 16, 16),
        target=torch.zeros(2, 16, 16),
        valid=unknown,
    )
    assert drawn.isfinite().all()


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_broken_pixel_leaves_the_others_their_colours(broken: float) -> None:
    flow = vector(5.0, 0.0).repeat(1, 64, 64)
    flow[:, 0, 0] = broken
    assert longest_flow(flow) == 5
    drawn = panel(image1=torch.zeros(3, 64, 64), prediction=flow, visible=torch.ones(1, 64, 64))
    red = (drawn == torch.tensor([1.0, 0, 0]).view(3, 1, 1)).all(dim=0)
    assert red.sum() >= 9 * (64 * 64 - 1)  # each pixel is 3 x 3 large


def test_errors_are_coloured_up_to_the_finite_ones_99th_percentile() -> None:
    error = torch.arange(10000.0).view(1, 100, 100) / 1000
    error[0, 99, 99] = torch.inf
    prediction = torch.cat([error, torch.zeros_like(error)])
    tile = error_tile(prediction, torch.zeros_like(prediction), torch.ones(100, 100, dtype=torch.bool))
    assert tile.caption == "error, mean inf (0 - 9.9 px)"
    assert tile.picture[:, 0, 0].max() < 0.1
    assert tile.picture[:, 99, 99].equal(tile.picture[:, 99, 98])


def test_captions_grow_with_the_frames() -> None:
    heights = []
    for factor in (1, 2, 4):
        frame = torch.zeros(3, 192 * factor, 192 * factor)
        drawn = panel(image1=frame, prediction=frame[:2], visible=frame[:1])
        heights.append(drawn.shape[-2] - 192 * factor)
    assert heights == [30, 52, 96]


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(\.\.\., 2, H, W\)"):
        flow_to_rgb(torch.zeros(3, 4, 4))
    with pytest.raises(ValueError, match="max_flow is 0"):
        flow_to_rgb(vector(1, 0), max_flow=0)

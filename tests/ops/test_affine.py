import math

import pytest
import torch
from torch import Tensor

from unrollflow.ops import affine_flow, affine_map, affine_warp, compose_affine, coords_grid, leaves_frame, warp
from unrollflow.ops.affine import affine_points, invert_affine

SIZE = (24, 33)


def maps(count: int = 3, seed: int = 0, zoom: float = 1.4) -> Tensor:
    """Random maps that show nothing from outside of the frame."""
    random = torch.rand(5, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5
    return affine_map(
        zoom=zoom + 0.1 * random[0],
        squeeze=1 + 0.1 * random[1],
        shift_x=0.1 * random[2],
        shift_y=0.1 * random[3],
        angle=0.1 * random[4],
    )


def waves(x: Tensor, y: Tensor) -> Tensor:
    """A smooth image as a function of positions."""
    return torch.stack([torch.sin(0.2 * x + 0.1 * y), torch.cos(0.15 * y), torch.sin(0.1 * x - 0.2 * y)], dim=1)


def test_parameters_by_hand() -> None:
    values = {"zoom": 2.0, "squeeze": 1.25, "shift_x": 0.1, "shift_y": -0.2, "angle": math.pi / 2}
    theta = affine_map(**{name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()})
    expected = torch.tensor([[[0.0, 1.6, 0.1], [-2.5, 0.0, -0.2]]]).double()
    torch.testing.assert_close(theta, expected)


def test_inverse_undoes_and_composition_applies_the_first_map_first() -> None:
    first, second = maps(seed=1), maps(seed=2)
    points = coords_grid(*SIZE, dtype=torch.float64)
    moved = affine_points(first, points, SIZE)
    torch.testing.assert_close(affine_points(invert_affine(first), moved, SIZE), points.expand_as(moved))
    both = affine_points(second, moved, SIZE)
    torch.testing.assert_close(affine_points(compose_affine(second, first), points, SIZE), both)


def test_frame_of_the_identity_and_of_the_mirror() -> None:
    image = torch.rand(1, 3, *SIZE)
    identity = torch.eye(2, 3).unsqueeze(0)
    torch.testing.assert_close(affine_warp(image, identity), image)
    torch.testing.assert_close(affine_warp(image, identity * torch.tensor([[-1.0], [1.0]])), image.flip(-1))


def test_what_lies_outside_is_zero_and_named() -> None:
    half, inner = torch.eye(2, 3).unsqueeze(0) * 0.5, torch.eye(2, 3).unsqueeze(0) * 1.5
    shown = affine_warp(torch.ones(1, 1, 9, 9), half)
    assert shown[0, 0, :2].sum() == 0
    assert shown[0, 0, 2:7, 2:7].min() == 1
    assert leaves_frame(torch.cat([half, inner]), (9, 9)).tolist() == [True, False]


def test_transformed_flow_belongs_to_the_transformed_frames() -> None:
    """A scene that is a function of position, moved by a smooth flow: warping back after the change is exact."""
    points = coords_grid(*SIZE, dtype=torch.float64)
    flow = torch.stack([1 + 0.05 * points[:, 1], -0.5 + 0.03 * points[:, 0]], dim=1).expand(3, 2, *SIZE)
    theta1 = maps()
    theta2 = compose_affine(maps(seed=5, zoom=1.0), theta1)
    changed_flow = affine_flow(flow, theta1, theta2)
    # frame 1 shows at p what was at A1^-1(p); frame 2 shows the moved scene through A2
    sources = affine_points(invert_affine(theta1), points, SIZE)
    image1 = waves(*sources.unbind(dim=1))
    targets = points + changed_flow
    back = affine_points(invert_affine(theta2), targets, SIZE)  # in the unchanged second frame
    origin = back - torch.stack([1 + 0.05 * sources[:, 1], -0.5 + 0.03 * sources[:, 0]], dim=1)
    torch.testing.assert_close(origin, sources, atol=1e-9, rtol=0)
    torch.testing.assert_close(waves(*origin.unbind(dim=1)), image1)


def test_warping_the_changed_second_frame_reproduces_the_changed_first_one() -> None:
    points = coords_grid(*SIZE, dtype=torch.float64)
    flow = torch.tensor([1.5, -0.75]).double().view(1, 2, 1, 1).expand(3, 2, *SIZE)
    image2 = waves(*points.expand(3, 2, *SIZE).unbind(dim=1))
    image1 = waves(*(points + flow).unbind(dim=1))
    theta1 = maps()
    theta2 = compose_affine(maps(seed=5, zoom=1.0), theta1)
    changed1, changed2 = affine_warp(image1, theta1), affine_warp(image2, theta2)
    reconstruction = warp(changed2, affine_flow(flow, theta1, theta2))
    inner = (..., slice(4, -4), slice(4, -4))
    assert (reconstruction - changed1)[inner].abs().max() < 0.02
    assert (warp(changed2, flow) - changed1)[inner].abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_kept_and_halves_are_lifted(dtype: torch.dtype) -> None:
    assert affine_warp(torch.rand(1, 3, *SIZE, dtype=dtype), maps(1)).dtype == dtype
    assert affine_flow(torch.rand(1, 2, *SIZE, dtype=dtype), maps(1), maps(1)).dtype == dtype
    assert affine_warp(torch.rand(1, 3, *SIZE).bfloat16(), maps(1)).dtype == torch.float32

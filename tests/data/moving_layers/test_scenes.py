import numpy as np
import pytest
import torch
from torch import Tensor

from unrollflow.data.moving_layers.outlines import DIRECTIONS, edge_distance, random_outline
from unrollflow.data.moving_layers.scenes import (
    Motion,
    Scene,
    exact_flow,
    nearest_layer,
    occluded,
    own_coordinates,
    random_scene,
)

SIZE = (60, 80)
AREA = 0.7 * 60 * 80


def scene(seed: int, count: int = 4) -> Scene:
    generator = np.random.default_rng(seed)
    return random_scene(SIZE, count, AREA, Motion(5, 3, 0.05), Motion(9, 10, 0.1), generator)


def seen(scene: Scene) -> Tensor:
    """Nearest layer at every pixel of both frames, (2, H W)."""
    coordinates = own_coordinates(scene)
    return nearest_layer(edge_distance(coordinates[0, 1:], coordinates[1, 1:], scene.outlines)).view(2, -1)


def pixels() -> Tensor:
    """Homogeneous pixel positions (3, H W) float64."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)]).flatten(1).double()


@pytest.mark.parametrize("seed", range(5))
def test_flow_leads_to_the_same_point_of_the_layer(seed: int) -> None:
    a = scene(seed)
    layers = seen(a)[0]
    flow = exact_flow(a, layers).flatten(1).float().double()  # as stored
    start = pixels()
    end = start.clone()
    end[:2] += flow
    own1, own2 = (torch.einsum("nij,jn->in", a.inverses[layers, f], p) for f, p in ((0, start), (1, end)))
    assert (own1 - own2).abs().max() < 1e-5
    assert layers.unique().numel() > 1


@pytest.mark.parametrize("seed", range(5))
def test_occluded_are_pixels_whose_layer_is_not_seen_where_they_go(seed: int) -> None:
    a = scene(seed)
    layers1, layers2 = seen(a)
    flow = exact_flow(a, layers1)
    hidden = occluded(a, layers1, flow)
    x, y = (pixels()[:2] + flow.flatten(1)).round().long().view(2, *SIZE)
    within = (x > 0) & (x < SIZE[1] - 1) & (y > 0) & (y < SIZE[0] - 1)
    around = torch.stack(
        [
            layers2.view(SIZE)[(y + j).clamp(0, SIZE[0] - 1), (x + i).clamp(0, SIZE[1] - 1)]
            for i in (-1, 0, 1)
            for j in (-1, 0, 1)
        ]
    )
    clear = within & (around == around[0]).all(dim=0)  # away from edges, where rounding does not change the result
    there, here = around[0][clear], layers1.view(SIZE)[clear]
    assert torch.equal(hidden[clear], there > here)
    assert hidden[clear].any()
    assert (there >= here).all(), "what is seen there cannot lie behind"
    outside = (x < 0) | (x > SIZE[1] - 1) | (y < 0) | (y > SIZE[0] - 1)
    assert hidden[outside].all()


@pytest.mark.parametrize("seed", range(12))
def test_outlines_have_the_area_that_was_asked_for(seed: int) -> None:
    outline = random_outline(900.0, np.random.default_rng(seed))
    assert outline.min() > 0
    y, x = torch.meshgrid(torch.arange(-100, 101), torch.arange(-100, 101), indexing="ij")
    shape = torch.from_numpy(outline).float()[None]
    inside = edge_distance(x.reshape(1, -1).float(), y.reshape(1, -1).float(), shape) > 0
    assert inside.sum().item() == pytest.approx(900, rel=0.03)


def test_edge_distance_of_a_circle_is_radius_minus_distance_also_at_its_centre() -> None:
    x, y = torch.tensor([[0.0, 3.0, -6.0, 0.0]]), torch.tensor([[0.0, 4.0, 0.0, -8.0]])
    assert edge_distance(x, y, torch.full((1, DIRECTIONS), 7.0))[0].tolist() == [7, 2, 1, -1]


def test_motions_stay_within_their_ranges() -> None:
    centre = np.array([10.0, 20.0])
    motion = Motion(translation=4, rotation=10, zoom=0.1)
    for seed in range(200):
        drawn = motion.draw(centre, np.random.default_rng(seed))
        linear, moved = drawn[:2, :2], drawn @ [*centre, 1.0]
        scale = np.sqrt(np.linalg.det(linear))
        assert np.linalg.norm(moved[:2] - centre) <= 4 + 1e-9
        assert 1 / 1.1 - 1e-9 <= scale <= 1.1 + 1e-9
        assert abs(np.degrees(np.arctan2(linear[1, 0], linear[0, 0]))) <= 10 + 1e-9

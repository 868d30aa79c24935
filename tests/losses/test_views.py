from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unrollflow.data import AppearanceJitter
from unrollflow.losses import Appearance, HallucinatedOcclusion, LabelledPair, Margin, RandomAffine, RandomWindow, View
from unrollflow.ops import warp

SIZE = (40, 56)
SEEDS = [3, 4]
VIEWS: list[View] = [
    Appearance(jitter=AppearanceJitter()),
    RandomAffine(),
    RandomWindow(size=(16, 24)),
    Margin(width=4),
    HallucinatedOcclusion(count=(2, 4), superpixels=10),
]
DIFFERENT = (Appearance, HallucinatedOcclusion)
"""Their frames differ on purpose."""


def labelled_pair(count: int = 2, seed: int = 0) -> LabelledPair:
    """Smooth frames, of which the second is the first one moved by (2, -1) px; superpixels are stripes."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 7, 9, generator=generator)
    image1 = nn.functional.interpolate(coarse, SIZE, mode="bicubic", align_corners=True).clamp(0, 1)
    flow = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(count, 2, *SIZE)
    image2 = warp(image1, -flow)
    segments = (torch.arange(SIZE[1]) * 10 // SIZE[1]).expand(count, *SIZE)
    return LabelledPair(image1, image2, flow, torch.ones(count, 1, *SIZE), segments)


def name(view: View) -> str:
    return type(view).__name__


@pytest.mark.parametrize("view", VIEWS, ids=name)
def test_a_view_depends_on_each_samples_seed_alone(view: View) -> None:
    whole = view(labelled_pair(), seeds=SEEDS)
    for i, seed in enumerate(SEEDS):
        alone = view(LabelledPair(*(field[i : i + 1] for field in labelled_pair() if field is not None)), seeds=[seed])
        for joint, single in zip(whole, alone, strict=True):
            assert (joint is None) == (single is None)
            if joint is not None and single is not None:
                torch.testing.assert_close(joint[i : i + 1], single, msg=name(view))


@pytest.mark.parametrize("view", [view for view in VIEWS if not isinstance(view, Margin)], ids=name)
def test_another_seed_is_another_view(view: View) -> None:
    one, other = (view(labelled_pair(), seeds=[seed, seed + 1]) for seed in (3, 30))
    assert not torch.equal(one.image2, other.image2)


@pytest.mark.parametrize("view", [view for view in VIEWS if not isinstance(view, DIFFERENT)], ids=name)
def test_the_flow_explains_the_frames_as_well_as_before(view: View) -> None:
    seen = view(labelled_pair(), seeds=SEEDS)
    inner = (..., slice(4, -4), slice(4, -4))
    assert (warp(seen.image2, seen.flow) - seen.image1)[inner].abs().max() < 0.06
    assert (seen.image2 - seen.image1)[inner].abs().max() > 0.1


def test_affine_draws_are_symmetric_and_fresh() -> None:
    """The released code always turns by its largest angle."""
    view = RandomAffine(shift=0.0, zoom=(1.5, 1.5), squeeze=(1.0, 1.0), horizontal_flip=0.0, vertical_flip=0.0)
    drawn = [view._draw(torch.Generator().manual_seed(seed), (64, 64)) for seed in range(200)]
    angles = torch.tensor([-theta1[0, 1, 0].div(1.5).asin() for theta1, _ in drawn])
    assert angles.unique().numel() == 200
    assert abs(angles.mean()) < 0.03
    assert angles.min() < -0.18
    assert angles.max() > 0.18
    relative = torch.tensor([(theta2 - theta1).abs().max() for theta1, theta2 in drawn])
    assert relative.unique().numel() == 200


def test_flips_happen_as_often_as_their_probability_says() -> None:
    view = RandomAffine(horizontal_flip=1.0, vertical_flip=0.0)
    theta1, _ = view._draw(torch.Generator().manual_seed(0), (64, 64))
    assert theta1[0, 0, 0] < 0 < theta1[0, 1, 1]
    seen = view(labelled_pair(), seeds=SEEDS)
    assert (seen.flow.mean(dim=(0, 2, 3)) < 0).all(), "u: 2 px mirrored; v: -1 px as it was"


def test_nothing_from_outside_is_shown() -> None:
    seen = RandomAffine()(labelled_pair(), seeds=SEEDS)
    assert seen.weight.min() > 1 - 1e-6


def test_ranges_without_a_valid_map_are_named() -> None:
    shrinking: dict[str, Any] = {"zoom": (0.5, 0.6), "squeeze": (1.0, 1.0)}
    with pytest.raises(ValueError, match="stays inside a frame of 40x56; use a larger zoom"):
        RandomAffine(**shrinking)(labelled_pair(), seeds=SEEDS)
    with pytest.raises(ValueError, match="relative_zoom is"):
        RandomAffine(relative_zoom=(1.1, 0.9))


def test_windows_and_margins_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="frames are 40x56, smaller than the student's crop of 41x8"):
        RandomWindow(size=(41, 8))(labelled_pair(), seeds=SEEDS)
    with pytest.raises(ValueError, match="frames are 40x56; a margin of 20 leaves no pixels"):
        Margin(width=20)(labelled_pair(), seeds=SEEDS)


def test_windows_lie_everywhere() -> None:
    ramp = torch.arange(SIZE[1]).expand(1, 1, *SIZE).float()
    pair = LabelledPair(ramp.repeat(1, 3, 1, 1), ramp.repeat(1, 3, 1, 1), ramp.repeat(1, 2, 1, 1), ramp, None)
    view = RandomWindow(size=(40, 53))
    left = {int(view(pair, seeds=[seed]).weight[0, 0, 0, 0]) for seed in range(40)}
    assert left == {0, 1, 2, 3}


def test_hidden_superpixels_are_whole_and_as_many_as_drawn() -> None:
    before = labelled_pair()
    seen = HallucinatedOcclusion(count=(2, 4), superpixels=10)(before, seeds=SEEDS)
    assert before.segments is not None
    for image, original, segments in zip(seen.image2, before.image2, before.segments, strict=True):
        changed = (image != original).any(dim=0)
        hidden = segments[changed].unique()
        assert 2 <= len(hidden) <= 4
        assert changed[torch.isin(segments, hidden)].float().mean() > 0.99
    assert torch.equal(seen.flow, before.flow)
    assert torch.equal(seen.weight, before.weight)


def test_numbers_beyond_the_count_are_never_hidden() -> None:
    pair = labelled_pair(1)
    many = pair._replace(segments=torch.full_like(pair.segments, 10**4))
    for seed in range(20):
        assert HallucinatedOcclusion(count=(4, 4), superpixels=4)(many, seeds=[seed]).image2.equal(pair.image2)


def test_missing_superpixels_are_named() -> None:
    with pytest.raises(ValueError, match=r"end the transform of the data with unrollflow\.data\.Superpixels"):
        HallucinatedOcclusion()(labelled_pair()._replace(segments=None), seeds=SEEDS)
    with pytest.raises(ValueError, match="count is"):
        HallucinatedOcclusion(count=(0, 3))


def test_appearance_moves_nothing() -> None:
    before = labelled_pair()
    seen = Appearance(jitter=AppearanceJitter())(before, seeds=SEEDS)
    assert torch.equal(seen.flow, before.flow)
    assert not torch.equal(seen.image1, before.image1)


def test_fields_without_superpixels_stay_without() -> None:
    without = labelled_pair()._replace(segments=None)
    assert RandomWindow(size=(16, 16))(without, seeds=SEEDS).segments is None
    assert isinstance(Margin(width=2)(without, seeds=SEEDS).flow, Tensor)

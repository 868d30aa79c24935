from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrollflow.data.transforms.appearance import AppearanceJitter, JitteredFrames

NOTHING: dict[str, Any] = {
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "gamma": (1.0, 1.0),
    "blur_probability": 0.0,
    "blur_sigma": (0.1, 2.0),
    "noise": 0.0,
    "eraser_probability": 0.0,
    "eraser_size": (5, 9),
    "eraser_count": 3,
    "asymmetric_probability": 0.0,
}
COLOURS: dict[str, Any] = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.2, "gamma": (0.7, 1.5)}
EVERYTHING = NOTHING | COLOURS | {"blur_probability": 0.5, "noise": 0.05, "eraser_probability": 0.5}
HALF = COLOURS | {"asymmetric_probability": 0.5}


def jitter(**changes: Any) -> AppearanceJitter:
    return AppearanceJitter(**{**NOTHING, **changes})


def frames(count: int = 4, height: int = 24, width: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def differs(one: Tensor, other: Tensor) -> list[bool]:
    """Which frames of two batches differ."""
    return [not torch.equal(a, b) for a, b in zip(one, other, strict=True)]


def test_without_any_change_the_frames_come_back_as_they_were() -> None:
    image1, image2 = frames(seed=1), frames(seed=2)
    same = jitter()(image1, image2, seed=3)
    assert torch.allclose(same.image1, image1, atol=1e-6)
    assert torch.allclose(same.image2, image2, atol=1e-6)


@pytest.mark.parametrize("name", [*COLOURS, "noise"])
def test_each_change_alone_changes_every_frame(name: str) -> None:
    changed = jitter(**{name: EVERYTHING[name]})(frames(seed=1), frames(seed=2), seed=0)
    for before, after in ((frames(seed=1), changed.image1), (frames(seed=2), changed.image2)):
        assert ((before - after).abs().mean(dim=(1, 2, 3)) > 1e-3).all()


def test_hand_computed_changes() -> None:
    image = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1).repeat(1, 1, 4, 4)

    def only(**changes: Any) -> tuple[list[float], AppearanceJitter]:
        made = jitter(**changes)
        return made(image, image, seed=0).image2[0, :, 0, 0].tolist(), made

    assert only(gamma=(2.0, 2.0))[0] == pytest.approx([0.04, 0.16, 0.36], abs=1e-6)
    brighter, _ = only(brightness=0.5)
    factor = brighter[0] / 0.2
    assert 0.5 <= factor <= 1.5
    assert brighter == pytest.approx([0.2 * factor, 0.4 * factor, 0.6 * factor], abs=1e-6)
    contrast, _ = only(contrast=0.5)  # about the mean grey, 0.299 R + 0.587 G + 0.114 B = 0.363
    grey = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
    ratios = [(after - grey) / (before - grey) for after, before in zip(contrast, (0.2, 0.4, 0.6), strict=True)]
    assert ratios == pytest.approx([ratios[0]] * 3, abs=1e-4)
    assert 0.5 <= ratios[0] <= 1.5
    turned, _ = only(hue=0.5)
    assert max(turned) == pytest.approx(0.6, abs=1e-5), "turning the hue keeps the largest and the smallest channel"
    assert min(turned) == pytest.approx(0.2, abs=1e-5)
    assert turned != pytest.approx([0.2, 0.4, 0.6], abs=1e-3)


def test_factors_fill_their_range_evenly_and_differ_in_the_batch() -> None:
    grey = torch.full((400, 3, 2, 2), 0.5)
    factor = jitter(brightness=0.5)(grey, grey, seed=0).image1[:, 0, 0, 0] / 0.5
    assert factor.min() < 0.52
    assert factor.max() > 1.48
    assert factor.mean() == pytest.approx(1, abs=0.05)


def test_equal_colours_stay_equal_between_the_frames_of_a_pair() -> None:
    image1 = frames()
    order = torch.randperm(24 * 16, generator=torch.Generator().manual_seed(0))
    image2 = image1.clone()
    image2[..., 16:] = 0.1  # the means of the frames differ
    image2[..., :16] = image1[..., :16].flatten(2)[..., order].view(4, 3, 24, 16)
    changed = jitter(**COLOURS)(image1, image2, seed=5)
    moved = changed.image1[..., :16].flatten(2)[..., order].view(4, 3, 24, 16)
    assert torch.allclose(changed.image2[..., :16], moved, atol=1e-5)
    assert not torch.allclose(moved, image2[..., :16], atol=1e-2)


def test_frames_get_colours_of_their_own_as_often_as_the_probability_says() -> None:
    image = frames(200, 4, 4)
    for probability, low, high in ((0.0, 0, 0), (0.25, 30, 70), (1.0, 200, 200)):
        changed = jitter(**COLOURS, asymmetric_probability=probability)(image, image, seed=0)
        assert low <= sum(differs(changed.image1, changed.image2)) <= high


def test_blur_is_kornias_shared_by_a_pair_and_as_frequent_as_its_probability() -> None:
    image = frames(200, 8, 8)
    changed = jitter(blur_probability=0.3)(image, image, seed=0)
    assert torch.equal(changed.image1, changed.image2)
    assert 40 <= sum(not torch.allclose(a, b, atol=1e-6) for a, b in zip(changed.image1, image, strict=True)) <= 80
    point = torch.zeros(1, 3, 41, 41)
    point[..., 20, 20] = 1
    spread = jitter(blur_probability=1, blur_sigma=(2.0, 2.0))(point, point, seed=0).image1[0, 0]
    offset = torch.arange(41.0) - 20
    assert spread.sum() == pytest.approx(1, abs=1e-3)
    assert (spread.sum(dim=0) * offset**2).sum() == pytest.approx(4, rel=0.05)


def test_noise_is_of_the_deviation_drawn_and_differs_between_the_frames() -> None:
    grey = torch.full((100, 3, 16, 16), 0.5)
    changed = jitter(noise=0.1)(grey, grey, seed=0)
    deviation = changed.image1.flatten(1).std(dim=1)
    assert deviation.max() == pytest.approx(0.1, abs=0.01)
    assert deviation.mean() == pytest.approx(0.05, abs=0.01)
    assert torch.allclose(deviation, changed.image2.flatten(1).std(dim=1), rtol=0.2, atol=1e-3), "one deviation a pair"
    together = torch.stack([changed.image1.flatten(), changed.image2.flatten()])
    assert torch.corrcoef(together)[0, 1].abs() < 0.02


def test_the_eraser_paints_rectangles_of_the_mean_colour_in_the_second_frame_only() -> None:
    image1, image2 = frames(200, seed=1), frames(200, seed=2)
    changed = jitter(eraser_probability=0.5, eraser_count=1)(image1, image2, seed=0)
    assert torch.allclose(changed.image1, image1, atol=1e-6)
    hit = 0
    for before, after in zip(image2, changed.image2, strict=True):
        erased = ((before - after).abs() > 1e-5).any(dim=0)
        if erased.any():
            hit += 1
            rows, columns = erased.any(dim=1).nonzero().flatten(), erased.any(dim=0).nonzero().flatten()
            top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
            assert 5 <= bottom - top <= 9
            assert 5 <= right - left <= 9
            mean = before.mean(dim=(1, 2)).view(3, 1, 1)
            assert torch.allclose(after[:, top:bottom, left:right], mean, atol=1e-5)
    assert 75 < hit < 125


def test_one_to_three_rectangles_each_further_one_half_as_often() -> None:
    wide = frames(300, 6, 400)
    changed = jitter(eraser_probability=1, eraser_size=(6, 6))(wide, wide, seed=0)
    erased = (changed.image2 - wide).abs().amax(dim=(1, 2)) > 1e-5  # (300, 400): columns
    share = erased.sum(dim=1) / 6
    assert share.max() == 3
    assert share.min() == 1
    assert share.mean() == pytest.approx(1 + 1 / 2 + 1 / 4, abs=0.15)


def test_rectangles_longer_than_the_frame_fill_it() -> None:
    changed = jitter(eraser_probability=1, eraser_size=(50, 100))(frames(), frames(), seed=0).image2
    assert torch.allclose(changed, frames().mean(dim=(2, 3), keepdim=True).expand_as(changed), atol=1e-5)


def same(one: JitteredFrames, other: JitteredFrames) -> bool:
    return torch.equal(one.image1, other.image1) and torch.equal(one.image2, other.image2)


def test_the_seed_alone_decides_and_the_global_state_is_left_alone() -> None:
    made = AppearanceJitter(**(EVERYTHING | HALF))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = made(frames(), frames(), seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(123)
    assert same(made(frames(), frames(), seed=7), first)
    assert all(differs(made(frames(), frames(), seed=8).image1, first.image1))
    assert same(AppearanceJitter(**(EVERYTHING | HALF))(frames(), frames(), seed=7), first)


def test_pairs_of_a_batch_have_draws_of_their_own() -> None:
    image = frames(1).repeat(6, 1, 1, 1)
    changed = jitter(**COLOURS)(image, image, seed=0).image1
    assert len({tuple(frame.flatten().tolist()) for frame in changed}) == 6


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    value=st.sampled_from([0.0, 1.0, 1e-30, -5.0, 3.0, float("nan"), float("inf"), -float("inf")]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_any_frames_give_finite_ones_from_0_to_1(seed: int, value: float, size: tuple[int, int]) -> None:
    image = frames(2, *size)
    image[0] = value
    image[1, :, 0, 0] = value
    changed = AppearanceJitter(**(EVERYTHING | HALF))(image, image.flip(-1), seed=seed)
    for frame in changed:
        assert frame.isfinite().all()
        assert frame.min() >= 0
        assert frame.max() <= 1


def test_half_precision_is_lifted_under_autocast_and_double_kept() -> None:
    made, image = AppearanceJitter(**EVERYTHING), frames().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = made(image, image, seed=1)
    assert low.image1.dtype == torch.float32
    assert same(low, made(image.float(), image.float(), seed=1))
    assert made(image.double(), image.double(), seed=1).image2.dtype == torch.float64


def test_the_frames_that_came_stay_as_they_were() -> None:
    image1, image2 = frames(seed=1), frames(seed=2)
    for made in (jitter(), AppearanceJitter(**EVERYTHING)):
        made(image1, image2, seed=0)
        assert torch.equal(image1, frames(seed=1))
        assert torch.equal(image2, frames(seed=2))


def test_nothing_is_learnt_or_kept() -> None:
    made = AppearanceJitter()
    before = dict(vars(made))
    made(frames(), frames(), seed=0)
    assert not list(made.parameters())
    assert not made.state_dict()
    assert vars(made) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"brightness": -0.1}, r"brightness is -0\.1"),
        ({"contrast": float("nan")}, "contrast is nan"),
        ({"saturation": float("inf")}, "saturation is inf"),
        ({"hue": 0.6}, r"hue is 0\.6; it must be from 0 to 0\.5 turns"),
        ({"gamma": (0.0, 1.0)}, r"gamma is \(0\.0, 1\.0\)"),
        ({"gamma": (1.5, 0.7)}, r"gamma is \(1\.5, 0\.7\)"),
        ({"blur_probability": 1.1}, r"blur_probability is 1\.1"),
        ({"blur_sigma": (0.0, 1.0)}, "blur_sigma is"),
        ({"noise": -1.0}, r"noise is -1\.0"),
        ({"eraser_probability": -0.5}, r"eraser_probability is -0\.5"),
        ({"eraser_size": (9, 5)}, r"eraser_size is \(9, 5\)"),
        ({"eraser_count": 0}, "eraser_count is 0"),
        ({"asymmetric_probability": 2.0}, r"asymmetric_probability is 2\.0"),
    ],
)
def test_an_argument_out_of_range_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jitter(**changes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda j: j(frames(2), frames(3), seed=0), r"\(2, 3, 24, 32\) and .*\(3, 3, 24, 32\)"),
        (lambda j: j(frames(2)[0], frames(2)[0], seed=0), r"two batches \(B, 3, H, W\)"),
        (lambda j: j(frames()[:, :1], frames()[:, :1], seed=0), r"\(4, 1, 24, 32\)"),
        (lambda j: j(frames()[:0], frames()[:0], seed=0), r"\(0, 3, 24, 32\)"),
        (lambda j: j(frames().byte(), frames().byte(), seed=0), r"torch\.uint8"),
        (lambda j: j(frames(), frames(), seed=-1), "seed is -1; it must be at least 0"),
    ],
)
def test_what_are_no_frames_is_named(call: Callable[[AppearanceJitter], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(AppearanceJitter())

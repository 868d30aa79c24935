from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrollflow.contracts import FlowSample
from unrollflow.data import Compose, MovingLayers, RandomCrop, RandomHorizontalFlip, RandomVerticalFlip, Transform
from unrollflow.data.transforms.resampling import Convention
from unrollflow.data.transforms.resize import RandomResize, RandomResizedCrop, Resize
from unrollflow.ops import coords_grid, warp

CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
SIZES = [(48, 64), (70, 90), (96, 160), (144, 192), (60, 200)]
FLIPS = [RandomHorizontalFlip(probability=1), RandomVerticalFlip(probability=1)]
RANDOM: dict[str, Transform] = {
    "resize": RandomResize(scale=(0.6, 1.8), stretch=1.3, probability=1),
    "crop": RandomResizedCrop(size=(64, 72), scale=(0.8, 1.8), stretch=1.3, probability=1),
    "resize, crop, flips": Compose(
        transforms=[RandomResize(at_least=(64, 72), probability=1), RandomCrop(size=(64, 72)), *FLIPS]
    ),
    "flips, crop": Compose(transforms=[*FLIPS, RandomResizedCrop(size=(64, 72), convention="corners")]),
    "resize twice": Compose(transforms=[Resize(size=(120, 120)), Resize(size=(90, 140), convention="corners")]),
}
EVERY = RANDOM | {"fixed": Resize(size=(48, 64))}


def layers(index: int = 0) -> FlowSample:
    sample = MovingLayers(split="train", size=(96, 128))[index]
    sample["foreground"] = sample["boundary_distance"] < 5
    return sample


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maps(sample: FlowSample) -> dict[str, Tensor]:
    return {name: value for name, value in sample.items() if isinstance(value, Tensor)}


def warping_error(sample: FlowSample) -> float:
    """Mean difference of the frames where the same surface is seen in both, away from edges, which resizing blurs."""
    error = (warp(sample["image2"][None], sample["flow"][None])[0] - sample["image1"]).abs().mean(dim=0)
    seen = ~sample["occluded"] & (sample["boundary_distance"] >= 4)
    seen[:3] = seen[-3:] = seen[:, :3] = seen[:, -3:] = False
    assert seen.float().mean() > 0.2
    return error[seen].mean().item()


def affine(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([2 + 0.1 * x - 0.03 * y, -1 + 0.02 * x + 0.05 * y])


def blank(height: int, width: int, **maps: Tensor) -> FlowSample:
    sample = FlowSample(image1=torch.zeros(3, height, width), image2=torch.zeros(3, height, width), name="blank")
    return sample | maps  # type: ignore[return-value,operator]


def explains(changed: FlowSample, before: FlowSample) -> None:
    """The new flow aligns the new frames about as well as the old ones; smaller frames have finer detail a pixel."""
    assert warping_error(changed) < 3 * warping_error(before) + 0.5 / 255
    for wrong in (-changed["flow"], 0 * changed["flow"]):
        assert warping_error(changed | {"flow": wrong}) > 3 * warping_error(changed)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("size", SIZES)
def test_the_resized_flow_explains_the_resized_frames(size: tuple[int, int], convention: Convention) -> None:
    for index in range(2):
        before = layers(index)
        changed = Resize(size=size, convention=convention)(before, generator())
        assert {m.shape[-2:] for m in maps(changed).values()} == {size}
        explains(changed, before)


@pytest.mark.parametrize("name", RANDOM)
def test_so_does_what_random_transforms_and_compositions_make_of_it(name: str) -> None:
    for seed in range(3):
        before = layers(seed)
        explains(RANDOM[name](before, generator(seed)), before)


@settings(max_examples=40, deadline=None)
@given(
    old=st.tuples(st.integers(2, 24), st.integers(2, 24)),
    new=st.tuples(st.integers(2, 48), st.integers(2, 48)),
    convention=st.sampled_from(CONVENTIONS),
)
def test_an_affine_flow_stays_the_affine_flow_of_the_new_grid(
    old: tuple[int, int], new: tuple[int, int], convention: Convention
) -> None:
    sample = blank(*old, flow=affine(*coords_grid(*old, dtype=torch.float64)[0]))
    resized = Resize(size=new, convention=convention)(sample, generator())["flow"]
    x, y = coords_grid(*new, dtype=torch.float64)[0]
    if convention == "corners":
        (down, right), (x_old, y_old) = [
            ((new[0] - 1) / (old[0] - 1), (new[1] - 1) / (old[1] - 1)),
            (x * (old[1] - 1) / (new[1] - 1), y * (old[0] - 1) / (new[0] - 1)),
        ]
    else:
        down, right = new[0] / old[0], new[1] / old[1]
        x_old, y_old = (x + 0.5) / right - 0.5, (y + 0.5) / down - 0.5
    expected = affine(x_old, y_old) * torch.tensor([right, down], dtype=torch.float64).view(2, 1, 1)
    inside = (x_old >= 0) & (x_old <= old[1] - 1) & (y_old >= 0) & (y_old <= old[0] - 1)
    assert inside.any()
    assert torch.allclose(resized[:, inside], expected[:, inside], rtol=0, atol=1e-9)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_images_lie_where_the_convention_says(convention: Convention) -> None:
    ramp = torch.arange(9.0).expand(3, 9, 9) / 8
    sample = FlowSample(image1=ramp, image2=ramp, name="ramp")
    larger = Resize(size=(17, 17), convention=convention)(sample, generator())["image1"][0, 0]
    pixel = torch.arange(17.0)
    expected = pixel / 2 if convention == "corners" else ((pixel + 0.5) * 9 / 17 - 0.5).clamp(0, 8)
    assert torch.allclose(larger, expected / 8, atol=1e-5)


def test_shrinking_smooths_first() -> None:
    stripes = (torch.arange(64) % 2).float().expand(3, 64, 64)
    shrunk = Resize(size=(16, 16))(FlowSample(image1=stripes, image2=stripes, name="stripes"), generator())
    assert (shrunk["image1"][..., 2:-2] - 0.5).abs().max() < 1e-3, "without, the pixels taken would be black or white"


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("size", [(5, 6), (9, 13), (20, 31), (3, 40)])
def test_unknown_flow_never_reaches_known_one(size: tuple[int, int], convention: Convention) -> None:
    flow = 0.5 + 0.01 * coords_grid(9, 13)[0]
    valid = torch.rand(9, 13, generator=generator()) < 0.6
    results = []
    for lie in (1e9, float("nan"), 0.0):
        sample = blank(9, 13, flow=torch.where(valid, flow, lie), valid=valid)
        resized = Resize(size=size, convention=convention)(sample, generator())
        results.append(torch.where(resized["valid"], resized["flow"], 0.0))
        assert resized["valid"].any()
        assert not resized["valid"].all()
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_sparse_ground_truth_stays_as_dense_as_it_was() -> None:
    valid = torch.rand(60, 80, generator=generator()) < 0.2
    for size in ((45, 60), (90, 120)):
        resized = Resize(size=size)(blank(60, 80, flow=torch.zeros(2, 60, 80), valid=valid), generator())
        assert resized["valid"].float().mean() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_no_motion_is_made_up_between_two(convention: Convention) -> None:
    flow = torch.zeros(2, 10, 10)
    flow[0, :, 5:] = 8
    for size in ((10, 17), (10, 7)):
        u = Resize(size=size, convention=convention)(blank(10, 10, flow=flow), generator())["flow"][0]
        right = (size[1] - 1) / 9 if convention == "corners" else size[1] / 10
        assert ((u == 0) | torch.isclose(u, torch.tensor(8 * right))).all()
        assert (u[:, 0] == 0).all()
        assert (u[:, -1] > 0).all()


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_endpoint_error_of_a_constant_offset_scales_with_the_frame(convention: Convention) -> None:
    truth, size = layers(), (192, 256)
    estimate = truth | {"flow": truth["flow"] + torch.tensor([3.0, 4.0]).view(2, 1, 1)}
    resize = Resize(size=size, convention=convention)
    difference = resize(estimate, generator())["flow"] - resize(truth, generator())["flow"]
    factors = torch.tensor([255 / 127, 191 / 95] if convention == "corners" else [2.0, 2.0])
    expected = torch.linalg.vector_norm(factors * torch.tensor([3.0, 4.0]))
    assert torch.allclose(torch.linalg.vector_norm(difference, dim=0), expected, atol=1e-4)


def test_labels_stay_labels_and_distances_scale() -> None:
    before = layers()
    doubled = Resize(size=(192, 256))(before, generator())
    for name in ("valid", "occluded", "foreground"):
        old, new = maps(before)[name], maps(doubled)[name]
        assert new.dtype == torch.bool
        repeated = old.repeat_interleave(2, 0).repeat_interleave(2, 1)
        assert torch.equal(new, repeated) if name != "occluded" else (new | ~repeated).all()
    distance = before["boundary_distance"].repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(doubled["boundary_distance"], 2 * distance)
    wide = Resize(size=(96, 512))(before, generator())["boundary_distance"]
    assert torch.equal(wide, 2 * before["boundary_distance"].repeat_interleave(4, 1))  # sqrt(1 * 4)


def test_what_leaves_the_new_frame_is_occluded() -> None:
    flow = torch.zeros(2, 4, 8)
    flow[0, :, 0] = -0.01
    sample = blank(4, 8, flow=flow, occluded=torch.zeros(4, 8, dtype=torch.bool))
    assert Resize(size=(4, 4))(sample, generator())["occluded"].sum() == 4
    assert not Resize(size=(4, 4))(sample | {"flow": -flow}, generator())["occluded"].any()


@pytest.mark.parametrize("name", EVERY)
def test_the_sample_that_came_stays_as_it_was(name: str) -> None:
    sample = layers()
    before = {key: value.clone() for key, value in maps(sample).items()}
    changed = EVERY[name](sample, generator())
    assert all(torch.equal(value, before[key]) for key, value in maps(sample).items())
    assert maps(changed).keys() == before.keys()
    assert {key: value.dtype for key, value in maps(changed).items()} == {k: v.dtype for k, v in before.items()}


def test_the_same_size_is_the_same_sample() -> None:
    sample = layers()
    for transform in (
        Resize(size=(96, 128)),
        RandomResize(scale=(1, 1), stretch=1),
        RandomResizedCrop(size=(96, 128), scale=(1, 1), stretch=1),
        RandomResize(probability=0),
    ):
        same = maps(transform(sample, generator()))
        assert all(torch.equal(value, same[key]) for key, value in maps(sample).items())


def test_the_generator_alone_decides() -> None:
    sample = layers()
    for name in ("resize", "crop"):
        torch.manual_seed(0)
        first = RANDOM[name](sample, generator(5))
        torch.manual_seed(1)
        again, other = (RANDOM[name](sample, generator(seed)) for seed in (5, 6))
        assert torch.equal(first["flow"], again["flow"])
        assert first["flow"].shape != other["flow"].shape or not torch.equal(first["flow"], other["flow"])


def test_factors_fill_their_range_and_keep_the_aspect_unless_stretched() -> None:
    tall = blank(100, 200)
    source = generator()
    resize = RandomResize(scale=(0.5, 2), stretch=1, probability=1)
    drawn = torch.tensor([resize(tall, source)["image1"].shape[-2:] for _ in range(200)]) / torch.tensor([100, 200])
    assert torch.allclose(drawn[:, 0], drawn[:, 1], atol=0.01)
    assert drawn.min() >= 0.5
    assert drawn.max() <= 2
    assert 0.4 < (drawn[:, 0] < 1).float().mean() < 0.6, "evenly on a logarithmic scale"
    stretch = RandomResize(scale=(1, 1), stretch=1.21, probability=1)
    drawn = torch.tensor([stretch(tall, source)["image1"].shape[-2:] for _ in range(100)]) / torch.tensor([100, 200])
    ratio = drawn[:, 0] / drawn[:, 1]
    assert ratio.min() < 0.9
    assert 1.1 < ratio.max() < 1.23
    assert (drawn.log().sum(dim=1).abs() < 0.02).all(), "no larger and no smaller for it"


def test_a_frame_never_becomes_smaller_than_the_crop_that_follows() -> None:
    source = generator()
    for frame in ((40, 90), (64, 80), (20, 20)):
        resize = RandomResize(scale=(0.1, 1), stretch=2, at_least=(37, 51))
        sizes = [resize(blank(*frame), source)["image1"].shape[-2:] for _ in range(30)]
        assert all(h >= 37 and w >= 51 for h, w in sizes)
        crop = RandomResizedCrop(size=(37, 51), scale=(0.1, 3), stretch=2)
        assert {crop(blank(*frame), source)["image1"].shape[-2:] for _ in range(30)} == {(37, 51)}


def test_a_resized_crop_shows_the_scale_it_drew() -> None:
    x, y = coords_grid(120, 160)[0]
    sample = blank(120, 160, flow=torch.stack([0.5 * x, 0.5 * y]))  # the flow's slope is 0.5 at any scale
    sample["image1"] = torch.stack([x, y, y])
    crop = RandomResizedCrop(size=(40, 50), scale=(2, 2), stretch=1, probability=1)
    windows = [crop(sample, generator(seed)) for seed in range(20)]
    for window in windows:
        inner = window["image1"][:, 2:-2, 2:-2]
        assert torch.allclose(inner[0].diff(dim=-1), torch.tensor(0.5), atol=1e-4)
        assert torch.allclose(window["flow"][0, 2:-2, 2:-2].diff(dim=-1), torch.tensor(0.5), atol=1e-4)
    assert len({window["image1"][0, 5, 5].item() for window in windows}) > 10, "at many places"


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("flip", FLIPS)
def test_flips_and_resizing_commute(flip: Transform, convention: Convention) -> None:
    before, resize = layers(), Resize(size=(144, 200), convention=convention)
    one, other = (resize(flip(before, generator()), generator()), flip(resize(before, generator()), generator()))
    assert torch.allclose(one["image1"], other["image1"], atol=1e-5)
    same = torch.isclose(one["flow"], other["flow"], atol=1e-3).all(dim=0)
    assert same.float().mean() > 0.97, "of two pixels as near the higher one counts, which a flip exchanges"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Resize(size=(1, 8)), "size is 1x8; it must be at least 2x2"),
        (lambda: Resize(size=(8, 8), convention="middle"), "convention='middle'; choose one of 'centres', 'corners'"),  # type: ignore[arg-type]
        (lambda: RandomResize(scale=(0, 1)), r"scale is \(0, 1\)"),
        (lambda: RandomResize(scale=(2, 1)), r"scale is \(2, 1\)"),
        (lambda: RandomResize(scale=(1, float("inf"))), "scale is"),
        (lambda: RandomResize(scale=(1, float("nan"))), "scale is"),
        (lambda: RandomResize(stretch=0.9), r"stretch is 0\.9"),
        (lambda: RandomResize(at_least=(0, 9)), "at_least is 0x9"),
        (lambda: RandomResize(probability=2), "probability is 2"),
        (lambda: RandomResize(convention="x"), "convention='x'"),  # type: ignore[arg-type]
        (lambda: RandomResizedCrop(size=(9, 1)), "size is 9x1"),
        (lambda: RandomResizedCrop(size=(9, 9), scale=(-1, 1)), r"scale is \(-1, 1\)"),
        (lambda: RandomResizedCrop(size=(9, 9), probability=-1), "probability is -1"),
        (lambda: RandomResizedCrop(size=(9, 9), convention="x"), "convention='x'"),  # type: ignore[arg-type]
        (lambda: Resize(size=(8, 8))(blank(1, 9), generator()), "sample blank: it is 1x9; expected at least 2x2"),
    ],
)
def test_what_makes_no_sense_is_named(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()

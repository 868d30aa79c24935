from typing import Any

import pytest
import torch
from torch import Tensor

from unrollflow.contracts import FlowSample
from unrollflow.data import (
    Compose,
    MovingLayers,
    RandomCrop,
    RandomHorizontalFlip,
    RandomTemporalSwap,
    RandomVerticalFlip,
    Resize,
    Transform,
)
from unrollflow.data.datamodule import collate
from unrollflow.data.transforms.geometry import crop, crop_to_multiple
from unrollflow.ops import warp

GEOMETRIC: dict[str, Transform] = {
    "horizontal": RandomHorizontalFlip(probability=1),
    "vertical": RandomVerticalFlip(probability=1),
    "crop": RandomCrop(size=(40, 56)),
    "all": Compose(
        transforms=[RandomCrop(size=(40, 56)), RandomHorizontalFlip(probability=1), RandomVerticalFlip(probability=1)]
    ),
}
EVERY = GEOMETRIC | {"swap": RandomTemporalSwap(probability=1)}


@pytest.fixture
def sample() -> FlowSample:
    return MovingLayers(split="train", size=(64, 80))[3]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maps(sample: FlowSample) -> dict[str, Tensor]:
    return {name: value for name, value in sample.items() if isinstance(value, Tensor)}


def warping_error(sample: FlowSample) -> Tensor:
    """Remaining difference of the frames after warping, (H, W); 0 where it is undefined."""
    error = (warp(sample["image2"][None], sample["flow"][None])[0] - sample["image1"]).abs().mean(dim=0)
    return torch.where(sample["occluded"], 0.0, error)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_the_transformed_flow_explains_the_transformed_frames_as_well_at_every_pixel(
    name: str, sample: FlowSample
) -> None:
    before = sample | {"boundary_distance": warping_error(sample)}  # is transformed as a map
    changed = GEOMETRIC[name](before, generator())
    assert not torch.equal(changed["image1"], sample["image1"])
    expected = torch.where(changed["occluded"], 0.0, changed["boundary_distance"])
    assert torch.allclose(warping_error(changed), expected, atol=2e-5)
    wrong = changed | {"flow": -changed["flow"]}
    assert warping_error(wrong).mean() > 5 * expected.mean()


@pytest.mark.parametrize("name", EVERY)
def test_the_sample_that_came_stays_as_it_was(name: str, sample: FlowSample) -> None:
    before = {key: value.clone() for key, value in maps(sample).items()}
    changed = EVERY[name](sample, generator())
    assert maps(sample).keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in maps(sample).items())
    assert changed["name"] == sample["name"]


@pytest.mark.parametrize("flip", [RandomHorizontalFlip(probability=1), RandomVerticalFlip(probability=1)])
def test_two_flips_are_none(flip: Transform, sample: FlowSample) -> None:
    twice = flip(flip(sample, generator()), generator())
    assert all(torch.equal(value, maps(sample)[name]) for name, value in maps(twice).items())


def test_a_flip_mirrors_every_map_and_changes_one_sign(sample: FlowSample) -> None:
    flipped = RandomHorizontalFlip(probability=1)(sample, generator())
    for name in ("image1", "image2", "valid", "occluded", "boundary_distance"):
        assert torch.equal(maps(flipped)[name], maps(sample)[name].flip(-1)), name
    assert torch.equal(flipped["flow"][0], -sample["flow"][0].flip(-1))
    assert torch.equal(flipped["flow"][1], sample["flow"][1].flip(-1))


def test_a_swap_exchanges_the_frames_and_drops_what_was_known_of_the_first(sample: FlowSample) -> None:
    for probability, first in ((1, "image2"), (0, "image1")):
        swapped = RandomTemporalSwap(probability=probability)(sample, generator())
        assert torch.equal(swapped["image1"], maps(sample)[first])
        assert swapped.keys() == {"image1", "image2", "name"}


def test_a_crop_counts_what_leaves_it_as_occluded() -> None:
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing="ij")
    place = torch.stack([x, y, x])
    flow = torch.stack([torch.ones(4, 6), torch.zeros(4, 6)])
    sample = FlowSample(image1=place, image2=place, name="a", flow=flow, occluded=torch.zeros(4, 6, dtype=torch.bool))
    cropped = RandomCrop(size=(2, 3))(sample, generator())
    assert cropped["occluded"].tolist() == [[False, False, True]] * 2
    assert cropped["image1"].shape == (3, 2, 3)
    assert (cropped["image1"].diff(dim=-1)[0] == 1).all(), "a window, not scattered pixels"


def test_crops_reach_every_place_and_the_whole_frame_is_one(sample: FlowSample) -> None:
    height, width = sample["image1"].shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    marked = FlowSample(image1=torch.stack([x, y, y]), image2=sample["image2"], name="a")
    crop = RandomCrop(size=(height - 1, width - 2))
    corners = {tuple(crop(marked, generator(seed))["image1"][:2, 0, 0].tolist()) for seed in range(60)}
    assert corners == {(x, y) for x in range(3) for y in range(2)}
    whole = RandomCrop(size=(height, width))(sample, generator())
    assert torch.equal(whole["image1"], sample["image1"])


def test_a_crop_larger_than_the_sample_names_both_sizes(sample: FlowSample) -> None:
    with pytest.raises(ValueError, match=r"train-000003 is too small: 64x80; the crop is 65x10"):
        RandomCrop(size=(65, 10))(sample, generator())


@pytest.mark.parametrize("transform", [RandomHorizontalFlip, RandomVerticalFlip, RandomTemporalSwap])
def test_a_transform_happens_as_often_as_its_probability_says(transform: Any, sample: FlowSample) -> None:
    small: FlowSample = {"image1": sample["image1"][:, :8, :8], "image2": sample["image2"][:, :8, :8], "name": "a"}
    source = generator()
    drawn = [transform(probability=0.25)(small, source)["image1"] for _ in range(400)]
    assert 0.18 < sum(not torch.equal(image, small["image1"]) for image in drawn) / 400 < 0.32
    with pytest.raises(ValueError, match=r"probability is 1\.5"):
        transform(probability=1.5)


@pytest.mark.parametrize(
    ("mirror", "dim"), [(RandomHorizontalFlip(probability=1), -1), (RandomVerticalFlip(probability=1), -2)]
)
def test_a_crop_then_a_flip_is_the_flip_then_the_mirrored_crop(mirror: Transform, dim: int, sample: FlowSample) -> None:
    top, left, size = 5, 17, (40, 56)
    first = mirror(crop(sample, top=top, left=left, size=size), generator())
    if dim == -1:
        left = 80 - size[1] - left
    else:
        top = 64 - size[0] - top
    last = crop(mirror(sample, generator()), top=top, left=left, size=size)
    assert all(torch.equal(value, maps(last)[name]) for name, value in maps(first).items())


def test_a_crop_holds_no_more_than_its_window(sample: FlowSample) -> None:
    for name, value in maps(RandomCrop(size=(40, 56))(sample, generator())).items():
        assert value.is_contiguous(), name
        assert value.untyped_storage().nbytes() == value.numel() * value.element_size(), name
        assert value.dtype == maps(sample)[name].dtype, name


@pytest.mark.parametrize("size", [(0, 8), (8, -1)])
def test_a_crop_of_no_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"crop size is {size[0]}x{size[1]}; it must be at least 1x1"):
        RandomCrop(size=size)


def test_every_map_follows_a_crop_and_the_flips() -> None:
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    place = x + 10 * y
    marked = FlowSample(
        image1=torch.stack([place, x, y]),
        image2=torch.stack([place, x, y]),
        name="marked",
        flow=torch.stack([place, place]),
        valid=place % 3 == 0,
        foreground=place % 4 == 0,
        boundary_distance=place,
    )
    both = [RandomHorizontalFlip(probability=1), RandomVerticalFlip(probability=1)]
    changed = Compose(transforms=[RandomCrop(size=(4, 5)), *both])(marked, generator())
    shown = changed["image1"][0]
    assert torch.equal(changed["flow"], -torch.stack([shown, shown]))
    assert torch.equal(changed["valid"], shown % 3 == 0)
    assert torch.equal(changed["foreground"], shown % 4 == 0)
    assert torch.equal(changed["boundary_distance"], shown)


def test_the_same_draws_give_the_same_sample(sample: FlowSample) -> None:
    transform = Compose(
        transforms=[RandomCrop(size=(40, 56)), RandomHorizontalFlip(), RandomVerticalFlip(), RandomTemporalSwap()]
    )
    drawn = [transform(sample, generator(seed))["image1"] for seed in (5, 5, 6)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


WHOLE = RandomCrop(size=(40, 56), keep_whole=True)


def place(sample: FlowSample) -> tuple[int, int]:
    left, top = (int(v) for v in sample["crop_origin"])
    return top, left


@pytest.mark.parametrize(
    "transforms",
    [
        [WHOLE],
        [WHOLE, RandomHorizontalFlip(probability=1)],
        [WHOLE, RandomVerticalFlip(probability=1)],
        [WHOLE, RandomTemporalSwap(probability=1), RandomHorizontalFlip(probability=1)],
        [WHOLE, RandomCrop(size=(20, 30))],
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_the_crop_lies_in_its_whole_frames_where_it_says(
    transforms: list[Transform], seed: int, sample: FlowSample
) -> None:
    changed = Compose(transforms=transforms)(sample, generator(seed))
    top, left = place(changed)
    height, width = changed["image1"].shape[-2:]
    for part, whole in (("image1", "full_image1"), ("image2", "full_image2")):
        frame = changed[whole]  # type: ignore[literal-required]
        assert frame.shape == sample["image1"].shape
        assert torch.equal(frame[:, top : top + height, left : left + width], changed[part])  # type: ignore[literal-required]


def test_a_crop_with_its_whole_frames_is_not_resized(sample: FlowSample) -> None:
    with pytest.raises(ValueError, match="resize before RandomCrop"):
        Resize(size=(20, 28))(WHOLE(sample, generator()), generator())


@pytest.mark.parametrize("batched", [False, True])
def test_sides_are_cut_to_multiples_in_the_middle(batched: bool, sample: FlowSample) -> None:
    whole = RandomCrop(size=(45, 61), keep_whole=True)(sample, generator())
    if batched:
        whole = collate([whole, whole])
    cut = crop_to_multiple(whole, 16)
    assert cut["image1"].shape[-2:] == cut["flow"].shape[-2:] == (32, 48)
    assert torch.equal(cut["image1"], whole["image1"][..., 6:38, 6:54])
    assert torch.equal(cut["crop_origin"], whole["crop_origin"] + 6)
    assert cut["full_image1"].shape[-2:] == (64, 80)

"""Random geometric transforms of samples, applied exactly to flow and maps.

kornia's augmentations support images, boxes and keypoints, but not flow.
"""

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor

from unrollflow.contracts import FlowSample
from unrollflow.ops.transfer import constant

IMAGES = ("image1", "image2")
LABELS = ("valid", "occluded", "boundary_distance", "foreground", "segments")
MAPS = (*IMAGES, "flow", *LABELS)
WHOLE = ("full_image1", "full_image2")


class Transform(Protocol):
    """Interface of transforms: return a new sample, drawn with a random generator; the given sample is not modified."""

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Apply the transform with the generator's next draws."""
        ...


class Compose:
    """Applies transforms one after another."""

    def __init__(self, *, transforms: list[Transform]) -> None:
        self.transforms = transforms

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Apply all transforms in order."""
        for transform in self.transforms:
            sample = transform(sample, generator)
        return sample


class RandomHorizontalFlip:
    """Mirrors left and right; u changes its sign.

    Args:
        probability: probability of a flip.

    Raises:
        ValueError: if it is not a probability.
    """

    def __init__(self, *, probability: float = 0.5) -> None:
        self.probability = checked(probability)

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Flip or not."""
        return flip(sample, dim=-1, component=0) if happens(self.probability, generator) else sample


class RandomVerticalFlip:
    """Mirrors top and bottom; v changes its sign.

    Args:
        probability: probability of a flip.

    Raises:
        ValueError: if it is not a probability.
    """

    def __init__(self, *, probability: float = 0.5) -> None:
        self.probability = checked(probability)

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Flip or not."""
        return flip(sample, dim=-2, component=1) if happens(self.probability, generator) else sample


class RandomTemporalSwap:
    """Exchanges the two frames and drops the ground truth (flow, maps).

    Args:
        probability: probability of an exchange. Ground truth, which unsupervised training does not need, is always
            dropped, because all samples of a batch need the same maps.

    Raises:
        ValueError: if it is not a probability.
    """

    def __init__(self, *, probability: float = 0.5) -> None:
        self.probability = checked(probability)

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Swap or not."""
        image1, image2 = sample["image1"], sample["image2"]
        swapped = happens(self.probability, generator)
        if swapped:
            image1, image2 = image2, image1
        pair: FlowSample = {"image1": image1, "image2": image2, "name": sample["name"]}
        if "full_image1" in sample:
            whole = (sample["full_image1"], sample["full_image2"])
            pair["full_image1"], pair["full_image2"] = whole[::-1] if swapped else whole
            pair["crop_origin"] = sample["crop_origin"]
        return pair


class RandomCrop:
    """Crops a random window, the same in both frames; put it first in a `Compose` to reduce the cost of the others.

    Pixels that leave the window are occluded; the distance to a motion boundary still refers to the whole frame.

    Args:
        size: (H, W) of the window, pixels.
        keep_whole: keep the whole frames beside the window, so that the objective can sample outside of the window
            (full-image warping, SMURF); all frames of a batch must then have equal sizes, without a later resize.

    Raises:
        ValueError: if a side of the window is less than 1 pixel.
    """

    def __init__(self, *, size: tuple[int, int], keep_whole: bool = False) -> None:
        if min(size) < 1:
            raise ValueError(f"crop size is {size[0]}x{size[1]}; it must be at least 1x1 pixels.")
        self.size, self.keep_whole = size, keep_whole

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Crop a sample.

        Raises:
            ValueError: if the sample is smaller than the window.
        """
        height, width = sample["image1"].shape[-2:]
        if height < self.size[0] or width < self.size[1]:
            raise ValueError(
                f"sample {sample['name']} is too small: {height}x{width}; the crop is {self.size[0]}x{self.size[1]}."
            )
        if self.keep_whole and "full_image1" not in sample:
            whole = {"full_image1": sample["image1"], "full_image2": sample["image2"], "crop_origin": torch.zeros(2)}
            sample = cast(FlowSample, sample | whole)
        return random_window(sample, self.size, generator)


def random_window(sample: FlowSample, size: tuple[int, int], generator: torch.Generator) -> FlowSample:
    """Random window (H, W) of a sample that is at least as large."""
    height, width = sample["image1"].shape[-2:]
    top, left = (draw(slack + 1, generator) for slack in (height - size[0], width - size[1]))
    return crop(sample, top=top, left=left, size=size)


def crop(sample: FlowSample, *, top: int, left: int, size: tuple[int, int]) -> FlowSample:
    """Copy of a window (H, W) of a sample; pixels that leave the window are occluded."""
    window = (..., slice(top, top + size[0]), slice(left, left + size[1]))
    cut = changed(sample, lambda m: m[window].contiguous())
    if "crop_origin" in cut:
        cut["crop_origin"] = cut["crop_origin"] + constant([left, top], like=cut["crop_origin"])
    return without_leaving(cut)


def crop_to_multiple(sample: FlowSample, stride: int) -> FlowSample:
    """Central part of a sample or batch, with height and width that are multiples of `stride`."""
    height, width = sample["image1"].shape[-2:]
    over = (height % stride, width % stride)
    return crop(sample, top=over[0] // 2, left=over[1] // 2, size=(height - over[0], width - over[1]))


def without_leaving(sample: FlowSample) -> FlowSample:
    """Sample in which pixels that leave the frame are occluded, if it has flow and occlusions."""
    if "occluded" not in sample or "flow" not in sample:
        return sample
    return sample | {"occluded": sample["occluded"] | leaves(sample["flow"])}


def leaves(flow: Tensor) -> Tensor:
    """Mask (..., H, W) bool of the pixels p for which p + F(p) is outside of the frame, for a flow (..., 2, H, W)."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[..., 0, :, :]
    y = torch.arange(height, device=flow.device).view(-1, 1) + flow[..., 1, :, :]
    return (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)


def flip(sample: FlowSample, *, dim: int, component: int) -> FlowSample:
    """Mirror every map along a dimension and change the sign of one component of the flow."""
    flipped = changed(sample, lambda m: m.flip(dim), names=(*MAPS, *WHOLE))
    if "crop_origin" in flipped:  # the distances to opposite borders are exchanged
        origin = flipped["crop_origin"].clone()
        origin[component] = sample["full_image1"].shape[dim] - sample["image1"].shape[dim] - origin[component]
        flipped["crop_origin"] = origin
    if "flow" in flipped:
        flow = flipped["flow"].clone()
        flow[component] = -flow[component]
        flipped["flow"] = flow
    return flipped


def changed(sample: FlowSample, function: "MapFunction", *, names: Sequence[str] = MAPS) -> FlowSample:
    """Copy of a sample with a function applied to the maps with given names."""
    copy = sample.copy()
    for name in names:
        if name in sample:
            copy[name] = function(sample[name])  # type: ignore[literal-required]
    return copy


class MapFunction(Protocol):
    """Function from a map (..., H, W) to another map."""

    def __call__(self, field: Tensor) -> Tensor:
        """Apply the function."""
        ...


def checked(probability: float, name: str = "probability") -> float:
    """Return the probability, or raise ValueError, naming the argument, if it is not from 0 to 1."""
    if not 0 <= probability <= 1:
        raise ValueError(f"{name} is {probability}; it must be from 0 to 1.")
    return probability


def happens(probability: float, generator: torch.Generator) -> bool:
    """Draw whether an event happens."""
    return torch.rand((), generator=generator).item() < probability


def draw(count: int, generator: torch.Generator) -> int:
    """Draw an integer from 0 to count - 1."""
    return int(torch.randint(count, (), generator=generator).item())

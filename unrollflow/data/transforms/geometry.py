"""Random changes of a sample, in which flow and maps follow exactly.

kornia's augmentations know images, boxes and keypoints, but no flow; a flip of a flow is one `torch.flip` and a sign,
so these few are written out.
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
    """A sample and a source of randomness to another sample; the one that came stays as it was."""

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Apply the transform with the generator's next draws."""
        ...


class Compose:
    """Transforms one after another."""

    def __init__(self, *, transforms: list[Transform]) -> None:
        self.transforms = transforms

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Apply all, in their order."""
        for transform in self.transforms:
            sample = transform(sample, generator)
        return sample


class RandomHorizontalFlip:
    """Mirror left and right; u changes its sign.

    Args:
        probability: of a flip.

    Raises:
        ValueError: if it is not a probability.
    """

    def __init__(self, *, probability: float = 0.5) -> None:
        self.probability = checked(probability)

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Flip or not."""
        return flip(sample, dim=-1, component=0) if happens(self.probability, generator) else sample


class RandomVerticalFlip:
    """Mirror up and down; v changes its sign.

    Args:
        probability: of a flip.

    Raises:
        ValueError: if it is not a probability.
    """

    def __init__(self, *, probability: float = 0.5) -> None:
        self.probability = checked(probability)

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Flip or not."""
        return flip(sample, dim=-2, component=1) if happens(self.probability, generator) else sample


class RandomTemporalSwap:
    """Exchange the two frames; what is known of the first (flow, maps) is dropped.

    Args:
        probability: of an exchange. At 1/2 a batch mixes samples with and without ground truth, so the transform
            drops it always: training needs none.

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
    """A window at a random place, the same in both frames; first in a `Compose`, it spares the others work.

    What leaves the window counts as occluded; the distance to a motion boundary is still to one of the whole frame.

    Args:
        size: (H, W) of the window, pixels.
        keep_whole: hand the whole frames on beside the window, so that the objective can sample what lies around it
            (full-image warping, SMURF); the frames of a batch must then be of one size, and none may be resized later.

    Raises:
        ValueError: if a side of the window is not positive.
    """

    def __init__(self, *, size: tuple[int, int], keep_whole: bool = False) -> None:
        if min(size) < 1:
            raise ValueError(f"crop is {size[0]}x{size[1]}; a window needs at least 1x1 pixels.")
        self.size, self.keep_whole = size, keep_whole

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Crop.

        Raises:
            ValueError: if the sample is smaller than the window.
        """
        height, width = sample["image1"].shape[-2:]
        if height < self.size[0] or width < self.size[1]:
            raise ValueError(
                f"sample {sample['name']} is {height}x{width}, smaller than the crop of {self.size[0]}x{self.size[1]}."
            )
        if self.keep_whole and "full_image1" not in sample:
            whole = {"full_image1": sample["image1"], "full_image2": sample["image2"], "crop_origin": torch.zeros(2)}
            sample = cast(FlowSample, sample | whole)
        return random_window(sample, self.size, generator)


def random_window(sample: FlowSample, size: tuple[int, int], generator: torch.Generator) -> FlowSample:
    """A window (H, W) at a random place of a sample that is at least as large."""
    height, width = sample["image1"].shape[-2:]
    top, left = (draw(slack + 1, generator) for slack in (height - size[0], width - size[1]))
    return crop(sample, top=top, left=left, size=size)


def crop(sample: FlowSample, *, top: int, left: int, size: tuple[int, int]) -> FlowSample:
    """A window (H, W) of a sample, which holds it, as copies of that part alone; what leaves it counts as occluded."""
    window = (..., slice(top, top + size[0]), slice(left, left + size[1]))
    cut = changed(sample, lambda m: m[window].contiguous())
    if "crop_origin" in cut:
        cut["crop_origin"] = cut["crop_origin"] + constant([left, top], like=cut["crop_origin"])
    return without_leaving(cut)


def crop_to_multiple(sample: FlowSample, stride: int) -> FlowSample:
    """The central part of a sample or batch whose height and width are multiples of `stride`."""
    height, width = sample["image1"].shape[-2:]
    over = (height % stride, width % stride)
    return crop(sample, top=over[0] // 2, left=over[1] // 2, size=(height - over[0], width - over[1]))


def without_leaving(sample: FlowSample) -> FlowSample:
    """A sample in which what leaves the frame counts as occluded, where flow and occlusion are known."""
    if "occluded" not in sample or "flow" not in sample:
        return sample
    return sample | {"occluded": sample["occluded"] | leaves(sample["flow"])}


def leaves(flow: Tensor) -> Tensor:
    """Where p + F(p) lies outside the frame, (..., H, W) bool, of a flow (..., 2, H, W)."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[..., 0, :, :]
    y = torch.arange(height, device=flow.device).view(-1, 1) + flow[..., 1, :, :]
    return (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)


def flip(sample: FlowSample, *, dim: int, component: int) -> FlowSample:
    """Mirror every map along a dimension and change the sign of one component of the flow."""
    flipped = changed(sample, lambda m: m.flip(dim), names=(*MAPS, *WHOLE))
    if "crop_origin" in flipped:  # the far border's distance becomes the near one's
        origin = flipped["crop_origin"].clone()
        origin[component] = sample["full_image1"].shape[dim] - sample["image1"].shape[dim] - origin[component]
        flipped["crop_origin"] = origin
    if "flow" in flipped:
        flow = flipped["flow"].clone()
        flow[component] = -flow[component]
        flipped["flow"] = flow
    return flipped


def changed(sample: FlowSample, function: "MapFunction", *, names: Sequence[str] = MAPS) -> FlowSample:
    """A copy of a sample with a function applied to those of its maps that are named."""
    copy = sample.copy()
    for name in names:
        if name in sample:
            copy[name] = function(sample[name])  # type: ignore[literal-required]
    return copy


class MapFunction(Protocol):
    """A map (..., H, W) to another."""

    def __call__(self, field: Tensor) -> Tensor:
        """Apply the function."""
        ...


def checked(probability: float, name: str = "probability") -> float:
    """The probability, or a ValueError that names the argument if it is not between 0 and 1."""
    if not 0 <= probability <= 1:
        raise ValueError(f"{name} is {probability}; it must lie in 0 to 1.")
    return probability


def happens(probability: float, generator: torch.Generator) -> bool:
    """One draw of an event."""
    return torch.rand((), generator=generator).item() < probability


def draw(count: int, generator: torch.Generator) -> int:
    """One draw of 0 .. count - 1."""
    return int(torch.randint(count, (), generator=generator).item())

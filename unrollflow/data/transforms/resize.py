"""Resizing of samples: images are smoothed before they shrink, flow is rescaled, maps use the nearest pixel."""

import math

import torch

from unrollflow.contracts import FlowSample
from unrollflow.data.transforms.geometry import (
    IMAGES,
    LABELS,
    changed,
    checked,
    happens,
    random_window,
    without_leaving,
)
from unrollflow.data.transforms.resampling import (
    Convention,
    Size,
    at,
    factor,
    nearest,
    positions,
    sample_flow,
    sample_image,
)
from unrollflow.ops.choice import check_choice


class Resize:
    """Resizes the whole frame to a fixed size.

    Args:
        size: (H, W), pixels.
        convention: alignment of the grids (see :data:`Convention`).

    Raises:
        ValueError: if a side is shorter than 2 pixels, or the convention is unknown.
    """

    def __init__(self, *, size: Size, convention: Convention = "centres") -> None:
        check_size("size", size)
        check_choice("convention", convention, Convention)
        self.size, self.convention = size, convention

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Resize a sample; the generator is not used."""
        return resize_sample(sample, self.size, convention=self.convention)


class RandomResize:
    """Resizes the whole frame by a random factor.

    Args:
        scale: smallest and largest factor, drawn uniformly on a logarithmic scale.
        stretch: largest ratio between the factors of the two sides; 1 keeps the aspect ratio.
        probability: probability of a draw; otherwise the factor is 1, or the one needed for `at_least`.
        at_least: smallest (H, W) of the result, pixels: the size of the crop that follows. Small samples are enlarged.
        convention: alignment of the grids (see :data:`Convention`).

    Raises:
        ValueError: if an argument is out of range.

    Source: SMURF, smurf_augmentation.py: scale 2^-0.2 to 2^0.6, stretch up to 2^0.2 a side, probability 0.8.
    """

    def __init__(
        self,
        *,
        scale: tuple[float, float] = (0.87, 1.5),
        stretch: float = 1.15,
        probability: float = 0.8,
        at_least: Size = (2, 2),
        convention: Convention = "centres",
    ) -> None:
        check_factors(scale, stretch)
        check_size("at_least", at_least)
        check_choice("convention", convention, Convention)
        self.scale, self.stretch, self.probability = scale, stretch, checked(probability)
        self.at_least, self.convention = at_least, convention

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Resize a sample by a random factor."""
        frame = size_of(sample)
        drawn = happens(self.probability, generator)
        factors = draw_factors(self.scale, self.stretch, generator) if drawn else (1.0, 1.0)
        factors = enough(factors, frame, self.at_least)
        size = (round(frame[0] * factors[0]), round(frame[1] * factors[1]))
        return resize_sample(sample, size, convention=self.convention)


class RandomResizedCrop:
    """Crops a random window of random size and resizes it: like `RandomResize` and `RandomCrop`, at lower cost.

    Only the window is resized, so the time depends only on `size`. A frame smaller than `size` is enlarged.

    Args:
        size: (H, W) of the result, pixels.
        scale: smallest and largest factor, drawn uniformly on a logarithmic scale.
        stretch: largest ratio between the factors of the two sides; 1 keeps the aspect ratio.
        probability: probability of a draw; otherwise the factor is 1, or the one needed for a small frame.
        convention: alignment of the grids (see :data:`Convention`).

    Raises:
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        *,
        size: Size,
        scale: tuple[float, float] = (0.87, 1.5),
        stretch: float = 1.15,
        probability: float = 0.8,
        convention: Convention = "centres",
    ) -> None:
        check_size("size", size)
        check_factors(scale, stretch)
        check_choice("convention", convention, Convention)
        self.size, self.scale, self.stretch = size, scale, stretch
        self.probability, self.convention = checked(probability), convention

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Crop and resize a sample."""
        frame = size_of(sample)
        drawn = happens(self.probability, generator)
        factors = draw_factors(self.scale, self.stretch, generator) if drawn else (1.0, 1.0)
        factors = enough(factors, frame, self.size)
        height, width = (max(2, round(side / factor)) for side, factor in zip(self.size, factors, strict=True))
        window = random_window(sample, (min(height, frame[0]), min(width, frame[1])), generator)
        return resize_sample(window, self.size, convention=self.convention)


def resize_sample(sample: FlowSample, size: Size, *, convention: Convention) -> FlowSample:
    """Resize a sample; return it unchanged if it already has the size.

    Distances are scaled by the geometric mean of the two factors, and pixels that leave the new frame are occluded.

    Raises:
        ValueError: if a side of the sample is shorter than 2 pixels, or it has whole frames beside its crops.
    """
    frame = size_of(sample)
    if frame == size:
        return sample
    if "crop_origin" in sample:
        raise ValueError(
            f"cannot resize sample {sample['name']}: it is a crop with its whole frames; resize before RandomCrop."
        )
    rows, columns = (positions(old, new, convention) for old, new in zip(frame, size, strict=True))
    resized = changed(sample, lambda m: sample_image(m, size, convention), names=IMAGES)
    resized = changed(resized, lambda m: at(m, nearest(rows), nearest(columns)), names=LABELS)
    factors = [factor(old, new, convention) for old, new in zip(frame, size, strict=True)]
    if "boundary_distance" in sample:
        resized["boundary_distance"] = math.sqrt(factors[0] * factors[1]) * resized["boundary_distance"]
    if "flow" in sample:
        valid = sample.get("valid", torch.ones(frame, dtype=torch.bool))
        flow = sample_flow(sample["flow"], valid, rows, columns)
        resized["flow"] = flow * flow.new_tensor(factors[::-1]).view(2, 1, 1)  # (u, v) <- (x, y)
    return without_leaving(resized)


def size_of(sample: FlowSample) -> Size:
    """Return (H, W) of a sample, or raise ValueError if a side is shorter than 2 pixels."""
    height, width = sample["image1"].shape[-2:]
    if min(height, width) < 2:
        raise ValueError(f"cannot resize sample {sample['name']}: it is {height}x{width}; expected at least 2x2 px.")
    return height, width


def draw_factors(scale: tuple[float, float], stretch: float, generator: torch.Generator) -> tuple[float, float]:
    """Draw the factors of height and width: a common factor, multiplied and divided by the root of a ratio."""
    common, ratio = (2 * torch.rand(2, generator=generator, dtype=torch.float64) - 1).tolist()  # both in [-1, 1)
    middle, reach = math.log(scale[0] * scale[1]) / 2, math.log(scale[1] / scale[0]) / 2
    common, ratio = math.exp(middle + common * reach), stretch ** (ratio / 2)
    return common * ratio, common / ratio


def enough(factors: tuple[float, float], frame: Size, least: Size) -> tuple[float, float]:
    """Factors, increased if necessary so that a frame has at least a given size."""
    needed = max(least[0] / frame[0], least[1] / frame[1])
    return max(factors[0], needed), max(factors[1], needed)


def check_size(name: str, size: Size) -> None:
    """Raise ValueError unless a size is at least 2x2."""
    if min(size) < 2:
        raise ValueError(f"{name} is {size[0]}x{size[1]}; it must be at least 2x2 pixels.")


def check_factors(scale: tuple[float, float], stretch: float) -> None:
    """Raise ValueError unless a range of factors and a ratio are valid."""
    if not 0 < scale[0] <= scale[1] < math.inf:
        raise ValueError(f"scale is {scale}; it must be (smallest, largest) with 0 < smallest <= largest.")
    if not 1 <= stretch < math.inf:
        raise ValueError(f"stretch is {stretch}; it must be at least 1.")

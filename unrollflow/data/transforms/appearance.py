"""Changes of colour, focus and noise of frames, and erased rectangles, which do not change the flow."""

import math
from typing import NamedTuple

import torch
from kornia.color import rgb_to_grayscale
from kornia.enhance import adjust_hue, adjust_saturation_with_gray_subtraction
from kornia.filters import gaussian_blur2d
from torch import Tensor, nn

from unrollflow.data.transforms.geometry import checked
from unrollflow.ops import full_precision
from unrollflow.ops.transfer import to_device

Range = tuple[float, float]


class JitteredFrames(NamedTuple):
    """Both frames after the jitter, each (B, 3, H, W) in [0, 1]."""

    image1: Tensor
    image2: Tensor


class AppearanceJitter(nn.Module):
    """Random change of the appearance of pairs of frames, on their device; the flow stays the same.

    The order is brightness, contrast, saturation, hue, gamma, blur, noise, eraser. Both frames of a pair share all
    draws except the noise, so that equal colours stay equal; with `asymmetric_probability`, the frames have different
    colour changes. Each pair has its own draws, which depend only on the seed; the global random state is neither read
    nor changed. Colour changes (except gamma, a power) and blur use kornia's functions, but not its augmentations,
    which draw from the global state.

    Args:
        brightness, contrast, saturation: factors are drawn from 1 - value to 1 + value, but not below 0.
        hue: turns of the colour wheel, drawn from -value to value; at most 0.5.
        gamma: smallest and largest exponent.
        blur_probability: probability of a Gaussian blur.
        blur_sigma: smallest and largest standard deviation of the blur, pixels.
        noise: largest standard deviation of the noise, which differs between the frames.
        eraser_probability: probability that rectangles of the second frame are replaced by its mean colour.
        eraser_size: smallest and largest side of such a rectangle, pixels.
        eraser_count: largest number of rectangles; after the first, each further one has probability 1/2.
        asymmetric_probability: probability that the frames of a pair have different colour changes.

    Raises:
        ValueError: if an argument is out of range.

    Source: the defaults are ARFlow's for Sintel (ap_transforms.py, sp_transfroms.py; the contrast is about the mean of
    the pair, there of each frame). SMURF (smurf_augmentation.py): brightness, contrast, saturation 0.4, hue 0.16,
    asymmetric 0.2, eraser 0.5, up to 3 rectangles of 50 to 100 px, no gamma, blur or noise.

    >>> frames = torch.rand(2, 3, 8, 8)
    >>> jitter = AppearanceJitter()
    >>> torch.equal(jitter(frames, frames, seed=1).image1, jitter(frames, frames, seed=1).image1)
    True
    """

    def __init__(
        self,
        *,
        brightness: float = 0.5,
        contrast: float = 0.5,
        saturation: float = 0.5,
        hue: float = 0.0,
        gamma: Range = (0.7, 1.5),
        blur_probability: float = 0.5,
        blur_sigma: Range = (0.1, 3.0),
        noise: float = 0.04,
        eraser_probability: float = 0.0,
        eraser_size: tuple[int, int] = (50, 100),
        eraser_count: int = 3,
        asymmetric_probability: float = 0.0,
    ) -> None:
        super().__init__()
        self.ranges = ColourRanges(
            brightness=around_one("brightness", brightness),
            contrast=around_one("contrast", contrast),
            saturation=around_one("saturation", saturation),
            hue=(-checked_hue(hue), hue),
            gamma=checked_range("gamma", gamma),
        )
        self.blur_probability = checked(blur_probability, "blur_probability")
        self.blur_sigma = checked_range("blur_sigma", blur_sigma)
        self.noise, self.eraser_count = noise, eraser_count
        self.eraser_probability = checked(eraser_probability, "eraser_probability")
        self.eraser_size = checked_range("eraser_size", eraser_size)
        self.asymmetric_probability = checked(asymmetric_probability, "asymmetric_probability")
        if not 0 <= noise < math.inf:
            raise ValueError(f"noise is {noise}; it must be a standard deviation of at least 0.")
        if eraser_count < 1:
            raise ValueError(f"eraser_count is {eraser_count}; it must be at least 1.")

    @full_precision
    def forward(self, image1: Tensor, image2: Tensor, *, seed: int) -> JitteredFrames:
        """Jitter a batch of pairs.

        Args:
            image1, image2: (B, 3, H, W), RGB in [0, 1]; values outside are clamped, NaN is replaced by 0.
            seed: determines the result on a device; the draws, except the noise, are equal on all devices.

        Returns:
            finite frames, float32, or float64 for float64 frames.

        Raises:
            ValueError: if the frames have invalid or different shapes, or the seed is negative.
        """
        check_frames(image1, image2, seed)
        generator = torch.Generator().manual_seed(seed)
        count = len(image1)
        images = torch.cat([image1, image2]).nan_to_num(0.0).clamp(0, 1)  # (2B, 3, H, W)
        images = change_colours(images, self._draw_colours(count, generator))
        images = self._blur(images, generator)
        images = self._add_noise(images, generator)
        image1, image2 = images.chunk(2)
        return JitteredFrames(image1, self._erase(image2, generator))

    def _draw_colours(self, count: int, generator: torch.Generator) -> "Colours":
        """Draw the colour changes of B first and B second frames, each (2B,)."""
        own = uniform(0, 1, (count,), generator) < self.asymmetric_probability
        drawn = []
        for smallest, largest in self.ranges:
            first, second = uniform(smallest, largest, (2, count), generator)
            drawn.append(torch.cat([first, torch.where(own, second, first)]))
        return Colours(*drawn)

    def _blur(self, images: Tensor, generator: torch.Generator) -> Tensor:
        chosen = uniform(0, 1, (len(images) // 2,), generator) < self.blur_probability
        sigma = uniform(*self.blur_sigma, chosen.shape, generator).repeat(2)
        places = chosen.repeat(2).nonzero().flatten()
        if not len(places):
            return images
        width = 2 * math.ceil(3 * self.blur_sigma[1]) + 1
        sigmas = sigma[places].view(-1, 1).expand(-1, 2)
        places = to_device(places, device=images.device)
        return images.index_copy(0, places, gaussian_blur2d(images[places], width, sigmas, border_type="replicate"))

    def _add_noise(self, images: Tensor, generator: torch.Generator) -> Tensor:
        deviation = uniform(0, self.noise, (len(images) // 2,), generator).repeat(2)
        source = torch.Generator(images.device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
        if not self.noise:
            return images
        grain = torch.randn(images.shape, generator=source, device=images.device, dtype=images.dtype)
        return (images + per_frame(deviation, images) * grain).clamp(0, 1)

    def _erase(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Fill random rectangles in a random subset of B second frames with the mean colour."""
        shape = (len(images), self.eraser_count)
        follows = uniform(0, 1, shape, generator) < 0.5
        follows[:, 0] = uniform(0, 1, shape[:1], generator) < self.eraser_probability
        drawn = follows.cumprod(dim=1).bool()
        if not drawn.any():
            return images
        inside = [
            to_device(stripes(side, drawn.shape, self.eraser_size, generator), device=images.device)
            for side in images.shape[-2:]
        ]
        rectangles = inside[0].unsqueeze(-1) & inside[1].unsqueeze(-2)  # (B, K, H, W)
        erased = (rectangles & to_device(drawn, device=images.device)[..., None, None]).any(dim=1, keepdim=True)
        return torch.where(erased, images.mean(dim=(-2, -1), keepdim=True), images)


class ColourRanges(NamedTuple):
    """Smallest and largest draw of each colour change; the hue in turns."""

    brightness: Range
    contrast: Range
    saturation: Range
    hue: Range
    gamma: Range


class Colours(NamedTuple):
    """Draws (2B,) of each colour change for all frames; the hue in turns."""

    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor
    gamma: Tensor


def change_colours(images: Tensor, colours: Colours) -> Tensor:
    """Change the colours of frames (2B, 3, H, W) in [0, 1], ordered as all first frames, then all second frames.

    The contrast changes about the mean grey of both frames of a pair. In kornia, it changes about the mean of each
    frame, so that equal colours would become different.
    """
    images = (images * per_frame(colours.brightness, images)).clamp(0, 1)
    grey = rgb_to_grayscale(images).mean(dim=(-3, -2, -1)).view(2, -1).mean(dim=0).repeat(2)
    images = torch.lerp(per_frame(grey, images), images, per_frame(colours.contrast, images)).clamp(0, 1)
    saturation = to_device(colours.saturation, device=images.device, dtype=images.dtype)
    images = adjust_saturation_with_gray_subtraction(images, saturation)
    if colours.hue.any():
        hue = to_device(colours.hue, device=images.device, dtype=images.dtype)
        images = adjust_hue(images, 2 * math.pi * hue).clamp(0, 1)
    return images.pow(per_frame(colours.gamma, images))  # kornia's function copies its gain of 1 from the host


def stripes(side: int, shape: torch.Size, lengths: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Random intervals of pixels along a side of a frame, (*shape, side) bool, not longer than the side."""
    length = uniform(lengths[0], lengths[1] + 1, shape, generator).floor().clamp(max=side)
    start = (uniform(0, 1, shape, generator) * (side - length + 1)).floor()
    pixel = torch.arange(side)
    return (pixel >= start.unsqueeze(-1)) & (pixel < (start + length).unsqueeze(-1))


def uniform(smallest: float, largest: float, shape: tuple[int, ...] | torch.Size, generator: torch.Generator) -> Tensor:
    """Uniform draws, float64, on the CPU, and therefore equal for all devices."""
    return smallest + (largest - smallest) * torch.rand(shape, generator=generator, dtype=torch.float64)


def per_frame(values: Tensor, images: Tensor) -> Tensor:
    """Values (N,) as (N, 1, 1, 1), with type and device of the images."""
    return to_device(values, device=images.device, dtype=images.dtype).view(-1, 1, 1, 1)


def around_one(name: str, reach: float) -> Range:
    """Return the range of factors from 1 - reach to 1 + reach; raise ValueError if reach is negative or infinite."""
    if not 0 <= reach < math.inf:
        raise ValueError(f"{name} is {reach}; it must be at least 0 and finite.")
    return max(0.0, 1 - reach), 1 + reach


def checked_hue(hue: float) -> float:
    """Return the hue, in turns, or raise ValueError if it is not from 0 to 0.5."""
    if not 0 <= hue <= 0.5:
        raise ValueError(f"hue is {hue}; it must be from 0 to 0.5 turns.")
    return hue


def checked_range(name: str, values: Range) -> Range:
    """Return the range, or raise ValueError unless 0 < smallest <= largest."""
    if not 0 < values[0] <= values[1] < math.inf:
        raise ValueError(f"{name} is {values}; it must be (smallest, largest) with 0 < smallest <= largest.")
    return values


def check_frames(image1: Tensor, image2: Tensor, seed: int) -> None:
    """Raise ValueError unless both are batches of colour frames of equal size, and the seed is not negative."""
    pair = image1.ndim == 4 and image1.shape == image2.shape and image1.shape[1] == 3 and image1.numel() > 0
    if not (pair and image1.is_floating_point() and image2.is_floating_point()):
        raise ValueError(
            f"frames are {image1.dtype} {tuple(image1.shape)} and {image2.dtype} {tuple(image2.shape)}; "
            "expected two batches (B, 3, H, W) of equal size, floating-point in [0, 1]."
        )
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be at least 0.")

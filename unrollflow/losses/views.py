"""Harder views of a pair of frames for a student, with the transformed flow."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unrollflow.ops.resize import crop_centre
from unrollflow.ops.seeds import derived_seed
from unrollflow.ops.transfer import to_device


class LabelledPair(NamedTuple):
    """A pair of frames for a student, with the teacher's flow as label.

    Attributes:
        image1, image2: (B, 3, H, W), RGB in [0, 1].
        flow: (B, 2, H, W), flow of the teacher, pixels.
        weight: (B, 1, H, W) in [0, 1], weight of the teacher's flow at a pixel.
        segments: (B, H, W) int64, superpixels of image2, or None.
    """

    image1: Tensor
    image2: Tensor
    flow: Tensor
    weight: Tensor
    segments: Tensor | None

    def cut(self, function: Callable[[Tensor], Tensor]) -> "LabelledPair":
        """Crop frames and labels with a function; the flow values do not change."""
        segments = None if self.segments is None else function(self.segments)
        return LabelledPair(
            function(self.image1), function(self.image2), function(self.flow), function(self.weight), segments
        )


class View(nn.Module, ABC):
    """Base class of views, which transform a labelled pair to a harder one."""

    @abstractmethod
    def forward(self, pair: LabelledPair, *, seeds: list[int]) -> LabelledPair:
        """Transform a pair; random draws depend only on the seeds, one per sample."""


class Appearance(View):
    """Changes colours, focus and noise, but not the flow.

    Args:
        jitter: module that is called with image1, image2 (B, 3, H, W) and `seed`, such as
            :class:`~unrollflow.data.AppearanceJitter`.
    """

    def __init__(self, *, jitter: nn.Module) -> None:
        super().__init__()
        self.jitter = jitter

    def forward(self, pair: LabelledPair, *, seeds: list[int]) -> LabelledPair:
        """Jitter each pair with its own seed."""
        image1, image2 = jittered(self.jitter, pair.image1, pair.image2, seeds=seeds)
        return pair._replace(image1=image1, image2=image2)


class RandomWindow(View):
    """Random crop: the teacher has seen pixels outside of it that the student cannot see.

    Args:
        size: (H, W), pixels; multiples of the stride of the backbone.
    """

    def __init__(self, *, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, pair: LabelledPair, *, seeds: list[int]) -> LabelledPair:
        """Crop each sample at its own position.

        Raises:
            ValueError: if the frames are smaller than the window.
        """
        height, width = pair.flow.shape[-2:]
        if height < self.size[0] or width < self.size[1]:
            raise ValueError(
                f"frames are {height}x{width}, smaller than the student's crop of {self.size[0]}x{self.size[1]}; "
                "use a smaller size."
            )
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        slack = torch.tensor([height - self.size[0] + 1, width - self.size[1] + 1])
        places = [(torch.rand(2, generator=g) * slack).long().tolist() for g in generators]

        def _cut(field: Tensor) -> Tensor:
            return torch.stack([f[..., top : top + self.size[0], left : left + self.size[1]]
                                for f, (top, left) in zip(field, places, strict=True)])  # fmt: skip

        return pair.cut(_cut)


class Margin(View):
    """Removes a margin of the frames, as in UFlow and SMURF (which enlarge the result again; this view does not).

    Args:
        width: width of the margin on each side, pixels.
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, pair: LabelledPair, *, seeds: list[int]) -> LabelledPair:
        """Remove the margin; the seeds are not used.

        Raises:
            ValueError: if no pixels are left.
        """
        height, width = (side - 2 * self.width for side in pair.flow.shape[-2:])
        if min(height, width) < 1:
            raise ValueError(
                f"frames are {pair.flow.shape[-2]}x{pair.flow.shape[-1]}; a margin of {self.width} leaves no pixels."
            )
        return pair.cut(lambda field: crop_centre(field, (height, width)))


class HallucinatedOcclusion(View):
    """Replaces random superpixels of the second frame by noise, which makes pixels with known flow occluded.

    Args:
        count: smallest and largest number of superpixels.
        superpixels: number of superpixels in a frame, with indices from 0; missing indices have no effect, and larger
            indices are never replaced.

    Raises:
        ValueError: unless 0 < smallest <= largest <= superpixels.

    Source: ARFlow, Liu et al., CVPR 2020, and its released code (oc_transforms.py).
    """

    def __init__(self, *, count: tuple[int, int] = (8, 16), superpixels: int = 200) -> None:
        super().__init__()
        if not 0 < count[0] <= count[1] <= superpixels:
            raise ValueError(
                f"count is {count} of {superpixels} superpixels; it must be (smallest, largest) with "
                f"0 < smallest <= largest <= {superpixels}."
            )
        self.count, self.superpixels = count, superpixels

    def forward(self, pair: LabelledPair, *, seeds: list[int]) -> LabelledPair:
        """Replace random superpixels of each sample.

        Raises:
            ValueError: if the samples have no superpixels.
        """
        if pair.segments is None:
            raise ValueError(
                "samples have no segments; end the transform of the data with unrollflow.data.Superpixels, and put "
                "HallucinatedOcclusion before RandomAffine, which drops them."
            )
        images = [self._hide(*sample) for sample in zip(pair.image2, pair.segments, seeds, strict=True)]
        return pair._replace(image2=torch.stack(images))

    def _hide(self, image: Tensor, segments: Tensor, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        count = int(torch.randint(self.count[0], self.count[1] + 1, (), generator=generator))
        hidden = torch.zeros(self.superpixels + 1, dtype=torch.bool)  # the last: of larger indices
        hidden[torch.randperm(self.superpixels, generator=generator)[:count]] = True
        source = torch.Generator(image.device).manual_seed(derived_seed(seed, 0))
        noise = torch.rand(image.shape, generator=source, device=image.device, dtype=image.dtype)
        where = to_device(hidden, device=image.device)[segments.clamp(0, self.superpixels)]
        return torch.where(where, noise, image)


def jittered(jitter: nn.Module, image1: Tensor, image2: Tensor, *, seeds: list[int]) -> tuple[Tensor, Tensor]:
    """Frames (B, 3, H, W) after a jitter; the draws of a pair depend only on its seed, not on the batch."""
    pairs = [jitter(image1[i : i + 1], image2[i : i + 1], seed=seed) for i, seed in enumerate(seeds)]
    first, second = (torch.cat(frames) for frames in zip(*pairs, strict=True))
    return first, second

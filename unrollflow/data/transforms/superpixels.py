"""Superpixels of the second frame, for hallucinated occlusions."""

import torch
from einops import rearrange
from skimage.segmentation import slic

from unrollflow.contracts import FlowSample


class Superpixels:
    """Adds `segments`, scikit-image's SLIC superpixels of image2; put it last, where frames have their final size.

    It runs in the loader's workers: a frame of 368x496 takes about a tenth of a second.

    Args:
        count: about how many; what is found beyond it belongs to the last one.
        compactness: how square they are; high ones look at colour less.

    Raises:
        ValueError: if the count is not positive.

    Source: the released code of ARFlow (oc_transforms.py), which has 200 of them.
    """

    def __init__(self, *, count: int = 200, compactness: float = 10.0) -> None:
        if count < 1:
            raise ValueError(f"count is {count}; it must be at least 1.")
        self.count, self.compactness = count, compactness

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Segment; nothing is drawn."""
        image = rearrange(sample["image2"], "c h w -> h w c").contiguous().numpy()
        labels = slic(image, n_segments=self.count, compactness=self.compactness, start_label=0)
        return sample | {"segments": torch.from_numpy(labels).long().clamp(max=self.count - 1)}

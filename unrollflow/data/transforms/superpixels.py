"""Superpixels of the second frame, for hallucinated occlusions."""

import torch
from einops import rearrange
from skimage.segmentation import slic

from unrollflow.contracts import FlowSample


class Superpixels:
    """Adds `segments`: SLIC superpixels of image2 by scikit-image; put it last, after all changes of size.

    It runs in the workers of the loader; a frame of 368x496 takes about 0.1 s.

    Args:
        count: approximate number of superpixels; any beyond it are merged into the last one.
        compactness: higher values make more compact superpixels, which depend less on colour.

    Raises:
        ValueError: if the count is not positive.

    Source: the released code of ARFlow (oc_transforms.py), with 200 superpixels.
    """

    def __init__(self, *, count: int = 200, compactness: float = 10.0) -> None:
        if count < 1:
            raise ValueError(f"count is {count}; it must be at least 1 superpixel.")
        self.count, self.compactness = count, compactness

    def __call__(self, sample: FlowSample, generator: torch.Generator) -> FlowSample:
        """Add the superpixels; the generator is not used."""
        image = rearrange(sample["image2"], "c h w -> h w c").contiguous().numpy()
        labels = slic(image, n_segments=self.count, compactness=self.compactness, start_label=0)
        return sample | {"segments": torch.from_numpy(labels).long().clamp(max=self.count - 1)}

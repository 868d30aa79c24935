"""A real pair with ground truth and without a download: the motorcycle of scikit-image."""

import torch
from einops import rearrange
from skimage.data import stereo_motorcycle
from torch import Tensor
from torch.utils.data import Dataset

from unrollflow.contracts import FlowSample
from unrollflow.ops import resize_image


class StereoMotorcycle(Dataset[FlowSample]):
    """Left and right view of a motorcycle as one pair of frames; the flow is the negative disparity.

    At full size, 741x497 pixels, the disparity exceeds 60 px; at a scale of 1/8, it is below 8 px.

    Args:
        reduction: factor k; images are averaged over k x k pixels, flow is divided by k.

    Source: Scharstein et al., High-resolution stereo datasets with subpixel-accurate ground truth, GCPR 2014
    (scikit-image, `skimage.data.stereo_motorcycle`).
    """

    def __init__(self, *, reduction: int = 8) -> None:
        if reduction < 1:
            raise ValueError(f"reduction is out of range: {reduction}; it must be an integer of at least 1.")
        self.reduction = reduction

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> FlowSample:
        if index != 0:
            raise IndexError(f"sample {index} of 1")
        left, right, disparity = stereo_motorcycle()  # type: ignore[no-untyped-call]
        image1, image2 = (self._shrink(rearrange(torch.from_numpy(v), "h w c -> 1 c h w") / 255) for v in (left, right))
        distance = torch.from_numpy(disparity)[None, None]
        known = distance.isfinite().float()
        # mean over the known pixels of a block, valid if at least half of the block is known
        share = self._shrink(known)
        mean = self._shrink(torch.where(known > 0, distance, 0.0)) / share.clamp_min(torch.finfo(torch.float32).eps)
        valid = (share >= 0.5)[0, 0]
        u = torch.where(valid, -mean[0, 0] / self.reduction, 0.0)
        flow = torch.stack([u, torch.zeros_like(u)])
        return FlowSample(image1=image1[0], image2=image2[0], name="motorcycle", flow=flow, valid=valid)

    def _shrink(self, field: Tensor) -> Tensor:
        """Means of complete blocks; incomplete blocks at the right and the bottom are omitted."""
        height, width = (side - side % self.reduction for side in field.shape[-2:])
        size = (height // self.reduction, width // self.reduction)
        return resize_image(field[..., :height, :width], size)

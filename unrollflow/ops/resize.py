"""Resizing, cropping and padding of images and flows."""

import torch.nn.functional as F
from torch import Tensor

from unrollflow.contracts import check_floating
from unrollflow.ops.precision import full_precision
from unrollflow.ops.transfer import constant

Size = tuple[int, int]


@full_precision
def resize_flow(flow: Tensor, size: Size, *, align_corners: bool = True) -> Tensor:
    """Resize a flow (B, 2, h, w) to (B, 2, H, W), and rescale u and v to pixels of the new grid.

    Args:
        flow: (B, 2, h, w), pixels of its grid.
        size: (H, W).
        align_corners: True: corner-aligned, as in the backbones; False: half-pixel centres.

    >>> import torch
    >>> resize_flow(torch.ones(1, 2, 2, 2), (4, 6))[0, :, 0, 0].tolist()
    [3.0, 2.0]
    """
    scale = constant([size[1] / flow.shape[-1], size[0] / flow.shape[-2]], like=flow)  # (u, v) <- (W/w, H/h)
    return F.interpolate(flow, size, mode="bilinear", align_corners=align_corners) * scale.view(1, 2, 1, 1)


@full_precision
def resize_image(image: Tensor, size: Size) -> Tensor:
    """Shrink an image (B, C, H, W) to (B, C, h, w) by the mean over the area of each new pixel.

    >>> import torch
    >>> resize_image(torch.tensor([[0.0, 1.0], [2.0, 3.0]]).view(1, 1, 2, 2), (1, 1)).item()
    1.5
    """
    return image if image.shape[-2:] == size else F.interpolate(image, size, mode="area")


@full_precision
def shrink_image(image: Tensor, factor: int) -> Tensor:
    """Shrink an image (B, C, H, W) by an integer factor, by the mean over factor x factor pixels.

    The border is repeated to fill the last squares: the result is (B, C, ceil(H / factor), ceil(W / factor)).

    >>> import torch
    >>> shrink_image(torch.tensor([1.0, 3.0, 5.0]).expand(1, 1, 2, 3), 2).flatten().tolist()
    [2.0, 5.0]
    """
    height, width = image.shape[-2:]
    filled = F.pad(image, [0, -width % factor, 0, -height % factor], mode="replicate")
    return F.avg_pool2d(filled, factor)


def crop_centre(field: Tensor, size: Size) -> Tensor:
    """Central part (..., h, w) of a map (..., H, W), without equal borders on both sides.

    It is a slice; kornia's `center_crop` resamples.

    >>> import torch
    >>> crop_centre(torch.arange(4.0).view(1, 1, 1, 4), (1, 2)).flatten().tolist()
    [1.0, 2.0]
    """
    top, left = (field.shape[-2] - size[0]) // 2, (field.shape[-1] - size[1]) // 2
    return field[..., top : top + size[0], left : left + size[1]]


def pad_to_multiple(image: Tensor, stride: int) -> Tensor:
    """Pad images (B, C, H, W) by repeating the border on all sides, to multiples of `stride`.

    :func:`crop_centre` reverses it.

    >>> import torch
    >>> tuple(pad_to_multiple(torch.rand(1, 3, 60, 65), 16).shape)
    (1, 3, 64, 80)
    """
    check_floating(image, user="pad_to_multiple")
    height, width = -image.shape[-2] % stride, -image.shape[-1] % stride
    margins = [width // 2, width - width // 2, height // 2, height - height // 2]
    return F.pad(image, margins, mode="replicate")

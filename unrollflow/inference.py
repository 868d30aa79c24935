"""Flow of images from Python: shipped networks by name, and one function for arrays, pictures and tensors."""

from pathlib import Path
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from unrollflow.training.module import UnsupervisedFlow
from unrollflow.weights import DEFAULT, weights_file

Picture = Image | NDArray[np.generic]


def pretrained(name: str | Path = DEFAULT) -> UnsupervisedFlow:
    """A trained module in evaluation mode, on the CPU.

    Args:
        name: of shipped weights (see :func:`unrollflow.weights.shipped_weights`), a safetensors file with its card
            beside it, or a checkpoint of the command line.

    Raises:
        FileNotFoundError: if there is neither such a file nor such a name.
        ValueError: if the file is damaged, does not belong to its card, or holds another network.
    """
    return UnsupervisedFlow.load_from_checkpoint(weights_file(name)).eval()


@overload
def flow(image1: Tensor, image2: Tensor, *, network: UnsupervisedFlow | None = None) -> Tensor: ...


@overload
def flow(image1: Picture, image2: Picture, *, network: UnsupervisedFlow | None = None) -> NDArray[np.float32]: ...


@torch.no_grad()
def flow(
    image1: Picture | Tensor, image2: Picture | Tensor, *, network: UnsupervisedFlow | None = None
) -> NDArray[np.float32] | Tensor:
    """Flow from image1 to image2: pixel (x, y) of image1 is seen at (x + u, y + v) in image2.

    Args:
        image1, image2: two of one kind and size: PIL images; arrays (H, W, 3) or (B, H, W, 3), uint8 or floating-point
            RGB in [0, 1]; or tensors (3, H, W) or (B, 3, H, W), floating-point RGB in [0, 1].
        network: a trained module, such as :func:`pretrained` returns, in evaluation mode; None: the shipped weights
            "small", which are read at each call. It computes on its own device.

    Returns:
        (u, v) in pixels: an array (H, W, 2) or (B, H, W, 2), float32, of pictures and arrays; a tensor (2, H, W) or
        (B, 2, H, W) on the device of image1, of tensors.

    Raises:
        ValueError: for images of other kinds, shapes or ranges, that are not finite, or smaller than the network's
            minimum.
    """
    module = pretrained() if network is None else network
    first, second = (as_tensor(image) for image in (image1, image2))
    batch = [image if image.ndim == 4 else image.unsqueeze(0) for image in (first, second)]
    if not all(image.isfinite().all() for image in batch):
        raise ValueError("the images hold values that are not finite; RGB in [0, 1] is needed.")
    found = module.one_way(*(image.to(module.device) for image in batch))
    found = found if first.ndim == 4 else found.squeeze(0)
    if isinstance(image1, Tensor):
        return found.to(image1.device)
    array: NDArray[np.float32] = found.movedim(-3, -1).float().cpu().numpy()
    return array


def as_tensor(image: Picture | Tensor) -> Tensor:
    """An image as RGB in [0, 1], channels before rows.

    Raises:
        ValueError: for what is neither a picture, an array of three channels at its end, nor a tensor.
    """
    if isinstance(image, Tensor):
        return image
    array = np.asarray(image.convert("RGB") if isinstance(image, Image) else image)
    if array.ndim not in (3, 4) or array.shape[-1] != 3:
        raise ValueError(f"got an array of shape {array.shape}; RGB (H, W, 3) or (B, H, W, 3) is needed.")
    if array.dtype == np.uint8:
        return torch.from_numpy(array.copy()).movedim(-1, -3).float() / 255
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"got an array of {array.dtype}; uint8, or floating-point RGB in [0, 1], is needed.")
    return torch.from_numpy(array.astype(np.float32)).movedim(-1, -3)

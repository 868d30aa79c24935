"""Flow and confidence of PIL images, arrays or tensors, with shipped networks by name."""

from pathlib import Path
from typing import Generic, NamedTuple, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from unrollflow.contracts import Prediction
from unrollflow.ops import flow_confidence
from unrollflow.training.module import UnsupervisedFlow
from unrollflow.weights import DEFAULT, weights_file

Picture = Image | NDArray[np.generic]
Numbers = TypeVar("Numbers", Tensor, NDArray[np.float32])


class FlowAndConfidence(NamedTuple, Generic[Numbers]):
    """Flow of images, and its confidence.

    Attributes:
        flow: as returned by :func:`flow`.
        confidence: confidence at each pixel of image1, in [0, 1]: an array (H, W) or (B, H, W), or a tensor (1, H, W)
            or (B, 1, H, W).
    """

    flow: Numbers
    confidence: Numbers


def pretrained(name: str | Path = DEFAULT) -> UnsupervisedFlow:
    """Load a trained module in evaluation mode, on the CPU.

    Args:
        name: name of shipped weights (see :func:`unrollflow.weights.shipped_weights`), a safetensors file with its card
            beside it, or a checkpoint of `unrollflow fit`.

    Raises:
        FileNotFoundError: if there are no such weights and no such file.
        ValueError: if the file is damaged, does not match its card, or contains another network.
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
    """Return the flow from image1 to image2: pixel (x, y) of image1 is at (x + u, y + v) in image2.

    Args:
        image1, image2: images of the same kind and size: PIL images; arrays (H, W, 3) or (B, H, W, 3), uint8 or
            floating-point RGB in [0, 1]; or tensors (3, H, W) or (B, 3, H, W), floating-point RGB in [0, 1].
        network: a trained module in evaluation mode, such as from :func:`pretrained`, which computes on its device;
            None: the shipped weights "small", which are read at each call.

    Returns:
        (u, v) in pixels: for PIL images and arrays, an array (H, W, 2) or (B, H, W, 2), float32; for tensors, a tensor
        (2, H, W) or (B, 2, H, W) on the device of image1.

    Raises:
        ValueError: if the images have other kinds, shapes or ranges, are not finite, or are smaller than the minimum
            size of the network.
    """
    module = pretrained() if network is None else network
    return as_given(module.one_way(*batches(image1, image2, module)), image1)


@overload
def flow_and_confidence(
    image1: Tensor, image2: Tensor, *, network: UnsupervisedFlow | None = None
) -> FlowAndConfidence[Tensor]: ...


@overload
def flow_and_confidence(
    image1: Picture, image2: Picture, *, network: UnsupervisedFlow | None = None
) -> FlowAndConfidence[NDArray[np.float32]]: ...


@torch.no_grad()
def flow_and_confidence(
    image1: Picture | Tensor, image2: Picture | Tensor, *, network: UnsupervisedFlow | None = None
) -> FlowAndConfidence[NDArray[np.float32]] | FlowAndConfidence[Tensor]:
    """Return the flow from image1 to image2, and the estimated probability that its end-point error is under 1 px.

    It computes the flow in both directions, at twice the cost of :func:`flow`. The probability is calibrated for the
    shipped weights "small" (:func:`unrollflow.ops.flow_confidence`). With other weights, only its order is meaningful.

    Args: image1, image2, network: as in :func:`flow`, with the same errors.
    """
    module = pretrained() if network is None else network
    found: Prediction = module(*batches(image1, image2, module))
    confidence = as_given(flow_confidence(found.flow, found.flow_backward), image1)
    forward = as_given(found.flow, image1)
    if isinstance(forward, Tensor) and isinstance(confidence, Tensor):
        return FlowAndConfidence(forward, confidence)
    return FlowAndConfidence(np.asarray(forward), np.asarray(confidence)[..., 0])


def batches(image1: Picture | Tensor, image2: Picture | Tensor, module: UnsupervisedFlow) -> list[Tensor]:
    """Both images as batches (B, 3, H, W) on the device of a module.

    Raises:
        ValueError: if values are not finite, and as :func:`as_tensor`.
    """
    images = [as_tensor(image) for image in (image1, image2)]
    if not all(image.isfinite().all() for image in images):
        raise ValueError("the images have values that are not finite; expected RGB in [0, 1].")
    return [(image if image.ndim == 4 else image.unsqueeze(0)).to(module.device) for image in images]


def as_given(found: Tensor, image: Picture | Tensor) -> NDArray[np.float32] | Tensor:
    """Result (B, C, H, W) in the form of the images: a tensor, or an array with channels last."""
    if isinstance(image, Image) or image.ndim == 3:
        found = found.squeeze(0)
    if isinstance(image, Tensor):
        return found.to(image.device)
    array: NDArray[np.float32] = found.movedim(-3, -1).float().cpu().numpy()
    return array


def as_tensor(image: Picture | Tensor) -> Tensor:
    """Image as an RGB tensor in [0, 1], channels first.

    Raises:
        ValueError: if it is neither a PIL image, an array with three channels last, nor a tensor.
    """
    if isinstance(image, Tensor):
        return image
    array = np.asarray(image.convert("RGB") if isinstance(image, Image) else image)
    if array.ndim not in (3, 4) or array.shape[-1] != 3:
        raise ValueError(f"got an array of shape {array.shape}; expected RGB (H, W, 3) or (B, H, W, 3).")
    if array.dtype == np.uint8:
        return torch.from_numpy(array.copy()).movedim(-1, -3).float() / 255
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"got an array of {array.dtype}; expected uint8, or floating-point RGB in [0, 1].")
    return torch.from_numpy(array.astype(np.float32)).movedim(-1, -3)

"""Pictures to tensors and back: images, masks, label maps; errors name the file, what it holds, what it should."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from unrollflow.data.files import existing, write_whole

FULL_SCALE = {"uint8": 2.0**8 - 1, "uint16": 2.0**16 - 1}
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})
Pixels = np.ndarray[tuple[int, ...], np.dtype[np.unsignedinteger[Any]]]


def read_image(path: str | Path) -> Tensor:
    """RGB image (3, H, W), float32 in [0, 1], of a file of 8 or 16 bits; grey is repeated, alpha dropped.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be decoded.
    """
    path = existing(path)
    bgr = decode(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if bgr.dtype.name not in FULL_SCALE:
        raise ValueError(f"{path} holds {bgr.dtype} pixels; 8 or 16 bits are expected.")
    rgb = np.ascontiguousarray(rearrange(bgr[..., ::-1], "h w c -> c h w"))
    return torch.from_numpy(rgb.astype(np.float32) / FULL_SCALE[bgr.dtype.name])


def write_image(path: str | Path, image: Tensor) -> None:
    """Write an image (3, H, W) or (1, H, W) in [0, 1] as an 8-bit PNG, whole or not at all."""
    pixels = (255 * image.detach().cpu().float().clamp(0, 1)).round().byte()
    channels_last = rearrange(pixels, "c h w -> h w c").numpy()
    bgr = channels_last[..., ::-1] if channels_last.shape[-1] == 3 else channels_last
    write_whole(path, cv2.imencode(".png", np.ascontiguousarray(bgr))[1].tobytes())


def read_mask(path: str | Path) -> Tensor:
    """Mask (H, W), bool, of a grey picture, such as Sintel's occlusions and invalid pixels: True above half of white.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be decoded, or is no grey picture of 8 or 16 bits.
    """
    grey = decode_grey(existing(path))
    return torch.from_numpy(grey > FULL_SCALE[grey.dtype.name] / 2)


def read_label_map(path: str | Path) -> Tensor:
    """Foreground (H, W), bool, of a grey picture of labels, such as KITTI's object map: True where the label is not 0.

    Labels are small numbers, which :func:`read_mask` would take for black.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be decoded, or is no grey picture of 8 or 16 bits.
    """
    return torch.from_numpy(decode_grey(existing(path)) != 0)


def decode_grey(path: Path) -> Pixels:
    """Pixels (H, W) of a grey picture of 8 or 16 bits, or a ValueError that names it."""
    picture = decode(path, cv2.IMREAD_UNCHANGED)
    if picture.ndim != 2 or picture.dtype.name not in FULL_SCALE:
        raise ValueError(f"{path} is a {picture.dtype} picture of shape {picture.shape}; one grey channel is expected.")
    return picture


def decode(path: Path, flags: int) -> Pixels:
    """Pixels that OpenCV decodes of a file, or a ValueError that names it."""
    content = np.frombuffer(path.read_bytes(), np.uint8)
    try:
        picture = cv2.imdecode(content, flags) if content.size else None
    except cv2.error as error:
        raise ValueError(f"{path} cannot be read as an image: {error.err}") from error
    if picture is None:
        raise ValueError(f"{path} cannot be read as an image: {content.size} bytes, damaged or of an unknown format.")
    return picture

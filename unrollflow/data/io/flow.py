"""Reading and writing of .flo and KITTI's 16-bit PNG; the other codecs are also exported from here."""

from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from unrollflow.contracts import UNKNOWN_FLOW, known_flow
from unrollflow.data.io.files import UMASK, atomic_file, check_flow, check_size, existing, write_atomic
from unrollflow.data.io.flo5 import read_flo5, write_flo5
from unrollflow.data.io.images import IMAGE_SUFFIXES, decode, read_image, read_label_map, read_mask, write_image
from unrollflow.data.io.pfm import read_pfm, write_pfm

__all__ = [
    "IMAGE_SUFFIXES",
    "UMASK",
    "check_flow",
    "decode",
    "existing",
    "read_flo",
    "read_flo5",
    "read_image",
    "read_kitti_flow",
    "read_label_map",
    "read_mask",
    "read_pfm",
    "write_atomic",
    "write_flo",
    "write_flo5",
    "write_image",
    "write_kitti_flow",
    "write_pfm",
]

FLO_MAGIC = 202021.25
FLO_HEADER_BYTES = 12

KITTI_SCALE = 64.0
KITTI_OFFSET = 2.0**15
"""KITTI stores u and v as 64 f + 32768 in 16 bits: steps of 1/64 px, from -512 to just under 512 px."""


def read_flo(path: str | Path) -> Tensor:
    """Flow (2, H, W), float32, pixels, as stored in a Middlebury .flo file (unknown flow is > 1e9).

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if magic number, sizes or length are wrong; checked before memory is allocated.

    Source: Baker et al., IJCV 2011; float32 202021.25, int32 W, int32 H, rows of interleaved (u, v), little endian.
    """
    path = existing(path)
    actual = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(FLO_HEADER_BYTES)
        if len(header) < FLO_HEADER_BYTES or np.frombuffer(header, "<f4", 1)[0] != FLO_MAGIC:
            raise ValueError(f"{path} is not a .flo file: it does not begin with {FLO_MAGIC} as a float32.")
        width, height = (int(side) for side in np.frombuffer(header, "<i4", 2, offset=4))
        check_size(path, width, height)
        expected = FLO_HEADER_BYTES + 8 * width * height
        if expected != actual:
            raise ValueError(
                f"wrong length of {path}: the header says {width}x{height} pixels ({expected} bytes), the file has "
                f"{actual} bytes."
            )
        values = np.fromfile(file, "<f4", 2 * width * height).reshape(height, width, 2)
    return torch.from_numpy(np.ascontiguousarray(rearrange(values, "h w c -> c h w"), np.float32))


def write_flo(path: str | Path, flow: Tensor) -> None:
    """Write a flow (2, H, W), pixels, as .flo, atomically.

    Raises:
        ValueError: if the flow has another shape.
    """
    check_flow(flow, path)
    height, width = flow.shape[-2:]
    rows = rearrange(flow.detach().cpu().float(), "c h w -> h w c").numpy().astype("<f4")
    header = np.array([FLO_MAGIC], "<f4").tobytes() + np.array([width, height], "<i4").tobytes()
    write_atomic(path, header + rows.tobytes())


def read_kitti_flow(path: str | Path) -> tuple[Tensor, Tensor]:
    """Flow (2, H, W), float32, pixels, 0 where unknown, and validity (H, W) bool, of a KITTI 16-bit PNG.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not a PNG of three 16-bit channels.

    Source: KITTI 2015 development kit: R, G = 64 (u, v) + 32768, B = valid.
    """
    path = existing(path)
    picture = decode(path, cv2.IMREAD_UNCHANGED)
    if picture.dtype != np.uint16 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            f"{path} is a {picture.dtype} image of shape {picture.shape}; expected three 16-bit channels (KITTI)."
        )
    valid = cv2.extractChannel(picture, 0) > 0  # OpenCV's order: valid, v, u
    flow = np.empty((2, *valid.shape), np.float32)
    for plane, channel in zip(flow, (2, 1), strict=True):
        stored = np.where(valid, cv2.extractChannel(picture, channel), np.uint16(KITTI_OFFSET))
        np.subtract(stored, np.float32(KITTI_OFFSET), out=plane)
        plane /= np.float32(KITTI_SCALE)
    return torch.from_numpy(flow), torch.from_numpy(valid)


def write_npy(path: str | Path, flow: Tensor) -> None:
    """Write a flow (2, H, W), pixels, as a NumPy array (H, W, 2) of float32, atomically.

    Raises:
        ValueError: if the flow has another shape.
    """
    check_flow(flow, path)
    with atomic_file(Path(path)) as file:
        np.save(file, rearrange(flow.detach().cpu().float(), "c h w -> h w c").numpy())


def write_kitti_flow(path: str | Path, flow: Tensor, valid: Tensor | None = None) -> None:
    """Write a flow (2, H, W), pixels, as KITTI's PNG, truncated to 1/64 px and clipped, atomically.

    Args:
        path: file to write.
        flow: (2, H, W).
        valid: (H, W) bool; None: everywhere. Unknown flow is stored as 0, as in KITTI's files.

    Raises:
        ValueError: if the flow has another shape, or is unknown where it is valid.
    """
    check_flow(flow, path)
    flow = flow.detach().cpu().double()
    known = torch.ones(flow.shape[-2:], dtype=torch.bool) if valid is None else valid.cpu()
    if known.shape != flow.shape[-2:]:
        raise ValueError(f"validity for {path} has shape {tuple(known.shape)}; expected {tuple(flow.shape[-2:])}.")
    if not known_flow(flow)[known].all():
        raise ValueError(
            f"flow for {path} is unknown (not finite, or over {UNKNOWN_FLOW:g} px) at valid pixels; set `valid` to "
            "False there."
        )
    values = (KITTI_SCALE * flow + KITTI_OFFSET).clamp(0, 2**16 - 1).floor()
    stored = torch.where(known, values, 0.0)
    bgr = torch.stack([known.double(), stored[1], stored[0]], dim=-1).numpy().astype(np.uint16)
    write_atomic(path, cv2.imencode(".png", bgr)[1].tobytes())

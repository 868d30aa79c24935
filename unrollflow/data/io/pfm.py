"""PFM (portable float map), the format of FlyingThings3D, Sintel's depth and Middlebury's disparities."""

import re
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from unrollflow.data.io.files import check_size, existing, write_atomic

LONGEST_HEADER = 128
CHANNELS = {b"PF": 3, b"Pf": 1}
HEADER = re.compile(rb"(PF|Pf)\s+(\d{1,10})\s+(\d{1,10})\s+([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s")


def read_pfm(path: str | Path) -> Tensor:
    """Field (C, H, W), float32, C = 1 or 3, of a PFM file, top row first; values as stored, including non-finite ones.

    A flow of FlyingThings3D has three channels: u, v and an unused one. Only the sign of the header's scale is used;
    values are not multiplied by its magnitude, as in the readers of that set.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if header or length are wrong; checked before memory is allocated.

    Source: Debevec's format: PF (3 channels) or Pf (1), W H, scale (negative: little endian), rows from the bottom up.
    """
    path = existing(path)
    with path.open("rb") as file:
        header = HEADER.match(file.read(LONGEST_HEADER))
        if header is None:
            raise ValueError(f"{path} is not a PFM file: it does not begin with PF or Pf, width, height and scale.")
        channels, width, height = CHANNELS[header[1]], int(header[2]), int(header[3])
        scale = parse_scale(path, header[4].decode())
        expected, actual = header.end() + 4 * channels * width * height, path.stat().st_size
        check_size(path, width, height)
        if expected != actual:
            raise ValueError(
                f"wrong length of {path}: the header says {width}x{height} pixels of {channels} channel(s) ({expected} "
                f"bytes with the header), the file has {actual} bytes."
            )
        file.seek(header.end())
        values = np.fromfile(file, "<f4" if scale < 0 else ">f4", channels * width * height)
    rows = values.reshape(height, width, channels)[::-1]
    return torch.from_numpy(np.array(rearrange(rows, "h w c -> c h w"), np.float32, order="C"))


def write_pfm(path: str | Path, field: Tensor) -> None:
    """Write a field (1, H, W) or (3, H, W) as little-endian PFM, atomically; to a flow (2, H, W), zeros are appended.

    Raises:
        ValueError: if the field has another shape.
    """
    if field.ndim != 3 or field.shape[0] not in (1, 2, 3) or 0 in field.shape:
        raise ValueError(
            f"field for {path} has shape {tuple(field.shape)}; expected (1, H, W), (2, H, W) or (3, H, W)."
        )
    field = field.detach().cpu().float()
    if field.shape[0] == 2:
        field = torch.cat([field, torch.zeros_like(field[:1])])
    channels, height, width = field.shape
    kind = "Pf" if channels == 1 else "PF"
    rows = rearrange(field, "c h w -> h w c").numpy()[::-1].astype("<f4")
    write_atomic(path, f"{kind}\n{width} {height}\n-1.0\n".encode() + rows.tobytes())


def parse_scale(path: Path, text: str) -> float:
    """Scale in a PFM header, whose sign defines the byte order; ValueError if it is 0 or not finite."""
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if scale == 0 or not np.isfinite(scale):
        raise ValueError(f"the scale in {path} is {text!r}; expected a finite number other than 0.")
    return scale

"""Files to tensors and back: .flo, KITTI's 16-bit PNG, images; errors name the file, what it holds, what it should."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

FLO_MAGIC = 202021.25
FLO_HEADER_BYTES = 12
FLO_LARGEST_SIDE = 2**15

KITTI_SCALE = 64.0
KITTI_OFFSET = 2.0**15
"""KITTI stores u and v as 64 f + 32768 in 16 bits: steps of 1/64 px, from -512 to just under 512 px."""

FULL_SCALE = {"uint8": 2.0**8 - 1, "uint16": 2.0**16 - 1}
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})


def read_flo(path: str | Path) -> Tensor:
    """Flow (2, H, W), float32, pixels, of a Middlebury .flo file, as it stands there (unknown flow is > 1e9).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if magic number, sizes or length are wrong; nothing is allocated for a lying header.

    Source: Baker et al., IJCV 2011; float32 202021.25, int32 W, int32 H, rows of interleaved (u, v), little endian.
    """
    path = existing(path)
    actual = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(FLO_HEADER_BYTES)
        if len(header) < FLO_HEADER_BYTES or np.frombuffer(header, "<f4", 1)[0] != FLO_MAGIC:
            raise ValueError(f"{path} is no .flo file: it does not begin with {FLO_MAGIC} as a float32.")
        width, height = (int(side) for side in np.frombuffer(header, "<i4", 2, offset=4))
        expected = FLO_HEADER_BYTES + 8 * width * height
        if not (0 < width <= FLO_LARGEST_SIDE and 0 < height <= FLO_LARGEST_SIDE and expected == actual):
            raise ValueError(
                f"{path} says {width}x{height} pixels, which take {expected} bytes; the file has {actual}."
            )
        values = np.frombuffer(file.read(), "<f4").reshape(height, width, 2)
    return rearrange(torch.from_numpy(values.astype(np.float32)), "h w c -> c h w").contiguous()


def write_flo(path: str | Path, flow: Tensor) -> None:
    """Write a flow (2, H, W), pixels, as .flo, whole or not at all.

    Raises:
        ValueError: if the flow has another shape.
    """
    check_flow(flow, path)
    height, width = flow.shape[-2:]
    rows = rearrange(flow.detach().cpu().float(), "c h w -> h w c").numpy().astype("<f4")
    header = np.array([FLO_MAGIC], "<f4").tobytes() + np.array([width, height], "<i4").tobytes()
    write_whole(path, header + rows.tobytes())


def read_kitti_flow(path: str | Path) -> tuple[Tensor, Tensor]:
    """Flow (2, H, W), float32, pixels, 0 where unknown, and validity (H, W) bool, of a KITTI 16-bit PNG.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no PNG of three 16-bit channels.

    Source: KITTI 2015 development kit: R, G = 64 (u, v) + 32768, B = valid.
    """
    path = existing(path)
    picture = decode(path, cv2.IMREAD_UNCHANGED)
    if picture.dtype != np.uint16 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            f"{path} is a {picture.dtype} picture of shape {picture.shape}; KITTI's has three 16-bit channels."
        )
    bgr = torch.from_numpy(picture.astype(np.float32))  # OpenCV's order: valid, v, u
    valid = bgr[..., 0] > 0
    flow = (rearrange(bgr[..., [2, 1]], "h w c -> c h w") - KITTI_OFFSET) / KITTI_SCALE
    return torch.where(valid, flow, 0.0), valid


def write_kitti_flow(path: str | Path, flow: Tensor, valid: Tensor | None = None) -> None:
    """Write a flow (2, H, W), pixels, as KITTI's PNG, truncated to 1/64 px and clipped, whole or not at all.

    Args:
        path: file to write.
        flow: (2, H, W).
        valid: (H, W) bool; None: everywhere. Unknown flow is stored as 0, as in KITTI's own files.

    Raises:
        ValueError: if the flow has another shape, or is not finite where it is valid.
    """
    check_flow(flow, path)
    flow = flow.detach().cpu().double()
    known = torch.ones(flow.shape[-2:], dtype=torch.bool) if valid is None else valid.cpu()
    if known.shape != flow.shape[-2:]:
        raise ValueError(f"validity for {path} has shape {tuple(known.shape)}; {tuple(flow.shape[-2:])} is needed.")
    if not flow[:, known].isfinite().all():
        raise ValueError(f"flow for {path} is not finite everywhere, which KITTI's format cannot hold.")
    values = (KITTI_SCALE * flow + KITTI_OFFSET).clamp(0, 2**16 - 1).floor()
    stored = torch.where(known, values, 0.0)
    bgr = torch.stack([known.double(), stored[1], stored[0]], dim=-1).numpy().astype(np.uint16)
    write_whole(path, cv2.imencode(".png", bgr)[1].tobytes())


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


def existing(path: str | Path) -> Path:
    """The path of a file, or a FileNotFoundError that names it."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    return path


def decode(path: Path, flags: int) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """Pixels that OpenCV decodes of a file, or a ValueError that names it."""
    content = np.frombuffer(path.read_bytes(), np.uint8)
    try:
        picture = cv2.imdecode(content, flags) if content.size else None
    except cv2.error as error:
        raise ValueError(f"{path} cannot be read as an image: {error.err}") from error
    if picture is None:
        raise ValueError(f"{path} cannot be read as an image: {content.size} bytes, damaged or of an unknown format.")
    return picture


def check_flow(flow: Tensor, path: str | Path) -> None:
    """Raise ValueError unless a flow that is to be written to a file is (2, H, W)."""
    if flow.ndim != 3 or flow.shape[0] != 2:
        raise ValueError(f"flow for {path} has shape {tuple(flow.shape)}; (2, H, W) is needed.")


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all; missing folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.close()
            os.chmod(file.name, 0o666 & ~UMASK)  # noqa: PTH101, a temporary file is readable by its owner alone
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


UMASK = os.umask(0)
os.umask(UMASK)  # the mask can only be read by setting it

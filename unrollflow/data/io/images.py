"""Reading and writing of images, masks and label maps."""

import re
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from einops import rearrange
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from unrollflow.data.io.files import check_size, existing, write_atomic

Depth = Literal["uint8", "uint16"]
FULL_SCALE: dict[str, int] = {"uint8": 2**8 - 1, "uint16": 2**16 - 1}
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp"})
FORMATS = ("PNG", "JPEG", "PPM", "BMP", "TIFF", "WEBP")
PNM_MAXIMUM = re.compile(rb"P[2356]" + 3 * rb"(?:\s|#[^\n]*\n)+(\d{1,10})" + rb"\s")
TIFF_MAGIC = (b"II*\0", b"MM\0*")
TIFF_DEFAULTS = {258: (1,), 339: (1,), 284: 1, 338: (), 262: 0}
"""Default bits per sample, sample formats, planar configuration, extra samples and photometric interpretation."""

ANY_PIXELS = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
Pixels = np.ndarray[Any, np.dtype[np.integer[Any] | np.floating[Any]]]


def read_image(path: str | Path) -> Tensor:
    """RGB image (3, H, W), float32 in [0, 1], of an 8-bit or 16-bit file; grey is repeated, alpha dropped.

    Values are the stored numbers divided by 255 or 65535, rounded to float32. A JPEG is rotated according to its EXIF
    data. Truncated files raise an error. Modified bytes of a JPEG cannot be detected.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not a complete PNG, JPEG, PPM, PGM, BMP, TIFF or WebP, or larger than 2^26 pixels.
    """
    path = existing(path)
    return image_of(path, path.read_bytes())


def image_of(path: Path, content: bytes) -> Tensor:
    """As :func:`read_image`, for bytes; errors contain the path."""
    # (H, W) grey, or (H, W, 3) in OpenCV's order
    tiff = content.startswith(TIFF_MAGIC)
    pixels = decode_tiff(path, content) if tiff else decode_content(path, content, ANY_PIXELS)
    if pixels.dtype.name not in FULL_SCALE:
        raise ValueError(f"{path} has {pixels.dtype} pixels; expected 8 or 16 bits.")
    scale = np.float32(FULL_SCALE[pixels.dtype.name])
    image = np.empty((3, *pixels.shape[:2]), np.float32)
    channels = [pixels] if pixels.ndim == 2 else reversed(cv2.split(pixels))
    for plane, channel in zip(image, channels, strict=False):
        np.divide(channel, scale, out=plane)
    if pixels.ndim == 2:
        image[1:] = image[0]
    return torch.from_numpy(image)


def write_image(path: str | Path, image: Tensor, *, depth: Depth = "uint8") -> None:
    """Write an image (3, H, W) or (1, H, W) as a PNG, clipped to [0, 1] and rounded, atomically.

    Args: path: file to write.   image: in [0, 1].   depth: type of the stored numbers, 0 to 255 or 0 to 65535.

    Raises:
        ValueError: if the image has another shape, or is not finite.
    """
    write_atomic(path, image_content(path, image, depth=depth))


def image_content(path: str | Path, image: Tensor, *, depth: Depth = "uint8") -> bytes:
    """Contents of the file that :func:`write_image` writes."""
    if image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"image for {path} has shape {tuple(image.shape)}; expected (3, H, W) or (1, H, W).")
    if not image.isfinite().all():
        raise ValueError(f"image for {path} has values that are not finite, which a PNG cannot store.")
    pixels = (FULL_SCALE[depth] * image.detach().cpu().float().clamp(0, 1)).round()
    channels_last = rearrange(pixels, "c h w -> h w c").numpy().astype(depth)
    bgr = channels_last[..., ::-1] if channels_last.shape[-1] == 3 else channels_last
    return cv2.imencode(".png", np.ascontiguousarray(bgr))[1].tobytes()


def read_mask(path: str | Path) -> Tensor:
    """Mask (H, W), bool, of a grey image, such as Sintel's occlusions and invalid pixels: True above half of white.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it cannot be decoded, or is not a grey image of 8 or 16 bits.
    """
    grey = decode_grey(existing(path))
    return torch.from_numpy(grey > FULL_SCALE[grey.dtype.name] // 2)


def read_label_map(path: str | Path) -> Tensor:
    """Foreground (H, W), bool, of a grey image of labels, such as KITTI's object map: True where the label is not 0.

    Labels are small numbers, which :func:`read_mask` would treat as black.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it cannot be decoded, or is not a grey image of 8 or 16 bits.
    """
    return torch.from_numpy(decode_grey(existing(path)) != 0)


def decode_grey(path: Path) -> Pixels:
    """Return the pixels (H, W) of a grey image of 8 or 16 bits, or raise ValueError."""
    picture = decode(path, cv2.IMREAD_UNCHANGED)
    if picture.ndim != 2 or picture.dtype.name not in FULL_SCALE:
        raise ValueError(f"{path} is a {picture.dtype} image of shape {picture.shape}; expected one grey channel.")
    return picture


def decode(path: Path, flags: int) -> Pixels:
    """Return the pixels of a file, decoded by OpenCV, or raise ValueError if it is damaged or truncated."""
    return decode_content(path, path.read_bytes(), flags)


def decode_content(path: Path, content: bytes, flags: int) -> Pixels:
    """As :func:`decode`, for bytes; errors contain the path."""
    check_header(path, content)
    return decode_checked(path, content, flags)


def decode_checked(path: Path, content: bytes, flags: int) -> Pixels:
    """As :func:`decode_content`, after :func:`check_header`."""
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f"{path} cannot be read as an image: {error.err}") from error
    if picture is None:
        raise ValueError(f"{path} cannot be read as an image: its {len(content)} bytes are damaged or truncated.")
    return picture


def check_header(path: Path, content: bytes) -> None:
    """Raise ValueError unless the bytes begin like an image of a known format and a supported size.

    OpenCV does not decode truncated images, but it allocates the memory that a header, or a PNG chunk, specifies. It
    does not scale the values of a PPM by the maximum in its header.
    """
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as picture:
            kind, size = picture.format, picture.size
            picture.verify()  # the chunks of a PNG
    except Exception as error:  # Pillow's plugins raise errors of many kinds
        reason = "damaged, or of an unknown kind" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(
            f"{path} cannot be read as an image: {reason}; {len(content)} bytes, first {content[:8]!r}; "
            "expected PNG, JPEG, PPM, PGM, BMP, TIFF or WebP."
        ) from error
    check_size(path, *size)
    if kind == "PPM":
        header = PNM_MAXIMUM.match(content)
        if header is None or int(header[3]) not in FULL_SCALE.values():
            raise ValueError(f"{path} begins with {content[:20]!r}; expected a PPM or PGM with maximum 255 or 65535.")


def decode_tiff(path: Path, content: bytes) -> Pixels:
    """Pixels (H, W) or (H, W, 3), in OpenCV's order, of a TIFF: Pillow decodes up to 8 bits, OpenCV 16 bits.

    OpenCV multiplies 8-bit colours by alpha. With 16 bits, it misreads separate planes, grey images in which 0 is
    white, and colours premultiplied by alpha.
    """
    check_header(path, content)
    try:
        with Image.open(BytesIO(content), formats=["TIFF"]) as picture:
            tags = picture.tag_v2  # type: ignore[attr-defined]
            bits, formats, planes, extra, colours = (tags.get(*field) for field in TIFF_DEFAULTS.items())
            deep = set(bits) == {16} and planes == 1 and 1 not in extra and colours in (1, 2)  # grey, RGB
            if set(formats) != {1} or not (deep or (max(bits) <= 8 and colours <= 6)):  # up to YCbCr
                raise ValueError(f"bits {bits}, sample formats {formats}, planes {planes}, colour model {colours}")
            if not deep:
                return np.asarray(picture.convert("RGB"))[..., ::-1]
    except Exception as error:  # Pillow's plugins raise errors of many kinds
        raise ValueError(
            f"{path} cannot be read as a TIFF: {error}; expected unsigned samples of up to 8 bits, or 16-bit grey or "
            "RGB in one plane, without premultiplied alpha."
        ) from error
    return decode_checked(path, content, ANY_PIXELS)

"""Images for the tests of the codecs: intact ones of every format, and wrong headers; memory of reading."""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and steps between columns and rows, of the passes of an interlaced PNG."""


def colours(height: int, width: int, dtype: type = np.uint8) -> np.ndarray:
    """RGB noise over smooth colours (H, W, 3), which takes long codes in every format."""
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([x + y, x - y, 2 * y], axis=-1) * (np.iinfo(dtype).max // (4 * max(height, width)))
    noise = np.random.default_rng(0).integers(0, np.iinfo(dtype).max // 4, (height, width, 3), dtype=np.int64)
    return (smooth + noise).astype(dtype)


def jpeg(rgb: np.ndarray, *settings: int) -> bytes:
    """A JPEG by OpenCV, with its numbers of settings and their values."""
    return cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), settings)[1].tobytes()


PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = (cv2.IMWRITE_JPEG_RST_INTERVAL, 3)


def jpeg_with_size(content: bytes, height: int, width: int) -> bytes:
    """The same JPEG with another size in its header."""
    frame = re.search(rb"\xff[\xc0\xc1\xc2]", content)
    assert frame
    return content[: frame.end() + 3] + struct.pack(">HH", height, width) + content[frame.end() + 7 :]


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with_size(content: bytes, height: int, width: int) -> bytes:
    """The same PNG with another size in its header, and the checksum that fits."""
    return PNG_MAGIC + chunk(b"IHDR", struct.pack(">II", width, height) + content[24:29]) + content[33:]


def interlaced_png(rgb: np.ndarray) -> bytes:
    """An interlaced PNG of 8-bit RGB, which neither OpenCV nor Pillow writes."""
    rows = [b"\0" + row.tobytes() for x, y, step_x, step_y in ADAM7 for row in rgb[y::step_y, x::step_x] if row.size]
    header = struct.pack(">IIBBBBB", rgb.shape[1], rgb.shape[0], 8, 2, 0, 0, 1)
    return PNG_MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")


def by_pillow(rgb: np.ndarray, kind: str, **settings: object) -> bytes:
    """A picture as Pillow writes it."""
    file = BytesIO()
    Image.fromarray(rgb).save(file, kind, **settings)
    return file.getvalue()


def tiff_with_size(content: bytes, height: int, width: int) -> bytes:
    """The same TIFF (little endian) with another size, in one strip."""
    changed = bytearray(content)
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", content, entry)
        if tag in (256, 257, 278):  # width, height, rows of a strip
            struct.pack_into("<HHII", changed, entry, tag, 4, 1, width if tag == 256 else height)
    return bytes(changed)


LOSSLESS = {
    "png": lambda rgb: cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]))[1].tobytes(),
    "interlaced png": interlaced_png,
    "ppm": lambda rgb: by_pillow(rgb, "PPM"),
    "bmp": lambda rgb: by_pillow(rgb, "BMP"),
    "tiff": lambda rgb: by_pillow(rgb, "TIFF"),
    "lzw tiff": lambda rgb: by_pillow(rgb, "TIFF", compression="tiff_lzw"),
    "deflate tiff": lambda rgb: by_pillow(rgb, "TIFF", compression="tiff_adobe_deflate"),
    "webp": lambda rgb: by_pillow(rgb, "WEBP", lossless=True),
}
LOSSY = {
    "jpeg": jpeg,
    "progressive jpeg": lambda rgb: jpeg(rgb, *PROGRESSIVE),
    "jpeg with restarts": lambda rgb: jpeg(rgb, *RESTARTS),
    "lossy webp": lambda rgb: by_pillow(rgb, "WEBP"),
}

MEGABYTE = 2**20


@contextmanager
def memory_below(limit: float) -> Iterator[None]:
    """Fail if the process's resident memory rises by more megabytes within; only Linux tells its peak."""
    if not Path("/proc/self/clear_refs").exists():
        yield
        return
    Path("/proc/self/clear_refs").write_text("5")  # begin the peak anew
    before = peak_megabytes()
    yield
    risen = peak_megabytes() - before
    assert risen < limit, f"memory rose by {risen:.0f} MB, more than {limit:.0f}"


def peak_megabytes() -> float:
    """Largest resident memory so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024

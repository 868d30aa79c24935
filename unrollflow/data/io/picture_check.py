"""Is a picture whole, and what it claims to be? Asked before a decoder allocates what its header says."""

import re
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from unrollflow.data.io.files import check_size
from unrollflow.data.io.jpeg_check import JPEG_MAGIC, check_jpeg

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_SIZE_END = 24

PNM_HEADER = re.compile(rb"P([2356])" + 3 * rb"(?:\s|#[^\n]*\n)+(\d{1,10})" + rb"\s")
PNM_SCALES = (2**8 - 1, 2**16 - 1)

BMP_HEADER_BYTES = 34
BMP_PLAIN = (0, 3)  # pixels, or pixels with masks of bits

TIFF_UNCOMPRESSED = 1
TIFF_VERIFIED_BYTES = 2**24
TIFF_RATIO = 250
"""Largest compression of a large TIFF; a header that claims more is usually wrong, and the file is refused."""


def check_picture(path: Path, content: bytes) -> None:
    """Raise ValueError unless the bytes are a picture of a known format, whole, and of a size that it can hold."""
    for magic, check in CHECKS.items():
        if content.startswith(magic):
            check(path, content)
            return
    raise ValueError(
        f"{path} is not a picture that can be read: {len(content)} bytes that begin with {content[:8]!r}; PNG, JPEG, "
        "PPM, PGM, BMP, TIFF and WebP are expected."
    )


def check_png(path: Path, content: bytes) -> None:
    """PNG: of a size that is read, and of chunks that end with the file, because OpenCV allocates what a chunk claims.

    OpenCV verifies checksums and data, and gives nothing where they are wrong.
    """
    end = len(PNG_MAGIC)
    while end + 12 <= len(content):
        end += 12 + int.from_bytes(content[end : end + 4])
    if end != len(content) or end <= PNG_SIZE_END:
        raise ValueError(
            f"{path} is a truncated or damaged PNG: its chunks end at byte {end}, the file has {len(content)} bytes; "
            "a header, data and an end that fill the file are expected."
        )
    check_size(path, *struct.unpack_from(">II", content, PNG_SIZE_END - 8))


def check_pnm(path: Path, content: bytes) -> None:
    """PPM or PGM: full scale is 255 or 65535, and there are as many bytes as pixels need.

    Source: the Netpbm formats, ppm(5) and pgm(5).
    """
    header = PNM_HEADER.match(content)
    if header is None:
        raise ValueError(
            f"{path} is not a PPM or PGM: {content[:20]!r} is not a header of kind, width, height and maximum."
        )
    kind, width, height, scale = (int(field) for field in header.groups())
    check_size(path, width, height)
    if scale not in PNM_SCALES:
        raise ValueError(f"{path} holds values up to {scale}; a maximum of 255 or 65535 is expected.")
    samples = width * height * (3 if kind in (3, 6) else 1)
    plain = kind in (2, 3)  # written out in digits, each number with a space after it
    expected = header.end() + (2 * samples - 1 if plain else samples * (1 + PNM_SCALES.index(scale)))
    if len(content) < expected or (not plain and len(content) > expected):
        raise ValueError(
            f"{path} says {width}x{height} pixels, which take {expected} bytes; the file has {len(content)}."
        )


def check_bmp(path: Path, content: bytes) -> None:
    """BMP: pixels that are not packed, all of them there."""
    if len(content) < BMP_HEADER_BYTES:
        raise ValueError(f"{path} is a BMP truncated after {len(content)} bytes.")
    start, _, width, height, _, bits, packing = struct.unpack_from("<IIiiHHI", content, 10)
    check_size(path, width, abs(height))  # a negative height: the top row comes first
    expected = start + 4 * -(-width * bits // 32) * abs(height)
    if packing not in BMP_PLAIN or len(content) < expected:
        raise ValueError(
            f"{path} says {width}x{height} pixels of {bits} bits, packed in way {packing}; way 0 or 3 and {expected} "
            f"bytes are expected, the file has {len(content)}."
        )


def check_tiff(path: Path, content: bytes) -> None:
    """TIFF: Pillow, which is strict, can decode it; OpenCV fills what is missing."""
    from PIL import Image

    try:
        with Image.open(BytesIO(content), formats=["TIFF"]) as picture:
            check_size(path, *picture.size)
            claimed = picture.width * picture.height * len(picture.getbands())
            packed = picture.tag_v2.get(259, TIFF_UNCOMPRESSED) != TIFF_UNCOMPRESSED  # type: ignore[attr-defined]
            if claimed > TIFF_VERIFIED_BYTES and claimed > len(content) * (TIFF_RATIO if packed else 1):
                raise ValueError(f"it claims {claimed} bytes of pixels, the file has {len(content)}")
            picture.load()
    except Exception as error:  # Pillow's plugins raise errors of many kinds
        raise ValueError(f"{path} cannot be read as a TIFF: {error}") from error


def check_webp(path: Path, content: bytes) -> None:
    """WebP: as long as it says; its decoder, unlike the others, gives nothing where data is missing."""
    if content[8:12] != b"WEBP" or len(content) < 8 + int.from_bytes(content[4:8], "little"):
        raise ValueError(f"{path} is not a WebP, or is truncated: {content[:12]!r}, {len(content)} bytes.")


CHECKS: dict[bytes, Callable[[Path, bytes], None]] = {
    PNG_MAGIC: check_png,
    JPEG_MAGIC: check_jpeg,
    **dict.fromkeys((b"P2", b"P3", b"P5", b"P6"), check_pnm),
    b"BM": check_bmp,
    b"RIFF": check_webp,
    **dict.fromkeys((b"II*\0", b"MM\0*"), check_tiff),
}
"""First bytes of the formats that are read; OpenCV knows more, which nobody has checked here."""

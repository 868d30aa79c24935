"""Is a JPEG whole? Where its data ends early, decoders silently fill the rest with grey."""

import re
import struct
from collections.abc import Iterator
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unrollflow.data.io.files import check_size

JPEG_MAGIC = b"\xff\xd8"
PROGRESSIVE = 0xC2
FRAMES = {0xC0, 0xC1, PROGRESSIVE}  # baseline and extended; all with Huffman codes
OTHER_FRAMES = {*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC}
END, SCAN, RESTART_INTERVAL = 0xD9, 0xDA, 0xDD
MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)  # restart markers stand inside a scan
RESTART = re.compile(rb"\xff[\xd0-\xd7]")

VERIFIED_BYTES = 2**26
"""A picture that takes more to decode is first decoded at an eighth of its size, which takes a 64th of the memory."""

NOISE = bytes(37 * k % 251 for k in range(256))
MISSING = 128
"""The grey that stands where there was no data."""


class Jpeg(NamedTuple):
    """What the markers of a JPEG say, up to the end of its first scan."""

    kind: int  # marker of the frame
    width: int
    height: int
    sampling: dict[int, tuple[int, int]]  # of each component: columns and rows of blocks in a unit
    scanned: list[int]  # components of the first scan
    interval: int  # units between restart markers; 0: none
    start: int  # first and last byte of the scan's data
    stop: int


def check_jpeg(path: Path, content: bytes) -> None:
    """Raise ValueError unless a JPEG ends, and its first scan is long enough for its size.

    A scan takes at least a bit a block; of large pictures it is verified.

    Source: ITU-T T.81, JPEG.
    """
    jpeg = parse(path, content)
    check_size(path, jpeg.width, jpeg.height)
    units, blocks = count_blocks(jpeg)
    restarts = len(RESTART.findall(content, jpeg.start, jpeg.stop))
    if blocks > 8 * (jpeg.stop - jpeg.start) or (jpeg.interval and restarts < -(-units // jpeg.interval) - 1):
        raise ValueError(
            f"{path} says {jpeg.width}x{jpeg.height} pixels, {blocks} blocks; its first scan of "
            f"{jpeg.stop - jpeg.start} bytes with {restarts} restart markers cannot hold them."
        )
    pixel_bytes = 12 if jpeg.kind == PROGRESSIVE else 6  # OpenCV holds the pixels twice, of these the coefficients too
    if pixel_bytes * jpeg.width * jpeg.height > VERIFIED_BYTES:
        check_scan(path, content)


def check_scan(path: Path, content: bytes) -> None:
    """Raise ValueError unless the first scan of a JPEG holds all its blocks.

    Noise after the data changes the picture if, and only if, the decoder runs out of data; where it begins anew at
    restart markers, :func:`check_jpeg` counts them.
    """
    stop = parse(path, content).stop
    try:
        whole = eighth(content) == eighth(content[:stop] + NOISE + content[stop:])
    except Exception as error:  # Pillow's plugins raise errors of many kinds
        raise ValueError(f"{path} cannot be read as a JPEG: {error}") from error
    if not whole:
        raise ValueError(f"{path} is a truncated JPEG: its data ends before its last pixel.")


def has_grey_corner(picture: np.ndarray[Any, np.dtype[np.integer[Any] | np.floating[Any]]]) -> bool:
    """Whether a corner of decoded pixels (H, W) or (H, W, C) has the colour of missing data."""
    corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]].reshape(4, -1)
    return bool((corners == MISSING).all(axis=1).any())


def eighth(content: bytes) -> bytes:
    """Pixels of a JPEG decoded at an eighth of its size."""
    from PIL import Image

    with Image.open(BytesIO(content)) as picture:
        picture.draft(None, (1, 1))
        return picture.tobytes()


def parse(path: Path, content: bytes) -> Jpeg:
    """Walk the markers of a JPEG; ValueError unless there is a frame, a scan and an end."""
    frame, scan, frame_kind, interval, start = b"", b"", 0, 0, 0
    for kind, segment, end in segments(content):
        if kind in OTHER_FRAMES:
            raise ValueError(f"{path} is a JPEG of the coding {kind:#x}; baseline and progressive Huffman are read.")
        if kind in FRAMES and not frame:
            frame, frame_kind = segment, kind
        elif kind == SCAN and not scan:
            scan, start = segment, end
        elif kind == RESTART_INTERVAL and not scan:
            interval = int.from_bytes(segment)
        elif kind == END and frame and scan:
            width, height, sampling = read_frame(path, frame)
            scanned = read_scan(path, scan, sampling)
            stop = next_marker(content, start)
            return Jpeg(frame_kind, width, height, sampling, scanned, interval, start, stop)
    raise ValueError(f"{path} is a JPEG truncated after {len(content)} bytes: picture and end marker are expected.")


def segments(content: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Kind and content of each marker segment of a JPEG, and where it ends; the end marker is the last."""
    position = len(JPEG_MAGIC)
    while marker := MARKER.search(content, position):
        kind, start = marker[1][0], marker.end()
        position = start if kind == END else start + max(2, int.from_bytes(content[start : start + 2]))
        yield kind, content[start + 2 : position], position
        if kind == END:
            return


def next_marker(content: bytes, start: int) -> int:
    """Where the next marker begins that stands outside a scan; the end of the file if there is none."""
    marker = MARKER.search(content, start)
    return marker.start() if marker else len(content)


def read_frame(path: Path, frame: bytes) -> tuple[int, int, dict[int, tuple[int, int]]]:
    """Width, height and sampling of the components out of a frame's header."""
    _, height, width, count = struct.unpack(">BHHB", frame[:6].ljust(6, b"\0"))
    parts = frame[6 : 6 + 3 * count]
    sampling = {parts[k]: (parts[k + 1] >> 4, parts[k + 1] & 15) for k in range(0, len(parts) - 2, 3)}
    if not count == len(sampling) > 0 or not all(1 <= side <= 4 for sides in sampling.values() for side in sides):
        raise ValueError(f"{path} is a damaged JPEG: of {count} components, {sampling} are described.")
    return width, height, sampling


def read_scan(path: Path, scan: bytes, sampling: dict[int, tuple[int, int]]) -> list[int]:
    """Components of a scan out of its header."""
    count = scan[0] if scan else 0
    scanned = list(scan[1 : 1 + 2 * count : 2])
    if not count == len(scanned) > 0 or not sampling.keys() >= set(scanned):
        raise ValueError(f"{path} is a damaged JPEG: its first scan has the components {scanned} of {[*sampling]}.")
    return scanned


def count_blocks(jpeg: Jpeg) -> tuple[int, int]:
    """Units and 8x8 blocks of the first scan: a scan of one component has units of one block."""
    across = max(columns for columns, _ in jpeg.sampling.values())
    down = max(rows for _, rows in jpeg.sampling.values())
    if len(jpeg.scanned) == 1:
        columns, rows = jpeg.sampling[jpeg.scanned[0]]
        units = -(-jpeg.width * columns // (8 * across)) * -(-jpeg.height * rows // (8 * down))
        return units, units
    units = -(-jpeg.width // (8 * across)) * -(-jpeg.height // (8 * down))
    return units, units * sum(prod(jpeg.sampling[part]) for part in jpeg.scanned)

"""Is a PNG whole? Decoders give a part of a broken picture in silence, and believe a header that claims gigabytes."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from unrollflow.data.io.files import check_size

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
HEADER_BYTES = 13
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of the types grey, RGB, palette, grey and alpha, RGBA
DEPTHS = (1, 2, 4, 8, 16)
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column and row, and steps between columns and rows, of the passes of an interlaced picture."""

VERIFIED_BYTES = 2**26
"""Data of more bytes than this is unpacked on trial, in pieces, before the decoder may allocate it."""

PIECE_BYTES = 2**18


def check_png(path: Path, content: bytes) -> None:
    """Raise ValueError unless a PNG's chunks are whole and in place, and a large picture's data as long as it claims.

    Source: ISO/IEC 15948, Portable Network Graphics.
    """
    found = list(chunks(path, content))
    kinds = [kind for kind, _ in found]
    if kinds[:1] != [b"IHDR"] or b"IDAT" not in kinds or len(found[0][1]) != HEADER_BYTES:
        raise ValueError(f"{path} is a PNG of the chunks {kinds[:8]}; IHDR of 13 bytes, IDAT and IEND are expected.")
    expected = data_bytes(path, found[0][1])
    if expected > VERIFIED_BYTES:
        actual = unpacked_bytes([data for kind, data in found if kind == b"IDAT"], expected)
        if actual < expected:
            raise ValueError(f"{path} claims {expected} bytes of pixels in its header; its data has {actual}.")


def chunks(path: Path, content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and data of each chunk of a PNG, checksums verified, up to IEND, which must be the end of the file."""
    view, position, kind = memoryview(content), len(PNG_MAGIC), b""
    while kind != b"IEND":
        if position + 12 > len(view):
            raise ValueError(f"{path} is a PNG cut off after {len(view)} bytes: its last chunk is {kind!r}, not IEND.")
        length, kind = struct.unpack_from(">I4s", view, position)
        end = position + 8 + length
        if end + 4 > len(view):
            raise ValueError(f"{path} is a PNG cut off: {kind!r} needs {end + 4} bytes, the file has {len(view)}.")
        if zlib.crc32(view[position + 4 : end]) != struct.unpack_from(">I", view, end)[0]:
            raise ValueError(f"{path} is a damaged PNG: the checksum of {kind!r} at byte {position} is wrong.")
        yield kind, view[position + 8 : end]
        position = end + 4
    if position != len(view):
        raise ValueError(f"{path} is a PNG that ends at byte {position}; the file has {len(view)}.")


def data_bytes(path: Path, header: memoryview) -> int:
    """Bytes of the unpacked data that a header claims: of each row, its filter and its pixels."""
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    check_size(path, width, height)
    if depth not in DEPTHS or kind not in CHANNELS:
        raise ValueError(f"{path} says {depth} bits in colour type {kind}, which no PNG has.")
    bits = depth * CHANNELS[kind]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // step_x), -(-(height - y) // step_y)) for x, y, step_x, step_y in passes]
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)


def unpacked_bytes(parts: list[memoryview], enough: int) -> int:
    """Bytes to which zlib data in parts unpacks, counted up to `enough`, without holding more than a piece."""
    unpacker, count = zlib.decompressobj(), 0
    try:
        for part in parts:
            waiting: bytes | memoryview = part
            while waiting and count < enough:
                count += len(unpacker.decompress(waiting, PIECE_BYTES))
                waiting = unpacker.unconsumed_tail
    except zlib.error:  # what came before the damage is what there is
        return count
    return count

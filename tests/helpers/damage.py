"""Damaged copies of intact files: truncated, with changed or inserted bytes, or with other numbers in the header."""

import struct

from hypothesis import strategies as st

from tests.helpers.pictures import PNG_MAGIC, chunk

HEADER_BYTES = 64
NUMBERS = (0, 1, 2, 255, 256, 5000, 32_768, 40_000, 65_535, 2**27, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
"""Wrong sizes; the last ones are -2^31, -2 and -1 if read as signed numbers."""


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Content with one to four changes, most of them in the header; half of the PNGs get correct checksums."""
    broken = content
    for _ in range(draw(st.integers(1, 4))):
        last = max(0, len(broken) - 1)
        place = draw(st.one_of(st.integers(0, min(HEADER_BYTES, last)), st.integers(0, last)))
        broken = draw(st.sampled_from(MISHAPS))(draw, broken, place)
    if broken.startswith(PNG_MAGIC) and draw(st.booleans()):
        return with_checksums(broken)
    return broken


def cut(draw: st.DrawFn, content: bytes, place: int) -> bytes:
    return content[:place]


def flip(draw: st.DrawFn, content: bytes, place: int) -> bytes:
    flipped = content[place : place + 1] and bytes([content[place] ^ draw(st.integers(1, 255))])
    return content[:place] + flipped + content[place + 1 :]


def insert(draw: st.DrawFn, content: bytes, place: int) -> bytes:
    return content[:place] + draw(st.binary(min_size=1, max_size=300)) + content[place:]


def leave_out(draw: st.DrawFn, content: bytes, place: int) -> bytes:
    return content[:place] + content[place + draw(st.integers(1, 300)) :]


def lie(draw: st.DrawFn, content: bytes, place: int) -> bytes:
    """Another number of 16 or 32 bits, or written in digits, little or big endian."""
    kind = draw(st.sampled_from(["<I", ">I", "<H", ">H", "digits"]))
    number = draw(st.sampled_from(NUMBERS))
    if kind == "digits":
        return content[:place] + str(number).encode() + content[place + 1 :]
    reported = struct.pack(kind, number % 2 ** (8 * struct.calcsize(kind)))
    return content[:place] + reported + content[place + len(reported) :]


MISHAPS = (cut, flip, insert, leave_out, lie)


def with_checksums(content: bytes) -> bytes:
    """The same chunks of a PNG with correct checksums, up to the first damaged chunk."""
    whole, place = PNG_MAGIC, len(PNG_MAGIC)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        data = content[place + 8 : place + 8 + length]
        whole += chunk(kind, data)
        place += 12 + len(data)
    return whole

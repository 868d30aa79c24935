"""A tar file of pairs of frames, read in any order; only images are decoded."""

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from unrollflow.contracts import FlowSample
from unrollflow.data.io.images import IMAGE_SUFFIXES, image_of

MEMBER = re.compile(r"((?:.*/)?[^./]+)\.(image[12])(\.[a-z]+)")
"""Name of a sample, up to the first dot of its last part (WebDataset's rule), the frame, and the format."""


class Member(NamedTuple):
    """Position and size of a file in a tar file, bytes."""

    name: str
    offset: int
    size: int


class TarShard:
    """Pairs of frames of an open tar file; the headers are read once, then only the requested samples.

    Its members are NAME.image1.SUFFIX and NAME.image2.SUFFIX, images that :func:`read_image` can read. Other members,
    such as pickled objects, links or compressed files, raise an error; code in the file is never run.

    Args:
        file: open, uncompressed tar file; it stays open.
        name: name of the shard, for error messages.

    Raises:
        ValueError: naming shard and member, if it is not such a file, or is truncated.
    """

    def __init__(self, file: IO[bytes], *, name: str) -> None:
        self.file, self.name = file, name
        pairs: dict[str, dict[str, Member]] = {}
        try:
            for member in members(file):
                key, frame = read_name(member.name)
                if frame in pairs.setdefault(key, {}):
                    raise ValueError(f"{member.name} is another {frame} of {key}")
                pairs[key][frame] = member
            lacking = next((key for key, frames in pairs.items() if len(frames) < 2), None)
            if lacking is not None:
                raise ValueError(f"{lacking} has only {next(iter(pairs[lacking]))}")
        except Exception as error:  # tarfile raises errors of many kinds
            raise ValueError(f"{name} is not a shard of pairs of frames: {error}") from error
        self.pairs = [(key, frames["image1"], frames["image2"]) for key, frames in pairs.items()]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> FlowSample:
        """Return a pair; raise ValueError, naming shard and member, if an image is damaged, or their sizes differ."""
        key, *frames = self.pairs[index]
        try:
            image1, image2 = (image_of(Path(frame.name), self._content(frame)) for frame in frames)
            if image1.shape != image2.shape:
                sizes = ["x".join(map(str, image.shape[-2:])) for image in (image1, image2)]
                raise ValueError(f"{frames[0].name} is {sizes[0]}, but {frames[1].name} is {sizes[1]}")
        except ValueError as error:
            raise ValueError(f"shard {self.name}, member {error}") from error
        return FlowSample(image1=image1, image2=image2, name=key)

    def _content(self, member: Member) -> bytes:
        # pread, because forked workers share the position of an open file
        return os.pread(self.file.fileno(), member.size, member.offset)


def read_name(name: str) -> tuple[str, str]:
    """Name of the sample and of the frame from a member's name.

    >>> read_name("00000012/clips/a.mp4/frame_7.image1.png")
    ('00000012/clips/a.mp4/frame_7', 'image1')
    >>> read_name("00000012.image1.pkl")
    Traceback (most recent call last):
    ValueError: member 00000012.image1.pkl is refused; expected NAME.image1.png or NAME.image2.png, or another ...
    """
    found = MEMBER.fullmatch(name)
    if found is None or found[3] not in IMAGE_SUFFIXES:
        raise ValueError(
            f"member {name} is refused; expected NAME.image1.png or NAME.image2.png, or another image suffix such as "
            ".jpg"
        )
    return found[1], found[2]


def members(file: IO[bytes]) -> Iterator[Member]:
    """Yield the files of an open tar file; raise ValueError for other members, overlaps, or a truncated file."""
    end, total = 0, os.fstat(file.fileno()).st_size
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for info in archive:
            if info.isdir():
                continue
            if not info.isreg() or info.issparse():
                raise ValueError(f"member {info.name} is not a plain file")
            if info.offset < end or info.size < 0 or info.offset_data + info.size > total:
                raise ValueError(f"member {info.name} overlaps the previous member or exceeds the file")
            end = info.offset_data + info.size
            yield Member(info.name, info.offset_data, info.size)

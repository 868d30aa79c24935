"""One tar file of pairs of frames, read in any order; pictures are all that is ever decoded of it."""

import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from unrollflow.contracts import FlowSample
from unrollflow.data.io.images import IMAGE_SUFFIXES, image_of

MEMBER = re.compile(r"((?:.*/)?[^./]+)\.(image[12])(\.[a-z]+)")
"""A sample's name, up to the first dot of its last part (WebDataset's rule), then which frame, and the format."""


class Member(NamedTuple):
    """Where a file stands in a tar file; bytes."""

    name: str
    offset: int
    size: int


class TarShard:
    """Pairs of frames of an open tar file, which is read by headers once, and then where a sample stands.

    Its members are NAME.image1.SUFFIX and NAME.image2.SUFFIX, pictures as :func:`read_image` takes them. Whatever else
    is in it, such as pickled objects, links or compressed members, is refused; nothing of it is ever run.

    Args:
        file: open tar file, not compressed; it stays open.
        name: of the shard, for errors.

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
                raise ValueError(f"{lacking} has {next(iter(pairs[lacking]))} alone")
        except Exception as error:  # tarfile raises errors of many kinds
            raise ValueError(f"{name} is not a shard of pairs of frames: {error}") from error
        self.pairs = [(key, frames["image1"], frames["image2"]) for key, frames in pairs.items()]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> FlowSample:
        """A pair; ValueError, naming shard and member, if one is damaged, or their sizes differ."""
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
        # by its place, not from where the last one ended: forked workers share that with each other
        return os.pread(self.file.fileno(), member.size, member.offset)


def read_name(name: str) -> tuple[str, str]:
    """Sample and frame of a member's name.

    >>> read_name("00000012/clips/a.mp4/frame_7.image1.png")
    ('00000012/clips/a.mp4/frame_7', 'image1')
    >>> read_name("00000012.image1.pkl")
    Traceback (most recent call last):
    ValueError: member 00000012.image1.pkl is refused; NAME.image1.png and NAME.image2.png, or .jpg and the like, ...
    """
    found = MEMBER.fullmatch(name)
    if found is None or found[3] not in IMAGE_SUFFIXES:
        raise ValueError(
            f"member {name} is refused; NAME.image1.png and NAME.image2.png, or .jpg and the like, are read, and "
            "nothing else"
        )
    return found[1], found[2]


def members(file: IO[bytes]) -> Iterator[Member]:
    """Files of an open tar file; an error if one is none, or does not lie behind the last one and inside the file."""
    end, total = 0, os.fstat(file.fileno()).st_size
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for info in archive:
            if info.isdir():
                continue
            if not info.isreg() or info.issparse():
                raise ValueError(f"member {info.name} is not a plain file")
            if info.offset < end or info.size < 0 or info.offset_data + info.size > total:
                raise ValueError(f"member {info.name} does not lie inside it, behind the one before")
            end = info.offset_data + info.size
            yield Member(info.name, info.offset_data, info.size)

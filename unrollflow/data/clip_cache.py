"""Videos decoded once, into folders of pictures of a cache of bounded size.

The decoder runs in a process of its own (`python -m unrollflow.data.clip_cache`): a damaged file that ends it becomes
an error that names the file. A clip's folder appears when it is complete, so a killed run leaves nothing half.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from torch import Tensor
from tqdm import tqdm

from unrollflow.data.codecs import existing, write_image
from unrollflow.data.pair_filter import Thumbnails, thumbnail
from unrollflow.data.video import read_video
from unrollflow.ops import resize_image

GIGABYTE = 10**9
ABANDONED = 24 * 3600
"""Seconds after which an unfinished folder is taken for that of a killed process."""

UNFINISHED = ".decoding-"
FACTS, THUMBNAILS = "clip.json", "thumbnails.npy"


class Clip(NamedTuple):
    """Frames in their order, and the small pictures that they are judged by.

    Attributes:
        name: of the video or folder, relative to where it was looked for.
        frames: files.
        thumbnails: (N, 36, 64).
    """

    name: str
    frames: list[Path]
    thumbnails: Thumbnails


class ClipCache:
    """Folders of decoded clips, of which the least recently used go when there are too many.

    Use it as a context, which starts one decoder for all clips that need it, and ends it.

    Args:
        folder: where they lie; it is made.
        gigabytes: bound of their size. A clip that does not fit beside those that this object has given is decoded
            as far as it fits.

    Raises:
        ValueError: if the bound is not positive.
    """

    def __init__(self, folder: Path, *, gigabytes: float) -> None:
        if gigabytes <= 0:
            raise ValueError(f"cache_gigabytes is {gigabytes}; it must be more than 0.")
        self.folder, self.bound = Path(folder).expanduser(), int(gigabytes * GIGABYTE)
        self.given: set[Path] = set()
        self.decoder: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.decoder is not None:
            self.decoder.kill()
            self.decoder.communicate()
            self.decoder = None

    def clip(self, path: Path, *, name: str, shorter_side: int | None) -> Clip | None:
        """The clip of a video, decoded now or earlier; None where not two frames fit into the cache.

        Args:
            path: the video.
            name: of the clip.
            shorter_side: pixels to which larger frames are shrunk, None: not at all.

        Raises:
            FileNotFoundError, ValueError: naming the video, if it is not there, or cannot be decoded.
        """
        path = existing(path)
        target = self.folder / f"{path.stem}-{key(path, shorter_side)}"
        room = self.bound - sum(size(folder) for folder in self.given if folder != target)
        facts = read_facts(target)
        if facts is None or (facts["cut_short_at"] is not None and facts["cut_short_at"] < room):
            self._decode(path, target, shorter_side, room)
        os.utime(target)
        self.given.add(target)
        self._evict()
        frames = sorted(target.glob("*.png"))
        return Clip(name, frames, np.load(target / THUMBNAILS)) if len(frames) > 1 else None

    def _decode(self, path: Path, target: Path, shorter_side: int | None, room: int) -> None:
        """Decode a video into its folder, in another process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(mkdtemp(prefix=UNFINISHED, dir=self.folder))
        try:
            complaint = self._ask(path, unfinished, shorter_side, room)
            if complaint:
                raise ValueError(complaint)
            shutil.rmtree(target, ignore_errors=True)
            unfinished.replace(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _ask(self, path: Path, unfinished: Path, shorter_side: int | None, room: int) -> str:
        """Have the decoder work, started where there is none; what it has to complain of, or nothing."""
        if self.decoder is None:
            command = [sys.executable, "-m", "unrollflow.data.clip_cache"]
            self.decoder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.decoder.stdin is not None
        assert self.decoder.stdout is not None
        with suppress(BrokenPipeError):  # what has ended answers nothing below
            print(json.dumps([str(path), str(unfinished), shorter_side, room]), file=self.decoder.stdin, flush=True)
        answer = self.decoder.stdout.readline()
        if answer:
            complaint: str = json.loads(answer)
            return complaint
        status = self.decoder.wait()
        self.decoder = None
        return f"{path} cannot be decoded: the decoder ended with status {status}."

    def _evict(self) -> None:
        """Delete what killed processes left, then the least recently used clips until the bound is kept."""
        for left in self.folder.glob(f"{UNFINISHED}*"):
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
        clips = [path.parent for path in self.folder.glob(f"*/{FACTS}")]
        total = sum(map(size, clips))
        for oldest in sorted(set(clips) - self.given, key=lambda folder: folder.stat().st_mtime):
            if total <= self.bound:
                return
            total -= size(oldest)
            shutil.rmtree(oldest, ignore_errors=True)


def key(path: Path, shorter_side: int | None) -> str:
    """Letters that change when a file, or what is made of it, does."""
    status = path.stat()
    identity = f"{path.resolve()} {status.st_size} {status.st_mtime_ns} {shorter_side}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def size(folder: Path) -> int:
    """Bytes of a clip's folder, as noted there."""
    facts = read_facts(folder)
    return facts["bytes"] or 0 if facts else 0


def read_facts(folder: Path) -> dict[str, int | None] | None:
    """What is noted of a decoded clip; None where there is none."""
    path = folder / FACTS
    facts: dict[str, int | None] = json.loads(path.read_text()) if path.is_file() else {}
    return facts or None


def shrunk(image: Tensor, shorter_side: int | None) -> Tensor:
    """An image (3, H, W) whose shorter side is at most so many pixels, its aspect kept; None: as it is.

    >>> import torch
    >>> [tuple(shrunk(torch.rand(3, 20, 30), side).shape) for side in (10, 50, None)]
    [(3, 10, 15), (3, 20, 30), (3, 20, 30)]
    """
    height, width = image.shape[-2:]
    factor = min(1.0, (shorter_side or height + width) / min(height, width))
    return resize_image(image[None], (round(factor * height), round(factor * width)))[0]


def decode_clip(path: Path, folder: Path, *, shorter_side: int | None, room: int) -> None:
    """Write the frames of a video as 000000.png, 000001.png, ..., with their thumbnails, as far as there is room.

    Args:
        path: the video.
        folder: to write to.
        shorter_side: pixels to which larger frames are shrunk, None: not at all.
        room: bytes that the folder may take.
    """
    thumbnails: list[Thumbnails] = []
    written, cut_short_at = 0, None
    for number, frame in enumerate(tqdm(read_video(path), desc=f"decoding {path.name}", unit=" frames", leave=False)):
        file = folder / f"{number:06d}.png"
        write_image(file, shrunk(frame, shorter_side))
        thumbnails.append(thumbnail(frame))
        written += file.stat().st_size + thumbnails[-1].nbytes
        if written > room:
            file.unlink()
            thumbnails.pop()
            cut_short_at = room
            break
    np.save(folder / THUMBNAILS, np.stack(thumbnails) if thumbnails else np.zeros((0, 1, 1), np.float32))
    (folder / FACTS).write_text(json.dumps({"bytes": min(written, room), "cut_short_at": cut_short_at}))


def main() -> None:
    """Decode clips as the process of :class:`ClipCache`: a request a line, and a line of what is wrong, or nothing."""
    for request in sys.stdin:
        path, folder, shorter_side, room = json.loads(request)
        complaint = ""
        try:
            decode_clip(Path(path), Path(folder), shorter_side=shorter_side, room=room)
        except (ValueError, OSError) as error:
            complaint = str(error)
        print(json.dumps(complaint), flush=True)  # noqa: T201, for the process that waits


if __name__ == "__main__":
    main()

"""Videos decoded once, into folders of pictures of a cache of bounded size.

The decoder runs in a process of its own (`python -m unrollflow.data.video.clip_decoder`): a damaged file that ends it
becomes an error that names the file. A clip's folder appears when it is complete, so a killed run leaves nothing half.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import NamedTuple, Self, cast

import numpy as np

from unrollflow.data.io.flow import existing
from unrollflow.data.shards.cache_locks import Lease, leased, locked
from unrollflow.data.video.clip_decoder import FACTS, THUMBNAILS, Facts, read_facts, size
from unrollflow.data.video.scene_cuts import Thumbnails

GIGABYTE = 10**9

UNFINISHED = ".decoding-"
DECODING, TAKING = ".decoding.lock", ".taking.lock"
"""Locked for as long as a video is decoded, and for the moment in which clips are looked for, placed and deleted."""


class Clip(NamedTuple):
    """Frames in their order, and the small pictures that they are judged by.

    Attributes:
        name: of the video or folder, relative to where it was looked for.
        frames: files.
        thumbnails: (N, 36, 64).
        cut_short: whether the cache had no room for more of it.
    """

    name: str
    frames: list[Path]
    thumbnails: Thumbnails
    cut_short: bool = False


class CacheFullWarning(UserWarning):
    """A cache has no room for all that is used of it."""


class ClipCache:
    """Folders of decoded clips, of which the least recently used go when there are too many.

    Use it as a context, which starts one decoder for all clips that need it, and ends it. Several processes may share
    a folder: they decode in turn, and what one of them uses no other deletes or replaces.

    Args:
        folder: where they lie; it is made.
        gigabytes: bound of their size. A clip that does not fit beside those that are in use, here or in another
            process, is decoded as far as it fits, with a CacheFullWarning.

    Attributes:
        lease: keeps the clips that were given; hold it as long as they are used. None before the first.

    Raises:
        ValueError: if the bound is not positive.
    """

    def __init__(self, folder: Path, *, gigabytes: float) -> None:
        if gigabytes <= 0:
            raise ValueError(f"cache_gigabytes is {gigabytes}; it must be more than 0.")
        self.folder, self.bound = Path(folder).expanduser(), int(gigabytes * GIGABYTE)
        self.lease: Lease | None = None
        self.warned = False
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
        if self.lease is not None:
            with locked(self.folder / TAKING):
                self._evict()

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
        self.folder.mkdir(parents=True, exist_ok=True)
        facts = self._take(target)
        if facts is None:
            # one at a time: two would fill the same room, and may well want the same video
            with locked(self.folder / DECODING):
                facts = self._take(target) or self._decode(path, target, shorter_side)
        frames = sorted(target.glob("*.png"))
        cut_short = facts["cut_short_at"] is not None
        if cut_short:
            self._warn(f"holds {len(frames)} frames of {path}, whose others did not fit beside the clips in use")
        return Clip(name, frames, np.load(target / THUMBNAILS), cut_short) if len(frames) > 1 else None

    def _take(self, target: Path) -> Facts | None:
        """Hold a decoded clip; None where it is not there, too large, or cut shorter than it has to be now."""
        with locked(self.folder / TAKING):
            facts, in_use = read_facts(target), leased(self.folder)
            if facts is None:
                return None
            if target.name not in in_use:  # else nobody could replace it
                room, cut_short_at = self._room(in_use), facts["cut_short_at"]
                if facts["bytes"] > room or (cut_short_at is not None and cut_short_at < room):
                    return None
            return self._hold(target, facts)

    def _decode(self, path: Path, target: Path, shorter_side: int | None) -> Facts:
        """Decode a video into its folder, in another process, and hold it."""
        for left in self.folder.glob(f"{UNFINISHED}*"):  # by killed processes: nobody else decodes now
            shutil.rmtree(left, ignore_errors=True)
        with locked(self.folder / TAKING):
            room = self._room(leased(self.folder))
        unfinished = Path(mkdtemp(prefix=UNFINISHED, dir=self.folder))
        try:
            complaint = self._ask(path, unfinished, shorter_side, room)
            if complaint:
                raise ValueError(complaint)
            with locked(self.folder / TAKING):
                if target.name not in leased(self.folder):  # by one to whom an older one was good enough
                    shutil.rmtree(target, ignore_errors=True)
                    unfinished.replace(target)
                facts = self._hold(target, cast(Facts, read_facts(target)))
                self._evict()
                return facts
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _room(self, in_use: dict[str, int]) -> int:
        """Bytes that a clip may take beside those in use."""
        return max(0, self.bound - sum(in_use.values()))

    def _hold(self, target: Path, facts: Facts) -> Facts:
        """Add a clip to the lease, as the one that was used last."""
        self.lease = self.lease or Lease(self.folder)
        self.lease.add(target.name, facts["bytes"])
        os.utime(target)
        return facts

    def _evict(self) -> None:
        """Delete the least recently used of the clips that nobody uses until the bound is kept."""
        clips = {path.parent for path in self.folder.glob(f"*/{FACTS}") if not path.parent.name.startswith(UNFINISHED)}
        in_use = leased(self.folder)
        total = sum(map(size, clips))
        for oldest in sorted((f for f in clips if f.name not in in_use), key=lambda folder: folder.stat().st_mtime):
            if total <= self.bound:
                break
            total -= size(oldest)
            shutil.rmtree(oldest, ignore_errors=True)
        if total > self.bound:
            self._warn(f"holds {total} bytes of clips that are all in use")

    def _warn(self, what: str) -> None:
        """Say once that the bound is too small."""
        if not self.warned:
            warnings.warn(
                f"the cache {self.folder} {what}; its bound is {self.bound} bytes. Give a larger cache_gigabytes, or "
                "another cache where other processes use this one.",
                CacheFullWarning,
                stacklevel=2,
            )
        self.warned = True

    def _ask(self, path: Path, unfinished: Path, shorter_side: int | None, room: int) -> str:
        """Have the decoder work, started where there is none; what it has to complain of, or nothing."""
        if self.decoder is None:
            command = [sys.executable, "-m", "unrollflow.data.video.clip_decoder"]
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


def key(path: Path, shorter_side: int | None) -> str:
    """Letters that change when a file, or what is made of it, does."""
    status = path.stat()
    identity = f"{path.resolve()} {status.st_size} {status.st_mtime_ns} {shorter_side}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]

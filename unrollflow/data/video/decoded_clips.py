"""Cache of decoded videos, each as a folder of images."""

import hashlib
import shutil
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from torch import Tensor
from tqdm import tqdm

from unrollflow.data.datasets.frames import natural_key
from unrollflow.data.io.files import UMASK, existing
from unrollflow.data.io.flow import write_image
from unrollflow.data.io.locks import locked
from unrollflow.data.video.codec import read_video
from unrollflow.data.video.scene_cuts import Thumbnails, thumbnail
from unrollflow.ops import resize_image

GIGABYTE = 10**9
LOCK, UNFINISHED = ".decoding.lock", ".decoding-"
THUMBNAILS, BYTES = "thumbnails.npy", "bytes.txt"


class DecodedClips:
    """Folder with a subfolder of frames for each video, decoded on first use.

    The subfolder of a clip appears when it is complete. Incomplete subfolders of killed processes are deleted when the
    next video is decoded. Processes may share the folder; one of them decodes at a time.

    Args:
        folder: folder of the clips; it is created.
        gigabytes: maximum size of the folder, GB.

    Raises:
        ValueError: if the maximum size is not positive.
    """

    def __init__(self, folder: Path, *, gigabytes: float) -> None:
        if not gigabytes > 0:
            raise ValueError(f"cache_gigabytes is {gigabytes}; it must be more than 0.")
        self.folder, self.gigabytes = Path(folder).expanduser(), gigabytes

    def __str__(self) -> str:
        return f"{self.folder} contains {self.size() / GIGABYTE:.2f} GB of decoded videos (limit {self.gigabytes} GB)"

    def size(self) -> int:
        """Size of all complete clips, bytes."""
        return sum(int(note.read_text()) for note in self.folder.glob(f"[!.]*/{BYTES}"))

    def frames(self, path: Path, *, shorter_side: int | None) -> tuple[list[Path], Thumbnails]:
        """Files of the frames of a video in order, and their thumbnails (N, 36, 64).

        Args:
            path: the video.
            shorter_side: length to which the shorter side of larger frames is shrunk, pixels; None: do not shrink.

        Raises:
            FileNotFoundError, ValueError: naming the video, if it does not exist, cannot be decoded, or exceeds the
                maximum size.
        """
        clip = self.folder / f"{path.stem}-{key(existing(path), shorter_side)}"
        if not clip.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / LOCK):
                if not clip.is_dir():  # otherwise, another process has decoded it meanwhile
                    self._decode(path, clip, shorter_side)
        return sorted(clip.glob("*.png"), key=natural_key), np.load(clip / THUMBNAILS)

    def _decode(self, path: Path, clip: Path, shorter_side: int | None) -> None:
        for left in self.folder.glob(f"{UNFINISHED}*"):  # of killed processes, because no other process decodes now
            shutil.rmtree(left, ignore_errors=True)
        unfinished = Path(mkdtemp(prefix=UNFINISHED, dir=self.folder))
        try:
            room, taken, thumbnails = self.gigabytes * GIGABYTE - self.size(), 0, []
            for number, frame in enumerate(
                tqdm(read_video(path), f"decoding {path.name}", unit=" frames", leave=False)
            ):
                file = unfinished / f"{number:06d}.png"
                write_image(file, shrunk(frame, shorter_side))
                thumbnails.append(thumbnail(frame))
                taken += file.stat().st_size + thumbnails[-1].nbytes
                if taken > room:
                    raise ValueError(
                        f"no space in the cache for {path}: {self}. Use a larger cache_gigabytes, a smaller "
                        f"shorter_side or another cache, or delete subfolders of {self.folder}, which are decoded "
                        "again when needed."
                    )
            np.save(unfinished / THUMBNAILS, np.stack(thumbnails))
            (unfinished / BYTES).write_text(str(taken))
            unfinished.chmod(0o777 & ~UMASK)  # by default only the owner can read a temporary folder
            unfinished.replace(clip)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def key(path: Path, shorter_side: int | None) -> str:
    """Hash of a file's identity and of the size to which its frames are shrunk."""
    status = path.stat()
    identity = f"{shorter_side} {status.st_size} {status.st_mtime_ns} {path.resolve()}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def shrunk(image: Tensor, shorter_side: int | None) -> Tensor:
    """Image (3, H, W) whose shorter side is shrunk to at most `shorter_side` pixels, with the same aspect ratio.

    >>> import torch
    >>> [tuple(shrunk(torch.rand(3, 20, 30), side).shape) for side in (10, 50, None)]
    [(3, 10, 15), (3, 20, 30), (3, 20, 30)]
    """
    height, width = image.shape[-2:]
    factor = min(1.0, (shorter_side or height + width) / min(height, width))
    return resize_image(image[None], (round(factor * height), round(factor * width)))[0]

"""Videos decoded once, each into a folder of pictures."""

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
    """A folder that holds a folder of frames for each video, decoded when it is first asked for.

    A clip's folder appears when it is complete. What a killed process has left is deleted when the next video is
    decoded. Processes may share the folder: they decode one at a time.

    Args:
        folder: where the clips are; it is created.
        gigabytes: limit of its size.

    Raises:
        ValueError: if the limit is not positive.
    """

    def __init__(self, folder: Path, *, gigabytes: float) -> None:
        if not gigabytes > 0:
            raise ValueError(f"cache_gigabytes is {gigabytes}; it must be more than 0.")
        self.folder, self.gigabytes = Path(folder).expanduser(), gigabytes

    def __str__(self) -> str:
        return f"{self.folder} holds {self.size() / GIGABYTE:.2f} GB of decoded videos (limit {self.gigabytes} GB)"

    def size(self) -> int:
        """Bytes of all complete clips."""
        return sum(int(note.read_text()) for note in self.folder.glob(f"[!.]*/{BYTES}"))

    def frames(self, path: Path, *, shorter_side: int | None) -> tuple[list[Path], Thumbnails]:
        """Frames of a video in their order, and their thumbnails (N, 36, 64).

        Args:
            path: the video.
            shorter_side: pixels to which larger frames are shrunk, None: not at all.

        Raises:
            FileNotFoundError, ValueError: naming the video, if it is not there or cannot be decoded, or if the limit
                is exceeded.
        """
        clip = self.folder / f"{path.stem}-{key(existing(path), shorter_side)}"
        if not clip.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / LOCK):
                if not clip.is_dir():  # else another process has decoded it meanwhile
                    self._decode(path, clip, shorter_side)
        return sorted(clip.glob("*.png"), key=natural_key), np.load(clip / THUMBNAILS)

    def _decode(self, path: Path, clip: Path, shorter_side: int | None) -> None:
        for left in self.folder.glob(f"{UNFINISHED}*"):  # by killed processes: nobody else decodes now
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
                        f"{self}, and {path} does not fit: give a larger cache_gigabytes, a smaller shorter_side or "
                        f"another cache, or delete folders of {self.folder}: videos are decoded again when needed."
                    )
            np.save(unfinished / THUMBNAILS, np.stack(thumbnails))
            (unfinished / BYTES).write_text(str(taken))
            unfinished.chmod(0o777 & ~UMASK)  # a temporary folder is readable by its owner alone
            unfinished.replace(clip)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def key(path: Path, shorter_side: int | None) -> str:
    """Letters that change when a file, or the size to which it is shrunk, does."""
    status = path.stat()
    identity = f"{shorter_side} {status.st_size} {status.st_mtime_ns} {path.resolve()}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def shrunk(image: Tensor, shorter_side: int | None) -> Tensor:
    """An image (3, H, W) whose shorter side is at most a number of pixels, its aspect kept; None: as it is.

    >>> import torch
    >>> [tuple(shrunk(torch.rand(3, 20, 30), side).shape) for side in (10, 50, None)]
    [(3, 10, 15), (3, 20, 30), (3, 20, 30)]
    """
    height, width = image.shape[-2:]
    factor = min(1.0, (shorter_side or height + width) / min(height, width))
    return resize_image(image[None], (round(factor * height), round(factor * width)))[0]

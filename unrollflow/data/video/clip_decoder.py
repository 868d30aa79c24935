"""Videos written as folders of pictures, in a process of its own, and what is noted of such a folder."""

import json
import sys
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
from torch import Tensor
from tqdm import tqdm

from unrollflow.data.io.flow import write_image
from unrollflow.data.video.codec import read_video
from unrollflow.data.video.scene_cuts import Thumbnails, thumbnail
from unrollflow.ops import resize_image

FACTS, THUMBNAILS = "clip.json", "thumbnails.npy"


class Facts(TypedDict):
    """What is noted of a decoded clip.

    Attributes:
        bytes: of its frames and thumbnails.
        cut_short_at: bytes that there was room for, None: for all of it.
    """

    bytes: int
    cut_short_at: int | None


def size(folder: Path) -> int:
    """Bytes of a clip's folder, as noted there."""
    facts = read_facts(folder)
    return facts["bytes"] if facts else 0


def read_facts(folder: Path) -> Facts | None:
    """What is noted of a decoded clip; None where there is none."""
    path = folder / FACTS
    return cast(Facts, json.loads(path.read_text())) if path.is_file() else None


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
    facts = Facts(bytes=0, cut_short_at=None)
    for number, frame in enumerate(tqdm(read_video(path), desc=f"decoding {path.name}", unit=" frames", leave=False)):
        file, small = folder / f"{number:06d}.png", thumbnail(frame)
        write_image(file, shrunk(frame, shorter_side))
        takes = file.stat().st_size + small.nbytes
        if facts["bytes"] + takes > room:
            file.unlink()
            facts["cut_short_at"] = room
            break
        thumbnails.append(small)
        facts["bytes"] += takes
    np.save(folder / THUMBNAILS, np.stack(thumbnails) if thumbnails else np.zeros((0, 1, 1), np.float32))
    (folder / FACTS).write_text(json.dumps(facts))


def main() -> None:
    """Decode clips as the process of a clip cache: a request a line, and a line of what is wrong, or nothing."""
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

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.clips import write_video
from unrollflow.data.video.codec import read_video

F = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
"""A letter that looks different in all eight orientations."""

ORIENTATIONS = {
    "as stored": ((1, 0, 0, 1), F),
    "clockwise": ((0, 1, -1, 0), [[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]]),
    "upside down": ((-1, 0, 0, -1), [[0, 0, 1], [0, 1, 1], [0, 0, 1], [1, 1, 1]]),
    "counter-clockwise": ((0, -1, 1, 0), [[1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]]),
    "mirrored": ((-1, 0, 0, 1), [[1, 1, 1], [0, 0, 1], [0, 1, 1], [0, 0, 1]]),
    "flipped": ((1, 0, 0, -1), [[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 1]]),
    "transposed": ((0, 1, 1, 0), [[1, 1, 1, 1], [1, 0, 1, 0], [1, 0, 0, 0]]),
    "transposed upside down": ((0, -1, -1, 0), [[0, 0, 0, 1], [0, 1, 0, 1], [1, 1, 1, 1]]),
}


@pytest.mark.parametrize(("matrix", "expected"), ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_frames_come_as_the_display_matrix_says(
    tmp_path: Path, matrix: tuple[int, int, int, int], expected: list[list[int]]
) -> None:
    blocks = torch.from_numpy(F).repeat_interleave(16, 0).repeat_interleave(16, 1)
    path = write_video(tmp_path / "a.mp4", 2 * [blocks.float().expand(3, -1, -1)])
    content = path.read_bytes()
    place = content.index(b"tkhd") + 44  # behind the kind, version and flags, times, duration, layer and volume
    assert content[place : place + 36] == display_matrix(1, 0, 0, 1)
    path.write_bytes(content[:place] + display_matrix(*matrix) + content[place + 36 :])
    frame = next(read_video(path))
    assert (frame[0, 8::16, 8::16] > 0.5).int().tolist() == np.array(expected).tolist()


def display_matrix(a: int, b: int, c: int, d: int) -> bytes:
    """Of an .mp4: (x, y) is displayed at (a x + c y, b x + d y); 16.16 bits, in the last column 2.30."""
    return struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)

"""Small clips for the tests: a texture that moves by a known number of pixels a frame."""

from collections.abc import Iterable
from pathlib import Path

import av
import torch
import torch.nn.functional as F
from torch import Tensor

from unrollflow.data import write_image
from unrollflow.data.video.writer import VideoWriter


def moving(count: int, *, seed: int = 0, size: tuple[int, int] = (48, 80), speed: int = 2) -> list[Tensor]:
    """Frames (3, H, W) of a smooth grey texture that moves to the left."""
    generator = torch.Generator().manual_seed(seed)
    wide = (size[0], size[1] + speed * count)
    grey = F.interpolate(torch.rand(1, 1, wide[0] // 8, wide[1] // 8, generator=generator), wide, mode="bilinear")
    texture = grey[0].expand(3, -1, -1)
    return [texture[..., speed * i : speed * i + size[1]] for i in range(count)]


def write_video(path: Path, frames: Iterable[Tensor], *, rate: int = 10) -> Path:
    with VideoWriter(path, rate) as video:
        for frame in frames:
            video.write(frame)
    return path


def write_frames(folder: Path, frames: Iterable[Tensor]) -> Path:
    """frame_0.png, frame_1.png, ...: without leading zeros, so that only a natural order is the right one."""
    for i, frame in enumerate(frames):
        write_image(folder / f"frame_{i}.png", frame)
    return folder


def write_truncated(path: Path, frames: Iterable[Tensor], *, share: float) -> Path:
    """Write a truncated video; the suffix of the path selects a container with its header at the front."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        pictures = [(255 * frame).byte().permute(1, 2, 0).contiguous().numpy() for frame in frames]
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        for pixels in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path

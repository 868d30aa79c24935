from pathlib import Path

import av
import pytest
import torch

from tests.helpers.clips import moving, write_video
from unrollflow.data.video.codec import frame_rate, read_video
from unrollflow.data.video.writer import ENCODERS, VideoWriter


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    frames = moving(6)
    path = write_video(tmp_path / "deep" / "a.mp4", frames, rate=12)
    read = list(read_video(path))
    assert len(read) == 6
    assert frame_rate(path) == 12
    for ours, theirs in zip(read, frames, strict=True):
        assert (ours - theirs).abs().mean() < 0.02
        assert 0 <= ours.min() <= ours.max() <= 1


def test_odd_sizes_grow_by_a_repeated_row_and_column(tmp_path: Path) -> None:
    frame = next(read_video(write_video(tmp_path / "a.mp4", moving(2, size=(33, 47)))))
    assert tuple(frame.shape) == (3, 34, 48)
    assert (frame[:, -1] - frame[:, -2]).abs().mean() < 0.02


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    def stops() -> None:
        with VideoWriter(tmp_path / "a.mp4", 10) as video:
            video.write(moving(1)[0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stops()
    with pytest.raises(ValueError, match="no frames were written"), VideoWriter(tmp_path / "a.mp4", 10):
        pass
    assert not list(tmp_path.iterdir())


def test_frames_of_other_shapes_are_named(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 10) as video:
        video.write(torch.rand(3, 16, 16))
        with pytest.raises(ValueError, match="16x18, but earlier frames are 16x16"):
            video.write(torch.rand(3, 16, 18))
        with pytest.raises(ValueError, match=r"expected \(3, H, W\)"):
            video.write(torch.rand(1, 16, 16))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_is_positive(tmp_path: Path, rate: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        VideoWriter(tmp_path / "a.mp4", rate)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("size", [(16, 16), (720, 1280)])
@pytest.mark.parametrize(
    ("colour", "levels"), [((1, 0, 0), (63, 102, 240)), ((0, 1, 0), (173, 42, 26)), ((0, 0, 1), (32, 240, 118))]
)
def test_colours_are_those_of_bt_709_and_say_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoder: str,
    size: tuple[int, int],
    colour: tuple[int, int, int],
    levels: tuple[int, int, int],
) -> None:
    """Y is 0.2126 R + 0.7152 G + 0.0722 B from 16 to 235; Cb and Cr are (B - Y) / 1.8556 and (R - Y) / 1.5748."""
    monkeypatch.setattr("unrollflow.data.video.writer.ENCODERS", (encoder,))
    image = torch.tensor(colour, dtype=torch.float32).view(3, 1, 1)
    path = write_video(tmp_path / "a.mp4", [image.expand(3, *size)])
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        tags = (stream.colorspace, stream.color_primaries, stream.color_trc, stream.color_range)
        planes = [bytes(plane)[0] for plane in next(video.decode(stream)).planes]
    assert tags == (1, 1, 1, 1)  # BT.709 three times, and 16 to 235
    assert planes == pytest.approx(levels, abs=1)
    assert (next(read_video(path)) - image).abs().max() < 0.02

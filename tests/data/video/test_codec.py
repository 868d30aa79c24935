from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.clips import moving, write_truncated, write_video
from unrollflow.data.video.clip_cache import ClipCache
from unrollflow.data.video.codec import DamagedVideoWarning, VideoPairs, VideoWriter, frame_rate, read_video


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


def test_pairs_follow_each_other(tmp_path: Path) -> None:
    pairs = list(VideoPairs(write_video(tmp_path / "a.mp4", moving(4))))
    assert [pair["name"] for pair in pairs] == ["a.mp4/000000", "a.mp4/000001", "a.mp4/000002"]
    assert pairs[0]["image2"].equal(pairs[1]["image1"])


def test_a_video_of_one_frame_has_no_pair(tmp_path: Path) -> None:
    pairs = VideoPairs(write_video(tmp_path / "one.mp4", moving(1)))
    with pytest.raises(ValueError, match=r"one\.mp4 holds 1 frame; a pair needs two"):
        next(iter(pairs))


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    def stops() -> None:
        with VideoWriter(tmp_path / "a.mp4", 10) as video:
            video.write(moving(1)[0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stops()
    with pytest.raises(ValueError, match="no frame was written"), VideoWriter(tmp_path / "a.mp4", 10):
        pass
    assert not list(tmp_path.iterdir())


def test_frames_of_other_shapes_are_named(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 10) as video:
        video.write(torch.rand(3, 16, 16))
        with pytest.raises(ValueError, match="16x18, but those before are 16x16"):
            video.write(torch.rand(3, 16, 18))
        with pytest.raises(ValueError, match=r"\(3, H, W\) is needed"):
            video.write(torch.rand(1, 16, 16))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_is_positive(tmp_path: Path, rate: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        VideoWriter(tmp_path / "a.mp4", rate)


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    for function in (VideoPairs, frame_rate, lambda path: list(read_video(path))):
        with pytest.raises(ValueError, match=r"a\.mp4 cannot be read as a video"):
            function(tmp_path / "a.mp4")
        with pytest.raises(FileNotFoundError, match=r"none\.mp4"):
            function(tmp_path / "none.mp4")


def damaged(content: bytes, cut: float, places: list[tuple[float, int]]) -> bytes:
    """A part of a file, with some bytes changed."""
    part = bytearray(content[: max(1, int(cut * len(content)))])
    for place, value in places:
        part[int(place * (len(part) - 1))] = value
    return bytes(part)


DAMAGE = {"cut": st.floats(0, 1), "places": st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=20)}


@pytest.mark.filterwarnings("ignore::unrollflow.data.video.codec.DamagedVideoWarning")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**DAMAGE)
def test_damage_is_a_shorter_clip_or_a_named_error(tmp_path: Path, cut: float, places: list[tuple[float, int]]) -> None:
    path = tmp_path / "whole.mp4"
    if not path.exists():
        write_video(path, moving(8))
    (tmp_path / "damaged.mp4").write_bytes(damaged(path.read_bytes(), cut, places))
    try:
        frames = list(read_video(tmp_path / "damaged.mp4"))
    except ValueError as error:
        assert "damaged.mp4" in str(error)  # noqa: PT017, either outcome is right
    else:
        assert 0 < len(frames) <= 8


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**DAMAGE)
def test_damage_ends_the_decoders_process_never_ours(
    tmp_path: Path, cut: float, places: list[tuple[float, int]]
) -> None:
    path = tmp_path / "whole.mp4"
    if not path.exists():
        write_video(path, moving(8))
    (tmp_path / "damaged.mp4").write_bytes(damaged(path.read_bytes(), cut, places))
    with ClipCache(tmp_path / "cache", gigabytes=1) as cache:
        try:
            clip = cache.clip(tmp_path / "damaged.mp4", name="damaged", shorter_side=None)
        except ValueError as error:
            assert "damaged.mp4" in str(error)  # noqa: PT017, either outcome is right
        else:
            assert clip is None or len(clip.frames) <= 8


def test_the_end_of_a_damaged_video_is_told(tmp_path: Path) -> None:
    path = write_truncated(tmp_path / "a.avi", moving(30), share=0.9)
    with pytest.warns(DamagedVideoWarning, match=r"a\.avi: used up to frame \d+ of the 30"):
        assert 0 < len(list(read_video(path))) < 30

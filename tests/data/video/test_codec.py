import gc
from collections.abc import Iterable
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.clips import moving, write_truncated, write_video
from unrollflow.data.video.codec import DamagedVideoWarning, VideoPairs, frame_count, frame_rate, read_video


def test_pairs_follow_each_other(tmp_path: Path) -> None:
    pairs = list(VideoPairs(write_video(tmp_path / "a.mp4", moving(4))))
    assert [pair["name"] for pair in pairs] == ["a.mp4/000000", "a.mp4/000001", "a.mp4/000002"]
    assert pairs[0]["image2"].equal(pairs[1]["image1"])


def test_a_stride_uses_every_nth_frame_and_slows_the_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving(6), rate=10)
    every, second = list(read_video(path)), VideoPairs(path, stride=2)
    found = list(second)
    assert [pair["name"] for pair in found] == ["a.mp4/000000", "a.mp4/000002"]
    assert found[1]["image1"].equal(every[2])
    assert found[1]["image2"].equal(every[4])
    assert second.rate == 5
    with pytest.raises(ValueError, match=r"a\.mp4 has 1 frame at a stride of 6; a pair needs two"):
        list(VideoPairs(path, stride=6))


@pytest.mark.parametrize(
    ("most", "numbers"), [(1, [4]), (2, [1, 6]), (3, [1, 4, 7]), (8, [0, 2, 4, 6, 8]), (9, range(9))]
)
def test_pairs_are_spread_over_a_video(tmp_path: Path, most: int, numbers: Iterable[int]) -> None:
    path = write_video(tmp_path / "a.mp4", moving(10))
    assert frame_count(path) == 10
    assert [pair["name"] for pair in VideoPairs(path).spread(most)] == [f"a.mp4/{number:06d}" for number in numbers]


def test_a_video_of_one_frame_has_no_pair(tmp_path: Path) -> None:
    pairs = VideoPairs(write_video(tmp_path / "one.mp4", moving(1)))
    with pytest.raises(ValueError, match=r"one\.mp4 has 1 frame; a pair needs two"):
        next(iter(pairs))


def test_a_file_that_is_not_a_video_is_named(tmp_path: Path) -> None:
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


def test_the_end_of_a_damaged_video_is_reported(tmp_path: Path) -> None:
    path = write_truncated(tmp_path / "a.avi", moving(30), share=0.9)
    with pytest.warns(DamagedVideoWarning, match=r"a\.avi: only \d+ frames of 30"):
        assert 0 < len(list(read_video(path))) < 30


def test_decoded_frames_are_freed_without_the_collector(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving(8))
    gc.collect()
    before = frames_alive()
    gc.disable()
    try:
        assert sum(1 for _ in read_video(path)) == 8
        assert frames_alive() <= before + 1  # the first one, whose side data were read
    finally:
        gc.enable()


def frames_alive() -> int:
    return sum(type(thing) is av.VideoFrame for thing in gc.get_objects())

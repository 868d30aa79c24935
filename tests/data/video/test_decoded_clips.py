"""Decoded clips are complete or absent, also if several processes share the folder or are killed."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor
from torch.utils.data import DataLoader

from tests.helpers.clips import moving, write_video
from unrollflow.data import Video, read_image
from unrollflow.data.io.files import UMASK
from unrollflow.data.io.locks import locked
from unrollflow.data.video import decoded_clips
from unrollflow.data.video.codec import read_video
from unrollflow.data.video.decoded_clips import GIGABYTE, LOCK, UNFINISHED, DecodedClips

FRAMES = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_video(tmp_path / "videos" / "a.mp4", moving(FRAMES))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def decode(path: Path, cache: Path, gigabytes: float = 1.0) -> list[Path]:
    return DecodedClips(cache, gigabytes=gigabytes).frames(path, shorter_side=None)[0]


def folders(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def taken(cache: Path) -> int:
    """Bytes of all frames and thumbnails."""
    return sum(f.stat().st_size for f in cache.glob("*/*.png")) + sum(np.load(f).nbytes for f in cache.glob("*/*.npy"))


def test_a_clip_is_a_folder_of_its_frames_that_everyone_may_read(path: Path, cache: Path) -> None:
    store = DecodedClips(cache, gigabytes=1)
    frames, thumbnails = store.frames(path, shorter_side=None)
    assert [frame.name for frame in frames] == [f"00000{i}.png" for i in range(FRAMES)]
    assert thumbnails.shape == (FRAMES, 36, 64)
    for frame, decoded in zip(frames, read_video(path), strict=True):
        assert (read_image(frame) - decoded).abs().max() < 1e-6
    assert folders(cache) == [frames[0].parent]
    assert frames[0].parent.stat().st_mode & 0o777 == 0o777 & ~UMASK
    assert store.size() == taken(cache)


def test_frames_are_sorted_as_numbers(path: Path, cache: Path) -> None:
    frames = decode(path, cache)
    names = ["999998.png", "999999.png", "1000000.png", "1000001.png"]
    for frame, name in zip(frames, names, strict=True):
        frame.rename(frame.with_name(name))
    assert [frame.name for frame in decode(path, cache)] == names


def test_a_changed_video_and_another_size_are_decoded_again(path: Path, cache: Path) -> None:
    assert len(decode(path, cache)) == FRAMES
    write_video(path, moving(FRAMES + 1, seed=1))
    assert len(decode(path, cache)) == FRAMES + 1
    DecodedClips(cache, gigabytes=1).frames(path, shorter_side=24)
    assert len(folders(cache)) == 3


def test_the_limit_stops_with_advice_and_leaves_what_is_complete(path: Path, cache: Path) -> None:
    other = write_video(path.with_name("b.mp4"), moving(FRAMES, seed=1))
    decode(path, cache)
    limit = 1.5 * taken(cache) / GIGABYTE
    with pytest.raises(
        ValueError, match=rf"no space in the cache for .*b\.mp4: {cache} contains .*Use a larger cache_gigabytes"
    ):
        decode(other, cache, limit)
    assert len(folders(cache)) == 1
    assert len(decode(path, cache, limit / 2)) == FRAMES, "what is decoded needs no room"
    assert len(decode(other, cache, 2 * limit)) == FRAMES


def test_a_limit_is_positive(cache: Path) -> None:
    for limit in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="must be more than 0"):
            DecodedClips(cache, gigabytes=limit)


def test_a_run_that_is_stopped_leaves_nothing(path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(path: Path) -> Iterator[Tensor]:
        yield next(iter(read_video(path)))
        raise KeyboardInterrupt

    monkeypatch.setattr(decoded_clips, "read_video", stops)
    with pytest.raises(KeyboardInterrupt):
        decode(path, cache)
    assert not folders(cache)


def test_what_a_killed_run_left_is_deleted_and_not_counted(path: Path, cache: Path) -> None:
    left = cache / f"{UNFINISHED}x"
    left.mkdir(parents=True)
    (left / "000000.png").write_bytes(b"half")
    assert DecodedClips(cache, gigabytes=1).size() == 0
    frames = decode(path, cache)
    assert folders(cache) == [frames[0].parent]


def test_a_video_that_two_want_at_once_is_decoded_once(
    path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, begun = [], threading.Event()

    def slowly(path: Path) -> Iterator[Tensor]:
        decoded.append(path)
        begun.set()
        time.sleep(0.5)  # for the other one, which must not begin meanwhile
        return read_video(path)

    monkeypatch.setattr(decoded_clips, "read_video", slowly)
    found: list[list[Path]] = []
    one, two = (threading.Thread(target=lambda: found.append(decode(path, cache))) for _ in range(2))
    one.start()
    begun.wait(60)
    two.start()
    one.join()
    two.join()
    assert [len(frames) for frames in found] == [FRAMES] * 2
    assert found[0] == found[1]
    assert len(decoded) == 1


OTHER = """
import sys
from pathlib import Path
from unrollflow.data.video.decoded_clips import DecodedClips
print("ready", flush=True)
sys.stdin.readline()
print(*DecodedClips(Path(sys.argv[2]), gigabytes=1).frames(Path(sys.argv[1]), shorter_side=None)[0])
"""


@pytest.mark.slow
def test_two_processes_have_one_complete_clip(path: Path, cache: Path) -> None:
    command = [sys.executable, "-c", OTHER, str(path), str(cache)]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    expected = " ".join(str(frame) for frame in decode(path, cache))
    assert [process.communicate()[0] for process in both] == [f"{expected}\n"] * 2
    assert expected.count(".png") == FRAMES
    assert len(folders(cache)) == 1


def test_a_decoded_clip_does_not_wait_for_anothers_decoding(path: Path, cache: Path) -> None:
    decode(path, cache)
    found: list[list[Path]] = []
    looks = threading.Thread(target=lambda: found.append(decode(path, cache)))
    with locked(cache / LOCK):
        looks.start()
        looks.join(60)
        assert found


def test_workers_read_what_was_decoded_here(path: Path, cache: Path) -> None:
    samples = Video(root=path, cache=cache)
    loader = DataLoader(samples, batch_size=None, num_workers=1, multiprocessing_context="fork")
    assert [sample["name"] for sample in loader] == [f"a.mp4/00000{i}" for i in range(FRAMES - 1)]

"""What the cache promises where it is shared: by data sets of one process, by processes, by their workers."""

import copy
import json
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from tests.helpers.clips import moving, write_video
from unrollflow.data import Video
from unrollflow.data.shards.cache_locks import LEASE, Lease, leased, locked
from unrollflow.data.video.clip_cache import CacheFullWarning, ClipCache, key
from unrollflow.data.video.clip_decoder import FACTS, decode_clip

FRAMES = 4


def decode_here(cache: ClipCache, path: Path, folder: Path, shorter_side: int | None, room: int) -> str:
    """Instead of in a process, whose start takes seconds."""
    decode_clip(path, folder, shorter_side=shorter_side, room=room)
    return ""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipCache, "_ask", decode_here)


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    """Four of about the same size."""
    return [write_video(tmp_path / "videos" / f"{name}.mp4", moving(FRAMES, seed=i)) for i, name in enumerate("abcd")]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def video(path: Path, cache: Path, gigabytes: float = 1.0) -> Video:
    return Video(root=path, cache=cache, cache_gigabytes=gigabytes)


def folder_of(path: Path, cache: Path) -> Path:
    return cache / f"{path.stem}-{key(path, None)}"


def facts(cache: Path) -> list[dict[str, int | None]]:
    return [json.loads(path.read_text()) for path in cache.glob(f"*/{FACTS}")]


def taken(cache: Path) -> int:
    """Bytes of all frames and thumbnails."""
    frames = [path.stat().st_size for path in cache.glob("*/*.png")]
    return sum(frames) + sum(np.load(path).nbytes for path in cache.glob("*/thumbnails.npy"))


def gigabytes_of_one(path: Path, cache: Path) -> float:
    video(path, cache / "measured")
    return 1e-9 * taken(cache / "measured")


@pytest.mark.filterwarnings("ignore::unrollflow.data.video.clip_cache.CacheFullWarning")
def test_a_second_data_set_leaves_the_first_ones_clips(videos: list[Path], cache: Path) -> None:
    bound = 3.7 * gigabytes_of_one(videos[0], cache.parent)
    root = videos[0].parent
    first = Video(root=root, split="train", validation_share=0.5, cache=cache, cache_gigabytes=bound)
    second = Video(root=root, split="validation", validation_share=0.5, cache=cache, cache_gigabytes=bound)
    for samples in (first, second):
        assert len([samples[i] for i in range(len(samples))]) > 0
    assert taken(cache) <= 1e9 * bound


OTHER = """
import sys
from tests.data.video.test_clip_cache import Path, video
samples = video(Path(sys.argv[1]), Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.read()
assert samples[0]
"""


@pytest.mark.slow
def test_what_another_process_uses_stays_until_it_ends(videos: list[Path], cache: Path) -> None:
    bound = 1.7 * gigabytes_of_one(videos[0], cache.parent)
    command = [sys.executable, "-c", OTHER, str(videos[0]), str(cache)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert any(line == "ready\n" for line in other.stdout)
        with pytest.warns(CacheFullWarning, match="beside the clips in use"):
            assert len(video(videos[1], cache, bound)) < FRAMES - 1
        assert folder_of(videos[0], cache).is_dir()
        other.communicate()
        assert other.returncode == 0
    assert len(video(videos[1], cache, bound)) == FRAMES - 1
    assert not folder_of(videos[0], cache).exists()


def test_a_data_set_holds_its_clips_as_long_as_it_lives(videos: list[Path], cache: Path) -> None:
    samples = video(videos[0], cache)
    assert list(leased(cache)) == [folder_of(videos[0], cache).name]
    again = copy.deepcopy(samples)
    del samples
    assert leased(cache)
    del again
    assert not leased(cache)
    assert not list(cache.glob(f"{LEASE}*"))


def test_workers_read_and_leave_the_lease(videos: list[Path], cache: Path) -> None:
    samples = video(videos[0], cache)
    assert len(list(DataLoader(samples, batch_size=None, num_workers=1, multiprocessing_context="fork"))) == FRAMES - 1
    spawned = pickle.loads(pickle.dumps(samples))
    assert spawned.lease is None
    assert spawned[0]["image1"].equal(samples[0]["image1"])
    del spawned
    assert leased(cache)


def test_a_lease_is_one_open_file_for_any_number_of_clips(tmp_path: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    before = open_files()
    lease = Lease(tmp_path)
    for number in range(100):
        lease.add(f"a\n{number}", number)
    assert open_files() == before + 1
    assert leased(tmp_path)["a\n99"] == 99
    del lease
    assert open_files() == before


def test_a_disk_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("unrollflow.data.shards.cache_locks.fcntl.flock", refuse)
    with (
        pytest.raises(OSError, match=r"not supported: the cache needs a disk with file locks.*lock'"),
        locked(tmp_path / "lock"),
    ):
        pass


@pytest.mark.parametrize("share", [0.5, 1.5, 2.5])
def test_a_smaller_bound_is_kept_and_no_size_is_negative(videos: list[Path], cache: Path, share: float) -> None:
    bound = share * gigabytes_of_one(videos[0], cache.parent)
    root = videos[0].parent
    assert len(Video(root=root, cache=cache)) == 4 * (FRAMES - 1)
    with pytest.warns(CacheFullWarning, match="its bound is .* bytes. Give a larger cache_gigabytes"):
        samples = Video(root=root, cache=cache, cache_gigabytes=bound)
    assert 0 < len(samples) < 4 * (FRAMES - 1)
    assert samples[len(samples) - 1]
    assert taken(cache) <= 1e9 * bound
    assert all(number >= 0 for note in facts(cache) for number in note.values() if number is not None)
    del samples
    assert len(Video(root=root, cache=cache)) == 4 * (FRAMES - 1), "with room again"


def test_clips_in_use_beyond_the_bound_are_told(videos: list[Path], cache: Path) -> None:
    larger = video(videos[0], cache)
    bound = 1e-9 * taken(cache) / 2
    with pytest.warns(CacheFullWarning, match="holds .* bytes of clips that are all in use"):
        smaller = video(videos[0], cache, bound)
    assert len(smaller) == len(larger)


def test_a_video_that_two_want_at_once_is_decoded_once(
    videos: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, begun = [], threading.Event()

    def slowly(cache: ClipCache, path: Path, folder: Path, shorter_side: int | None, room: int) -> str:
        decoded.append(path)
        begun.set()
        time.sleep(0.5)  # for the other one, which must not begin meanwhile
        return decode_here(cache, path, folder, shorter_side, room)

    monkeypatch.setattr(ClipCache, "_ask", slowly)
    found: list[Video] = []
    one, two = (threading.Thread(target=lambda: found.append(video(videos[0], cache))) for _ in range(2))
    one.start()
    begun.wait(60)
    two.start()
    one.join()
    two.join()
    assert [len(samples) for samples in found] == [FRAMES - 1] * 2
    assert len(decoded) == 1


def test_a_cached_clip_does_not_wait_for_anothers_decoding(videos: list[Path], cache: Path) -> None:
    video(videos[0], cache)
    found: list[Video] = []
    looks = threading.Thread(target=lambda: found.append(video(videos[0], cache)))
    with locked(cache / ".decoding.lock"):
        looks.start()
        looks.join(60)
        assert found

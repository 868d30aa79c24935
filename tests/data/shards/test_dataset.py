import io
import json
import pickle
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tests.helpers import trees
from unrollflow.cli.main import main
from unrollflow.contracts import FlowSample
from unrollflow.data import FlowDataModule, FramePairs, RandomCrop, RandomTemporalSwap, ShardedPairs, write_shards
from unrollflow.data.datamodule import EpochSampler
from unrollflow.data.io.images import image_content
from unrollflow.data.shards import shard_cache

PAIRS = 5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three tar files of five pairs."""
    return trees.shards(tmp_path / "shards")


class Numbers(Dataset[FlowSample]):
    """Samples that differ only in their names."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> FlowSample:
        return FlowSample(image1=torch.zeros(3, 2, 2), image2=torch.ones(3, 2, 2), name=self.names[index])


def shard(folder: Path, members: dict[str, bytes], *, samples: int = 1) -> ShardedPairs:
    """A data set of one tar file with the given members, which may be invalid."""
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / "a.tar", "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return indexed(folder, [{"url": "a.tar", "nsamples": samples, "filesize": (folder / "a.tar").stat().st_size}])


def indexed(folder: Path, shards: object) -> ShardedPairs:
    (folder / "shards.json").write_text(json.dumps({"shardlist": shards}))
    return ShardedPairs(root=str(folder))


def picture(value: float = 0.5, size: tuple[int, int] = (4, 5)) -> bytes:
    return image_content("here", torch.full((3, *size), value))


def batches(root: Path | str, *, workers: int = 0, number: int = 0, seed: int = 0, **options: Any) -> list[Any]:
    """An epoch of a training on shards, of batches of two."""
    data = FlowDataModule(
        train=ShardedPairs(root=str(root), **options),
        batch_size=2,
        workers=workers,
        seed=seed,
        transform=RandomCrop(size=(32, 32)),
    )
    loader = data.train_dataloader()
    assert isinstance(loader.sampler, EpochSampler)
    loader.sampler.set_epoch(number)
    return list(loader)


def test_what_was_written_is_read(root: Path) -> None:
    source, read = FramePairs(root / "frames"), ShardedPairs(root=str(root))
    assert len(read) == PAIRS
    assert sorted(p.name for p in root.glob("*.tar")) == [f"pairs-00000{k}.tar" for k in range(3)]
    found = [read[i] for i in range(PAIRS)]
    assert [sample["name"].partition("/")[0] for sample in found] == [f"{i:08d}" for i in range(PAIRS)]
    assert sorted(sample["name"].partition("/")[2] for sample in found) == [str(i) for i in range(PAIRS)]
    for sample in found:
        original = source[int(sample["name"].partition("/")[2])]
        assert sample.keys() == {"image1", "image2", "name"}
        assert sample["image1"].equal(original["image1"])
        assert sample["image2"].equal(original["image2"])
    copy = pickle.loads(pickle.dumps(read))  # as a worker that is spawned gets it
    assert copy[0]["image1"].equal(found[0]["image1"])
    with pytest.raises(IndexError, match="sample 5 of 5"):
        read[PAIRS]


def test_webdataset_reads_the_same_samples(root: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    names = [f"{root}/pairs-00000{k}.tar" for k in range(3)]
    theirs = list(webdataset.WebDataset(names, shardshuffle=False, empty_check=False))
    ours = ShardedPairs(root=str(root))
    assert [sample["__key__"] for sample in theirs] == [ours[i]["name"] for i in range(PAIRS)]
    assert all(sample.keys() >= {"image1.png", "image2.png"} for sample in theirs)


def test_names_with_dots_or_folders_and_equal_names_stay_unique(tmp_path: Path) -> None:
    write_shards(Numbers(["clips/a.v2.mp4/f.1", "clips/a.v2.mp4/f.1", "x" * 300]), tmp_path)
    read = ShardedPairs(root=str(tmp_path))
    names = {read[i]["name"] for i in range(3)}
    assert len(names) == 3
    assert {name.partition("/")[2] for name in names} == {"clips/a.v2.mp4/f_1", "x" * 300}


def test_the_same_data_give_the_same_files_and_none_is_overwritten(tmp_path: Path) -> None:
    data = Numbers([str(i) for i in range(5)])
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_shards(data, tmp_path / name, samples_per_shard=2, seed=seed)
    a, b, c = ([p.read_bytes() for p in sorted((tmp_path / name).iterdir())] for name in "abc")
    assert a == b
    assert a != c
    with pytest.raises(FileExistsError, match=r"pairs-00000\d\.tar already exists"):
        write_shards(data, tmp_path / "a")


def test_an_interrupted_write_leaves_no_index_and_no_incomplete_file(tmp_path: Path) -> None:
    class Breaks(Numbers):
        def __getitem__(self, index: int) -> FlowSample:
            if index == 3:
                raise ValueError("frame 3 is damaged")
            return super().__getitem__(index)

    with pytest.raises(ValueError, match="frame 3"):
        write_shards(Breaks([str(i) for i in range(5)]), tmp_path, samples_per_shard=1)
    whole = list(tmp_path.iterdir())
    assert all(tarfile.is_tarfile(path) for path in whole)  # no other file, no index
    with pytest.raises(FileNotFoundError, match=r"shards\.json"):
        ShardedPairs(root=str(tmp_path))


def test_workers_change_nothing_and_epochs_and_seeds_do(root: Path) -> None:
    alone, again, shared = batches(root), batches(root), batches(root, workers=2)
    for batch, *others in zip(alone, again, shared, strict=True):
        for other in others:
            assert batch["name"] == other["name"]
            assert batch["image1"].equal(other["image1"])
    order = [name for batch in alone for name in batch["name"]]
    assert order != [name for batch in batches(root, number=1) for name in batch["name"]]
    assert order != [name for batch in batches(root, seed=1) for name in batch["name"]]


def many(tmp_path: Path, shuffle: int) -> ShardedPairs:
    """Ten shards of a hundred samples, in their index alone."""
    listed = [{"url": f"{k}.tar", "nsamples": 100, "filesize": 1} for k in range(10)]
    (tmp_path / "shards.json").write_text(json.dumps({"shardlist": listed}))
    return ShardedPairs(root=str(tmp_path), shuffle=shuffle)


def test_an_epoch_has_every_sample_once_and_few_shards_at_a_time(tmp_path: Path) -> None:
    orders = [many(tmp_path, shuffle=150).epoch_order(seed) for seed in range(2)]
    assert all(sorted(order) == list(range(1000)) for order in orders)
    assert not np.array_equal(*orders)
    in_use = [len(set(orders[0][i : i + 50] // 100)) for i in range(950)]
    assert max(in_use) <= 4  # of stretches of 150 + 50 samples
    assert np.mean(in_use) > 2  # mixed
    unmixed = many(tmp_path, shuffle=0).epoch_order(0)
    assert all(set(np.diff(unmixed[k : k + 100])) == {1} for k in range(0, 1000, 100))
    assert not np.array_equal(unmixed, np.arange(1000))


def test_processes_see_the_batches_of_one(tmp_path: Path) -> None:
    data = many(tmp_path, shuffle=150)
    alone = list(EpochSampler(data, seed=3))
    shares = []
    for rank in range(3):
        sampler = EpochSampler(data, seed=3)
        sampler.num_replicas, sampler.rank, sampler.num_samples, sampler.total_size = 3, rank, 333, 999
        shares.append(list(sampler))
    assert [index for step in zip(*shares, strict=True) for index in step] == alone[:999]


def test_transforms_draw_by_seed_and_index(root: Path) -> None:
    def swapped(seed: int) -> list[Tensor]:
        data = FlowDataModule(
            train=ShardedPairs(root=str(root)), batch_size=1, workers=0, seed=seed, transform=RandomTemporalSwap()
        )
        return [batch["image1"] for batch in data.train_dataloader()]

    assert all(a.equal(b) for a, b in zip(swapped(0), swapped(0), strict=True))


class Writes:
    """Object that writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "run")


@pytest.mark.parametrize("suffix", ["pkl", "pickle", "pyd", "pth", "npy", "json"])
@pytest.mark.parametrize("name", ["1.image1.{}", "1.{}"])
def test_nothing_is_unpickled(name: str, suffix: str, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    pickled = pickle.dumps(Writes(ran))
    pickle.loads(pickled)
    ran.unlink()  # it works
    data = shard(tmp_path / "a", {name.format(suffix): pickled, "1.image2.png": picture()})
    with pytest.raises(ValueError, match=rf"a\.tar .*member {name.format(suffix)} is refused"):
        data[0]
    disguised = shard(tmp_path / "b", {"1.image1.png": pickled, "1.image2.png": picture()})
    with pytest.raises(ValueError, match=r"shard .*a\.tar, member 1\.image1\.png cannot be read as an image"):
        disguised[0]
    assert not ran.exists()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"1.image1.png": picture()[:-20], "1.image2.png": picture()}, r"a\.tar, member 1\.image1\.png"),
        ({"1.image1.png": picture(), "1.image2.png": b""}, r"a\.tar, member 1\.image2\.png cannot be read as an image"),
        (
            {"1.image1.png": picture(), "1.image2.png": picture(size=(4, 6))},
            r"image1\.png is 4x5, .*image2\.png is 4x6",
        ),
        ({"1.image1.png": picture()}, r"a\.tar is not a shard.*: 1 has only image1"),
        ({"1.image1.png": picture(), "1.image1.jpg": picture()}, r"1\.image1\.jpg is another image1 of 1"),
        ({"1.png": picture()}, r"member 1\.png is refused"),
        ({}, r"has 0 samples, but shards\.json says 1"),
    ],
)
def test_a_damaged_member_is_one_error_that_names_it(members: dict[str, bytes], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        shard(tmp_path / "a", members)[0]


def test_a_truncated_invalid_or_missing_shard_is_named(root: Path) -> None:
    path = root / "pairs-000000.tar"
    whole = path.read_bytes()
    for length in (0, 100, 600, 5000, len(whole) // 2, len(whole) - 11000):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"pairs-000000\.tar"):
            _ = [ShardedPairs(root=str(root))[i] for i in range(2)]
    path.write_bytes(b"no tar file" * 1000)
    with pytest.raises(ValueError, match=r"pairs-000000\.tar is not a shard"):
        ShardedPairs(root=str(root))[0]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"pairs-000000\.tar"):
        ShardedPairs(root=str(root))[0]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_are_refused(kind: bytes, tmp_path: Path) -> None:
    data = shard(tmp_path / "a", {"1.image1.png": picture(), "1.image2.png": picture()})
    with tarfile.open(tmp_path / "a" / "a.tar", "w") as tar:
        info = tarfile.TarInfo("1.image1.png")
        info.type, info.linkname = kind, "/etc/hostname"
        tar.addfile(info)
    with pytest.raises(ValueError, match=r"1\.image1\.png is not a plain file"):
        data[0]


@pytest.mark.parametrize("name", ["../a.tar", "/a.tar", "pipe:touch x.tar", "https://else.where/a.tar", "a.tar.gz", ""])
def test_an_index_names_files_beside_it_only(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shards\.json lists"):
        indexed(tmp_path, [{"url": name, "nsamples": 1, "filesize": 1}])


@pytest.mark.parametrize("listed", [None, [{}], [1], [{"url": "a.tar", "nsamples": "many", "filesize": 1}]])
def test_an_invalid_index_is_refused(listed: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shards\.json is not an index of shards"):
        indexed(tmp_path, listed)
    with pytest.raises(ValueError, match="lists 0 shards"):
        indexed(tmp_path, [])


@pytest.fixture
def address(root: Path) -> Iterator[str]:
    """The shards, served on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_shards_from_elsewhere_are_those_on_a_disk_and_keep_the_bound(root: Path, address: str, tmp_path: Path) -> None:
    largest = max(path.stat().st_size for path in root.glob("*.tar"))
    options = {"cache": tmp_path / "cache", "cache_gigabytes": 2.5 * largest / 1e9, "shuffle": 0}
    near = batches(root, shuffle=0)
    for workers in (0, 2):
        for batch, other in zip(near, batches(address, workers=workers, **options), strict=True):
            assert batch["name"] == other["name"]
            assert batch["image1"].equal(other["image1"])
    assert 0 < sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.tar")) <= 2.5 * largest


def test_a_failed_download_is_named(root: Path, address: str, tmp_path: Path) -> None:
    read = partial(ShardedPairs, cache=tmp_path / "cache")
    whole = (root / "pairs-000000.tar").read_bytes()
    for other in (whole + b"more", whole[:-1], whole[:100], b""):
        (root / "pairs-000000.tar").write_bytes(other)
        expected = rf"127.*/pairs-000000\.tar has {len(other)} bytes, but the index says {len(whole)}"
        with pytest.raises(ValueError, match=expected):
            read(root=address)[0]
    (root / "pairs-000000.tar").unlink()
    with pytest.raises(OSError, match=r"127.*/pairs-000000\.tar"):
        read(root=address)[0]
    assert not list((tmp_path / "cache").glob("*.tar"))
    with pytest.raises(OSError, match=r"nowhere/shards\.json"):
        read(root=f"{address}/nowhere")
    with pytest.raises(ValueError, match=r"unsupported scheme of .*: pipe"):
        read(root="pipe://touch x")
    with pytest.raises(ValueError, match=r"Use a larger cache or a smaller shuffle"):
        read(root=address, cache_gigabytes=1e-6)


def test_a_transfer_that_ended_early_is_neither_used_nor_kept(
    root: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def ends_early(url: str, target: str) -> None:
        Path(target).write_bytes((root / "pairs-000000.tar").read_bytes()[:5000])
        raise Killed

    data = ShardedPairs(root=address, cache=tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(shard_cache, "fetch", ends_early)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # a killed process deletes nothing
        with pytest.raises(Killed):
            data[0]
    assert [path.suffix != ".tar" for path in (tmp_path / "cache").glob(".*.tar.*")] == [True]
    assert data[0]["image1"].equal(ShardedPairs(root=str(root))[0]["image1"])
    assert [path.name[0] == "." for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"] == [False]


def test_a_package_that_an_address_needs_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ImportError, match=r"(?i:install s3fs)"):
        ShardedPairs(root="s3://bucket/shards")
    far = [f"--data.{part}.root=s3://bucket/shards" for part in ("train", "validation")]
    with pytest.raises(SystemExit, match=r"^unrollflow: .*(?i:install s3fs)"):
        main(["fit", "--config=configs/experiment/quickstart.yaml", "--data=configs/data/shards.yaml", *far])


def test_arguments_out_of_range_are_named(root: Path) -> None:
    with pytest.raises(ValueError, match="shuffle is -1"):
        ShardedPairs(root=str(root), shuffle=-1)
    with pytest.raises(ValueError, match="samples_per_shard is 0"):
        write_shards(Numbers(["a"]), root / "more", samples_per_shard=0)

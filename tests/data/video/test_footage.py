import re
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, get_args

import pytest
import torch

from tests.helpers.clips import moving, write_frames, write_truncated, write_video
from unrollflow.data import Footage, FrameFolder, Video, write_image
from unrollflow.data.datasets.frames import find_frame_folders
from unrollflow.data.video.decoded_clips import DecodedClips
from unrollflow.data.video.footage import Split, drawn, find_videos


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two videos and two folders of frames, at different depths."""
    folder = tmp_path / "footage"
    write_video(folder / "a.mp4", moving(5, seed=0))
    write_video(folder / "deep" / "b.mp4", moving(4, seed=1))
    write_frames(folder / "frames", moving(12, seed=2, size=(40, 60)))
    write_frames(folder / "deep" / "more", moving(3, seed=3))
    (folder / "notes.txt").write_text("no clip")
    write_frames(folder / ".hidden", moving(3))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def footage(root: Path, cls: type[Footage] = Footage, **options: Any) -> Footage:
    folder = next(p for p in root.parents if p.name == "footage").parent if root.name != "footage" else root.parent
    return cls(root=root, cache=folder / "cache", **options)


def test_videos_and_folders_are_found_at_any_depth(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = footage(root)
    assert [clip.name for clip in samples.clips] == ["a.mp4", "deep/b.mp4", "deep/more", "frames"]
    assert len(samples) == 4 + 3 + 2 + 11
    assert (
        "20 pairs of 4 clips; skipped: 0 across sequences or missing numbers, 0 across scene cuts, 0 motionless"
        in capsys.readouterr().out
    )
    assert [len(footage(root, cls)) for cls in (Video, FrameFolder)] == [7, 13]
    assert len(footage(root / "deep" / "b.mp4")) == 3


def test_samples_are_neighbours_in_natural_order(root: Path) -> None:
    samples = footage(root, FrameFolder)
    names = [sample["name"] for sample in (samples[i] for i in range(len(samples)))]
    assert names[-2:] == ["frames/frame_9", "frames/frame_10"]
    frames = moving(12, seed=2, size=(40, 60))
    torch.testing.assert_close(samples[12]["image1"], frames[10], atol=0.5 / 255, rtol=1e-4)
    torch.testing.assert_close(samples[12]["image2"], frames[11], atol=0.5 / 255, rtol=1e-4)


def test_decoded_frames_are_the_videos(root: Path) -> None:
    sample = footage(root, Video)[1]
    assert sample["name"] == "a.mp4/000001"
    frame = moving(5, seed=0)[1]
    assert (sample["image1"] - frame).abs().mean() < 0.02  # H.264 loses a little


def test_hidden_files_among_frames_are_omitted(root: Path) -> None:
    (root / "frames" / "._frame_0.png").write_bytes(b"what macOS notes of a file")
    assert len(footage(root / "frames")) == 11


def test_linked_clips_are_used_once(root: Path) -> None:
    links = {"frames_again": "frames", "link": "elsewhere", "a_again.mp4": "a.mp4", "c.mp4": "elsewhere.mp4"}
    write_frames(root.parent / "elsewhere", moving(3, seed=4))
    write_video(root.parent / "elsewhere.mp4", moving(3, seed=5))
    for name, target in links.items():
        (root / name).symlink_to((root if (root / target).exists() else root.parent) / target)
    assert [path.name for path in find_videos(root)] == ["a.mp4", "c.mp4", "b.mp4"]
    assert [path.name for path in find_frame_folders(root)] == ["more", "frames", "link"]
    assert len(footage(root / "link")) == 2


def test_pairs_do_not_lie_across_sequences_or_missing_numbers(root: Path) -> None:
    """a_1 a_2 a_3 | a_9 a_10 | b_1 b_2: with stride 2 a_1 and a_3 alone."""
    names = ["a_1", "a_2", "a_3", "a_9", "a_10", "b_1", "b_2"]
    for name, frame in zip(names, moving(7), strict=True):
        write_image(root / "mixed" / f"{name}.png", frame)
    samples = footage(root / "mixed")
    assert [samples[i]["name"] for i in range(len(samples))] == [f"mixed/{n}" for n in ("a_1", "a_2", "a_9", "b_1")]
    assert "4 pairs of 1 clips; skipped: 2 across sequences or missing numbers" in samples.summary
    samples = footage(root / "mixed", stride=2)
    assert [samples[i]["name"] for i in range(len(samples))] == ["mixed/a_1"]
    assert "skipped: 4 across sequences" in samples.summary


def test_stride_and_both_directions(root: Path) -> None:
    samples = footage(root / "frames", stride=3, both_directions=True)
    assert len(samples) == 2 * 9
    first, again = samples[0], samples[1]
    assert (first["name"], again["name"]) == ("frames/frame_0", "frames/frame_3")
    assert first["image1"].equal(again["image2"])
    assert first["image2"].equal(again["image1"])


def test_larger_frames_are_shrunk_and_smaller_ones_stay(root: Path) -> None:
    samples = footage(root, shorter_side=24)
    assert {tuple(samples[i]["image1"].shape[-2:]) for i in range(len(samples))} == {(24, 40), (24, 36)}
    assert tuple(footage(root / "frames", shorter_side=500)[0]["image1"].shape[-2:]) == (40, 60)


def test_splits_share_out_whole_clips(root: Path) -> None:
    train, validation = (footage(root, split=split, validation_share=0.5) for split in ("train", "validation"))
    names = [{clip.name for clip in split.clips} for split in (train, validation)]
    assert [len(n) for n in names] == [2, 2]
    assert not names[0] & names[1]
    assert names[0] | names[1] == {clip.name for clip in footage(root).clips}
    assert "(train, validation_share 0.5): " in train.summary


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_classes_of_one_root_share_no_clip_of_two_splits(root: Path, share: float) -> None:
    def used(cls: type[Footage], split: Split) -> set[str]:
        try:
            return {clip.name for clip in footage(root, cls, split=split, validation_share=share).clips}
        except FileNotFoundError as error:
            assert f"has no clips for {cls.__name__} in split '{split}'" in str(error)  # noqa: PT017, either is right
            return set()

    classes = (Footage, Video, FrameFolder)
    train, validation = (set.union(*(used(cls, split) for cls in classes)) for split in ("train", "validation"))
    assert not train & validation
    for cls in classes:
        assert used(cls, "train") | used(cls, "validation") == {clip.name for clip in footage(root, cls).clips}


def test_the_split_of_a_clip_does_not_depend_on_other_clips(tmp_path: Path) -> None:
    """Added or removed clips, and the location of the folder, do not change the split of a clip."""
    many, place = [tmp_path / f"{number}.mp4" for number in range(200)], Path("elsewhere")
    held_out = drawn(many, tmp_path, "validation", 0.3)
    assert 40 < len(held_out) < 80
    assert drawn(many[:100], tmp_path, "validation", 0.3) == [path for path in many[:100] if path in held_out]
    assert set(drawn(many, tmp_path, "validation", 0.1)) < set(held_out)
    moved = [place / path.name for path in many]
    assert drawn(moved, place, "train", 0.3) == [place / path.name for path in many if path not in held_out]


@pytest.mark.parametrize("share", [1e-9, 0.5, 1 - 1e-9])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_two_clips_are_enough_for_both_sides(count: int, share: float) -> None:
    clips = [Path(f"root/{number}.mp4") for number in range(count)]
    sides = [drawn(clips, Path("root"), split, share) for split in get_args(Split)[1:]]
    assert all(sides)
    assert sorted(sides[0] + sides[1]) == sorted(clips)


def test_frames_are_counted_in_one_pass(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing all pairs of eight thousand frames took half a minute."""
    comparisons = 0
    equal = PurePath.__eq__

    def counted(path: PurePath, other: object) -> bool:
        nonlocal comparisons
        comparisons += 1
        return equal(path, other)

    for number in range(500):
        (root / "frames" / f"{number}.png").touch()
    monkeypatch.setattr(PurePath, "__eq__", counted)
    assert find_frame_folders(root) == [root / "deep" / "more", root / "frames"]
    assert comparisons < 10_000


def test_one_clip_is_not_divided(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="cannot be split into training and validation"):
        footage(root / "frames", split="train")


def test_decoded_videos_are_not_decoded_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = footage(root, Video)
    monkeypatch.setattr(DecodedClips, "_decode", lambda *_: pytest.fail("decoded again"))
    assert footage(root, Video)[0]["image1"].equal(before[0]["image1"])


def test_a_broken_video_is_named_and_leaves_nothing(root: Path, cache: Path) -> None:
    (root / "broken.mp4").write_bytes(b"no video at all")
    with pytest.raises(ValueError, match=r"broken\.mp4 cannot be read as a video"):
        footage(root / "broken.mp4")
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_clips_without_a_pair_are_named(root: Path) -> None:
    write_video(root / "one.mp4", moving(1))
    with pytest.raises(ValueError, match=r"no pairs are left.* \(one\.mp4 has 1 frame\(s\); a pair needs 2\)"):
        footage(root / "one.mp4")
    assert ", 3 clips that are too short (deep/b.mp4 has 4 frame(s); a pair needs 5)" in footage(root, stride=4).summary
    assert "too short" not in footage(root / "a.mp4").summary


def test_the_size_of_the_decoded_videos_is_reported(root: Path, cache: Path) -> None:
    assert re.search(r"/cache contains 0\.00 GB of decoded videos \(limit 20\.0 GB\)\.$", footage(root, Video).summary)
    assert "GB" not in footage(root, FrameFolder).summary


def test_the_readable_part_of_a_truncated_video_is_used(root: Path) -> None:
    path = write_truncated(root / "long.mkv", moving(30), share=0.8)
    assert 3 < len(footage(path)) < 29


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "stride=0"),
        ({"validation_share": 1.0}, "validation_share=1.0"),
        ({"shorter_side": 0}, "shorter_side=0"),
        ({"split": "trian"}, "split='trian'"),
        ({"cache_gigabytes": 0.0}, "cache_gigabytes is 0.0"),
        ({"stride": 50}, "no pairs are left"),
    ],
)
def test_bad_arguments_are_named(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        footage(root / "frames", **options)


@pytest.mark.slow
def test_a_cache_within_the_footage_is_no_footage(root: Path) -> None:
    for _ in range(2):
        assert len(Footage(root=root, cache=root / "cache").clips) == 4


def test_no_footage_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no footage in .*expected a video, or a folder that contains videos"):
        Footage(root=tmp_path, cache=tmp_path)


@pytest.mark.slow
def test_real_clips(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """By visual inspection, neither clip has a cut; the clip of the bunny repeats a frame five times."""
    samples = Footage(root=real_data("video"), shorter_side=64, cache=tmp_path)
    assert (
        "186 pairs of 4 clips; skipped: 0 across sequences or missing numbers, 0 across scene cuts, 5 motionless or "
        "duplicate. "
    ) in samples.summary

from pathlib import Path

import pytest
import torch

from unrollflow.data import FramePairs, read_image, write_image
from unrollflow.data.datasets.frames import breaks, find_frame_folders, visible


def frame(path: Path, *, size: tuple[int, int] = (4, 6), value: float = 0.5) -> Path:
    write_image(path, torch.full((3, *size), value))
    return path


def test_neighbours_of_a_folder_come_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 8, 9):
        frame(tmp_path / f"frame_{number}.png", value=number / 20)
    (tmp_path / "notes.txt").write_text("no frame")
    pairs = FramePairs(tmp_path)
    assert [sample["name"] for sample in pairs] == ["frame_8", "frame_9"]
    assert len(pairs) == 2
    assert torch.equal(pairs[1]["image1"], read_image(tmp_path / "frame_9.png"))
    assert torch.equal(pairs[1]["image2"], read_image(tmp_path / "frame_10.png"))


def test_frames_of_two_sequences_and_across_missing_numbers_are_not_paired(tmp_path: Path) -> None:
    for name in ("a_0001", "a_0002", "a_0009", "b_0001"):
        frame(tmp_path / f"{name}.png")
    with pytest.warns(UserWarning, match=r"2 pairs of neighbouring frames skipped, such as .*a_0002\.png and a_0009"):
        pairs = FramePairs(tmp_path)
    assert [sample["name"] for sample in pairs] == ["a_0001"]
    assert pairs[0]["name"] == "a_0001"


@pytest.mark.parametrize(
    ("names", "broken"),
    [
        ("f8 f9 f10 f11", [False] * 3),
        ("a_999998 a_999999 a_1000000", [False] * 2),
        ("0 5 10 20 25", [False, False, True, False]),
        ("000000_10 000000_11 000001_10 000001_11", [False, True, False]),
        ("0001_left 0002_left 0003_right", [False, True]),
        ("t0.033 t0.067 t0.100 t0.200 t1.000", [False, False, True, True]),
        ("first second", [False]),
        ("a a_1 a_2", [True, False]),
        ("1 01 2", [True, False]),
    ],
)
def test_breaks(names: str, broken: list[bool]) -> None:
    assert breaks([Path(f"{name}.png") for name in names.split()]) == broken


def test_frames_without_any_pair_are_refused(tmp_path: Path) -> None:
    for name in ("a_1", "b_1"):
        frame(tmp_path / f"{name}.png")
    with (
        pytest.warns(UserWarning, match="1 pairs"),
        pytest.raises(ValueError, match=r"no two frames .*a_1\.png and b_1\.png must differ in exactly one number"),
    ):
        FramePairs(tmp_path)


def test_hidden_files_are_not_frames(tmp_path: Path) -> None:
    for number in (1, 2):
        frame(tmp_path / f"{number}.png")
        (tmp_path / f"._{number}.png").write_bytes(b"what macOS notes of a file")
    assert [sample["name"] for sample in FramePairs(tmp_path)] == ["1"]


@pytest.mark.parametrize("container", [tuple, list])
def test_two_images_are_one_pair_in_the_order_given(tmp_path: Path, container: type) -> None:
    pairs = FramePairs(container([frame(tmp_path / "b.png", value=0.2), frame(tmp_path / "a.png", value=0.8)]))
    assert len(pairs) == 1
    assert pairs[0]["name"] == "b"
    assert pairs[0]["image1"].max() < pairs[0]["image2"].min()
    with pytest.raises(IndexError, match="pair 1 of 1"):
        pairs[1]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_images_is_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} images given.*exactly two"):
        FramePairs(tuple(tmp_path / f"{i}.png" for i in range(count)))


def test_frames_of_two_sizes_are_both_named(tmp_path: Path) -> None:
    pairs = FramePairs((frame(tmp_path / "a.png"), frame(tmp_path / "b.png", size=(5, 6))))
    with pytest.raises(ValueError, match=r"a\.png is 4x6, but .*b\.png is 5x6"):
        pairs[0]


def test_an_unreadable_and_a_missing_image_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_text("no image")
    with pytest.raises(ValueError, match=r"broken\.png"):
        FramePairs((frame(tmp_path / "a.png"), tmp_path / "broken.png"))[0]
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        FramePairs((tmp_path / "a.png", tmp_path / "missing.png"))[0]


def test_a_folder_without_two_images_says_what_counts(tmp_path: Path) -> None:
    frame(tmp_path / "only.png")
    with pytest.raises(ValueError, match=rf"{tmp_path} has 1 image.*\.png"):
        FramePairs(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        FramePairs(tmp_path / "nowhere")


def test_two_frames_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp"):
        frame(tmp_path / name)
    with pytest.raises(ValueError, match="several images named a"):
        FramePairs(tmp_path)


def test_linked_folders_and_files_are_found_once_and_loops_end(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for folder in (root / "own", elsewhere / "deep"):
        for number in (1, 2):
            frame(folder / f"{number}.png")
    (root / "linked_frames").mkdir()
    for number in (1, 2):
        (root / "linked_frames" / f"{number}.png").symlink_to(elsewhere / "deep" / f"{number}.png")
    links = {"market": elsewhere, "again": elsewhere / "deep", "before_own": root / "own", "own/loop": root}
    for name, target in links.items():
        (root / name).symlink_to(target)
    found = [folder.relative_to(root).as_posix() for folder in find_frame_folders(root)]
    assert found == ["again", "linked_frames", "own"]


def test_broken_links_are_counted(tmp_path: Path) -> None:
    frame(tmp_path / "a.png")
    for name in ("b.png", "folder"):
        (tmp_path / name).symlink_to(tmp_path / "nowhere")
    with pytest.warns(UserWarning, match=r"2 broken link\(s\) skipped, such as .*b\.png"):
        assert list(visible(tmp_path)) == [tmp_path / "a.png"]


def test_hidden_files_and_what_is_in_hidden_folders_are_not_visible(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", ".folder/c.png", "deep/d.png"):
        frame(tmp_path / name)
    assert list(visible(tmp_path)) == [tmp_path / "a.png", tmp_path / "deep" / "d.png"]


def test_a_broken_link_among_frames_is_a_missing_frame(tmp_path: Path) -> None:
    for number in (1, 2, 4):
        frame(tmp_path / f"{number}.png")
    (tmp_path / "3.png").symlink_to(tmp_path / "nowhere")
    with pytest.warns(UserWarning, match=r"1 pairs of neighbouring frames skipped, such as .*2\.png and 4\.png"):
        pairs = FramePairs(tmp_path)
    assert [sample["name"] for sample in pairs] == ["1"]


@pytest.mark.parametrize(
    ("stride", "pairs"), [(2, ["a_1 a_3", "a_3 a_5", "b_1 b_3"]), (3, ["a_1 a_4"]), (4, ["a_1 a_5"])]
)
@pytest.mark.filterwarnings("ignore:.*pairs of neighbouring frames skipped")
def test_a_stride_uses_every_nth_frame_of_each_sequence(tmp_path: Path, stride: int, pairs: list[str]) -> None:
    for name in ("a_1", "a_2", "a_3", "a_4", "a_5", "b_1", "b_2", "b_3"):
        frame(tmp_path / f"{name}.png")
    found = FramePairs(tmp_path, stride=stride).pairs
    assert [f"{first.stem} {second.stem}" for first, second in found] == pairs
    with pytest.raises(ValueError, match=r"a stride of 5 leaves no pairs of the 8 frames in .*use a smaller one"):
        FramePairs(tmp_path, stride=5)

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers import trees
from unrollflow.data import Sintel, SintelRaw, read_flo, read_image, write_flo


def names(dataset: Sintel | SintelRaw) -> list[str]:
    return [pair.name for pair in dataset.pairs]


@pytest.mark.parametrize(
    ("split", "scenes"), [("all", ["alley_1", "alley_2"]), ("train", ["alley_1"]), ("validation", ["alley_2"])]
)
def test_splits_hold_their_scenes_pass_by_pass(tmp_path: Path, split: str, scenes: list[str]) -> None:
    dataset = Sintel(root=trees.sintel(tmp_path), split=split)  # type: ignore[arg-type]
    expected = [f"{p}/{scene}/frame_{i:04d}" for p in ("clean", "final") for scene in scenes for i in (1, 2)]
    assert names(dataset) == expected
    assert (dataset.skipped, dataset.partial) == (0, 0)


def test_a_sample_has_its_frames_its_flow_and_its_maps(tmp_path: Path) -> None:
    folder = trees.sintel(tmp_path) / "training"
    sample = Sintel(root=tmp_path, passes=("final",), invalid="exclude")[1]
    assert sample["name"] == "final/alley_1/frame_0002"
    assert torch.equal(sample["image1"], read_image(folder / "final" / "alley_1" / "frame_0002.png"))
    assert torch.equal(sample["image2"], read_image(folder / "final" / "alley_1" / "frame_0003.png"))
    flow = read_flo(folder / "flow" / "alley_1" / "frame_0002.flo")
    assert torch.equal(sample["flow"][:, 12:], flow[:, 12:])
    assert not sample["flow"][:, :12].any()  # the rows that the invalid map marks
    assert torch.equal(sample["valid"], (torch.arange(64) >= 12).view(-1, 1).expand(64, 96))
    assert torch.equal(sample["occluded"], (torch.arange(64) < 2).view(-1, 1).expand(64, 96))


def test_pixels_marked_invalid_count_as_in_the_fields_figures(tmp_path: Path) -> None:
    path = trees.sintel(tmp_path) / "training" / "flow" / "alley_1" / "frame_0002.flo"
    flow = read_flo(path)
    flow[0, 3, 4] = 1.7e9
    write_flo(path, flow)
    counted, excluded = (Sintel(root=tmp_path, invalid=i)[1] for i in ("count", "exclude"))  # type: ignore[arg-type]
    known = torch.ones(64, 96, dtype=torch.bool)
    known[3, 4] = False  # unknown flow counts in no case
    assert torch.equal(Sintel(root=tmp_path)[1]["valid"], known)
    assert torch.equal(counted["valid"], known)
    assert torch.equal(counted["flow"][:, known], flow[:, known])
    assert torch.equal(excluded["valid"], (torch.arange(64) >= 12).view(-1, 1).expand(64, 96))
    assert torch.equal(counted["occluded"], excluded["occluded"])


def test_maps_that_are_not_read_need_not_be_there(tmp_path: Path) -> None:
    (trees.sintel(tmp_path) / "training" / "invalid").rename(tmp_path / "elsewhere")
    assert Sintel(root=tmp_path).partial == 0
    with pytest.warns(UserWarning, match="8 are kept without a map"):
        assert Sintel(root=tmp_path, invalid="exclude")[0]["valid"].all()


def test_the_test_scenes_have_no_ground_truth(tmp_path: Path) -> None:
    dataset = Sintel(root=trees.sintel(tmp_path), split="test", passes=("clean",))
    assert names(dataset) == ["clean/ambush_1/frame_0001", "clean/ambush_1/frame_0002"]
    assert dataset[0].keys() == {"image1", "image2", "name"}


def test_without_labels_no_flow_is_read_or_needed(tmp_path: Path) -> None:
    trees.sintel(tmp_path)
    for flow in (tmp_path / "training" / "flow").rglob("*.flo"):
        flow.unlink()
    dataset = Sintel(root=tmp_path, split="validation", passes=("clean",), labels=False)
    assert [sample.keys() for sample in dataset] == 2 * [{"image1", "image2", "name"}]
    with pytest.raises(
        FileNotFoundError, match=r"no complete pair in .*frame_0001\.flo is missing. Expected layout: training/"
    ):
        Sintel(root=tmp_path)


def test_incomplete_pairs_of_a_scene_are_skipped_and_counted(tmp_path: Path) -> None:
    folder = trees.sintel(tmp_path) / "training"
    (folder / "flow" / "alley_1" / "frame_0001.flo").unlink()
    (folder / "clean" / "alley_2" / "frame_0003.png").unlink()
    (folder / "occlusions" / "alley_1" / "frame_0002.png").unlink()
    (folder / "invalid" / "alley_2" / "frame_0001.png").unlink()
    with pytest.warns(
        UserWarning, match=r"2 of 4 pairs are skipped .*alley_1/frame_0001\.flo.*; 2 are kept without a map"
    ) as reported:
        dataset = Sintel(root=tmp_path, passes=("clean",), invalid="exclude")
    assert (len(reported), reported[0].filename) == (1, __file__)
    assert names(dataset) == ["clean/alley_1/frame_0002", "clean/alley_2/frame_0001"]
    assert (dataset.skipped, dataset.partial) == (2, 2)
    assert repr(dataset) == "Sintel(2 pairs, 2 skipped, 2 partial)"
    assert "occluded" not in dataset[0]
    assert dataset[1]["valid"].all()


def test_non_finite_flow_is_not_valid_and_is_replaced(tmp_path: Path) -> None:
    trees.sintel(tmp_path)
    path = tmp_path / "training" / "flow" / "alley_1" / "frame_0001.flo"
    flow = read_flo(path)
    flow[0, 20, 0], flow[1, 20, 1], flow[0, 20, 2] = float("nan"), float("-inf"), 1.7e9
    write_flo(path, flow)
    sample = Sintel(root=tmp_path)[0]
    assert sample["valid"][20].tolist() == 3 * [False] + 93 * [True]
    assert sample["flow"].abs().max() < 10


@pytest.mark.parametrize("kind", ["flow", "occlusions", "invalid"])
def test_ground_truth_of_another_size_is_named(tmp_path: Path, kind: str) -> None:
    folder = trees.sintel(tmp_path) / "training"
    if kind == "flow":
        trees.flows([folder / kind / "alley_1" / "frame_0001.flo"], (64, 95))
    else:
        trees.mask(folder / kind / "alley_1" / "frame_0001.png", rows=1, size=(64, 95))
    with pytest.raises(
        ValueError, match=rf"{kind}/alley_1/frame_0001.* has a wrong size: it is 64x95 pixels, but its frames are 64x96"
    ):
        Sintel(root=tmp_path, invalid="exclude")[0]


@pytest.mark.parametrize("missing", ["training", "training/final", "training/flow"])
def test_a_missing_folder_and_the_layout_are_named(tmp_path: Path, missing: str) -> None:
    (trees.sintel(tmp_path) / missing).rename(tmp_path / "elsewhere")
    named = missing if missing != "training" else "training/clean"
    with pytest.raises(
        FileNotFoundError, match=rf"no folder {tmp_path}/{named}. Expected layout: training/.clean,final."
    ):
        Sintel(root=tmp_path)


def test_a_misspelt_choice_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split is 'training'; expected all or train or validation or test"):
        Sintel(root=tmp_path, split="training")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="passes is 'albedo'"):
        Sintel(root=tmp_path, passes=("clean", "albedo"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="passes is empty"):
        Sintel(root=tmp_path, passes=())
    with pytest.raises(ValueError, match="invalid is 'drop'; expected count or exclude"):
        Sintel(root=tmp_path, invalid="drop")  # type: ignore[arg-type]


def test_the_split_parts_the_23_scenes_into_12_and_11(tmp_path: Path) -> None:
    numbers = {"alley": 2, "bamboo": 2, "bandage": 2, "mountain": 1, "sleeping": 2}  # scenes of a place, from 1 on
    scenes = {f"{place}_{i + 1}" for place, count in numbers.items() for i in range(count)}
    scenes |= {f"ambush_{i}" for i in (2, 4, 5, 6, 7)} | {"cave_2", "cave_4", "market_2", "market_5", "market_6"}
    scenes |= {"shaman_2", "shaman_3", "temple_2", "temple_3"}
    assert len(scenes) == 23
    for scene in scenes:
        trees.frames(tmp_path / "training" / "clean" / scene / f"frame_000{i}.png" for i in (1, 2))
    train, validation = (
        {name.split("/")[1] for name in names(Sintel(root=tmp_path, split=s, passes=("clean",), labels=False))}
        for s in ("train", "validation")
    )
    assert (len(train), len(validation)) == (12, 11)
    assert train | validation == scenes
    assert "market_5" in train  # the field's list keeps it for training, unlike its neighbour
    assert "market_6" in validation


def test_raw_shots_are_paired_in_natural_order_and_not_across(tmp_path: Path) -> None:
    dataset = SintelRaw(root=trees.sintel_raw(tmp_path))
    assert names(dataset) == ["shot_1/8", "shot_1/9", "shot_2/8", "shot_2/9"]
    sample = dataset[1]
    assert torch.equal(sample["image2"], read_image(tmp_path / "shot_1" / "10.png"))
    assert sample.keys() == {"image1", "image2", "name"}
    with pytest.raises(FileNotFoundError, match=r"there are no frames\. Expected layout: <scene>"):
        SintelRaw(root=tmp_path / "shot_1")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        SintelRaw(root=tmp_path / "nowhere")


def test_raw_frames_are_not_paired_across_missing_numbers(tmp_path: Path) -> None:
    trees.sintel_raw(tmp_path)
    (tmp_path / "shot_2" / "9.png").unlink()
    trees.frames(tmp_path / "shot_2" / f"{number}.png" for number in (11, 12))
    with pytest.warns(UserWarning, match=r"1 pairs of neighbouring frames skipped, such as .*shot_2/8\.png and 10"):
        dataset = SintelRaw(root=tmp_path)
    assert names(dataset) == ["shot_1/8", "shot_1/9", "shot_2/10", "shot_2/11"]


@pytest.mark.filterwarnings("ignore:.*is incomplete")
def test_the_real_flow_is_what_its_bytes_say(real_data: Callable[[str], Path]) -> None:
    root = real_data("sintel")
    dataset = Sintel(root=root, invalid="exclude")
    assert len(dataset) >= 1
    for sample in dataset:
        path = root / "training" / "flow" / f"{sample['name'].partition('/')[2]}.flo"
        rows = np.frombuffer(path.read_bytes()[12:], "<f4").reshape(436, 1024, 2)
        magnitude = np.hypot(rows[..., 0].astype(np.float64), rows[..., 1].astype(np.float64))
        error_of_zero_flow = torch.linalg.vector_norm(sample["flow"].double(), dim=0)[sample["valid"]].mean()
        assert error_of_zero_flow.item() == pytest.approx(magnitude[sample["valid"].numpy()].mean(), rel=1e-9)
        assert sample["image1"].shape == sample["image2"].shape == (3, 436, 1024)
        assert sample["valid"].float().mean() > 0.9
        if "occluded" in sample:
            assert 0 < sample["occluded"].float().mean() < 0.5


@pytest.mark.filterwarnings("ignore:.*is incomplete")
def test_the_incomplete_real_scenes_are_counted(real_data: Callable[[str], Path]) -> None:
    training = real_data("sintel") / "training"
    dataset = Sintel(root=training.parent)
    scenes = [scene for name in ("clean", "final") for scene in sorted((training / name).iterdir())]
    assert len(Sintel(root=training.parent, labels=False)) == sum(len(list(s.glob("*.png"))) - 1 for s in scenes)
    complete = [
        frame
        for scene in scenes
        for frame in scene.glob("*.png")
        if (training / "flow" / scene.name / f"{frame.stem}.flo").is_file()
        and (scene / f"frame_{int(frame.stem[-4:]) + 1:04d}.png").is_file()
    ]
    assert len(dataset) == len(complete)
    lacking = [f for f in complete if not (training / "occlusions" / f.parent.name / f.name).is_file()]
    assert dataset.partial == len(lacking)


def test_hidden_files_are_not_frames(tmp_path: Path) -> None:
    folder = trees.sintel(tmp_path) / "training"
    for hidden in ("clean/alley_1/._frame_0001.png", "flow/alley_1/._frame_0001.flo", "clean/.cache/frame_0001.png"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_text("no frame")
    dataset = Sintel(root=tmp_path, passes=("clean",))
    assert (len(dataset), dataset.skipped) == (4, 0)

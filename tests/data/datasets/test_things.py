from pathlib import Path

import pytest
import torch

from tests.helpers import trees
from unrollflow.data import FlyingThings, read_flo, read_image, read_pfm, write_flo, write_pfm


def test_flow_files_tell_which_frames_follow_each_other(tmp_path: Path) -> None:
    dataset = FlyingThings(root=trees.things(tmp_path), cameras=("left",))
    future = [f"clean/left/into_future/{i:07d}" for i in (0, 1, 3)]
    past = [f"clean/left/into_past/{i:07d}" for i in (1, 2, 4)]
    assert [sample["name"] for sample in dataset] == future + past
    assert (dataset.skipped, dataset.partial) == (0, 0)


@pytest.mark.parametrize(("direction", "index", "first", "second"), [("into_future", 2, 3, 4), ("into_past", 1, 2, 1)])
def test_a_sample_has_its_frames_its_flow_and_its_occlusions(
    tmp_path: Path, direction: str, index: int, first: int, second: int
) -> None:
    folder = trees.things(tmp_path) / "val"
    sample = FlyingThings(
        root=tmp_path,
        split="validation",
        passes=("final",),
        cameras=("right",),
        directions=(direction,),  # type: ignore[arg-type]
    )[index]
    assert sample["name"] == f"final/right/{direction}/{first:07d}"
    assert torch.equal(sample["image1"], read_image(folder / "image_final" / "right" / f"{first:07d}.png"))
    assert torch.equal(sample["image2"], read_image(folder / "image_final" / "right" / f"{second:07d}.png"))
    assert torch.equal(sample["flow"], read_flo(folder / "flow" / "right" / direction / f"{first:07d}.flo"))
    assert torch.equal(sample["occluded"], (torch.arange(64) < 1 + first).view(-1, 1).expand(64, 96))


def test_broken_flow_is_not_valid(tmp_path: Path) -> None:
    path = trees.things(tmp_path) / "train" / "flow" / "left" / "into_future" / "0000000.flo"
    flow = read_flo(path)
    flow[0, 0, 0] = float("nan")
    write_flo(path, flow)
    sample = FlyingThings(root=tmp_path)[0]
    assert sample["valid"].sum() == 64 * 96 - 1
    assert sample["flow"][:, 0, 0].tolist() == [0, 0]


def test_without_occlusions_or_labels_samples_lack_them(tmp_path: Path) -> None:
    trees.things(tmp_path)
    (tmp_path / "train" / "flow_occlusions").rename(tmp_path / "elsewhere")
    dataset = FlyingThings(root=tmp_path)
    assert dataset[0].keys() == {"image1", "image2", "name", "flow", "valid"}
    assert dataset.partial == 0
    assert FlyingThings(root=tmp_path, labels=False)[0].keys() == {"image1", "image2", "name"}


def test_missing_files_are_named(tmp_path: Path) -> None:
    folder = trees.things(tmp_path) / "train"
    (folder / "image_clean" / "left" / "0000002.png").unlink()
    with pytest.warns(UserWarning, match=r"2 of 12 pairs are skipped .*0000002\.png"):
        assert len(FlyingThings(root=tmp_path)) == 10
    (folder / "flow" / "right" / "into_past").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"no folder .*flow/right/into_past. Expected layout: .train,val./"):
        FlyingThings(root=tmp_path)
    assert len(FlyingThings(root=tmp_path, cameras=("right",), directions=("into_future",))) == 3
    with pytest.raises(ValueError, match="directions is 'future'"):
        FlyingThings(root=tmp_path, directions=("future",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="split is 'val'"):
        FlyingThings(root=tmp_path, split="val")  # type: ignore[arg-type]


def test_the_full_layout_pairs_the_frames_of_each_sequence(tmp_path: Path) -> None:
    trees.things_full(tmp_path)
    dataset = FlyingThings(root=tmp_path, cameras=("left",))
    assert [sample["name"] for sample in dataset] == [
        f"clean/{sequence}/left/{direction}/{number}"
        for direction, numbers in (("into_future", ("0006", "0007")), ("into_past", ("0007", "0008")))
        for sequence in ("A/0000", "B/0001")
        for number in numbers
    ]
    assert (dataset.skipped, dataset.partial) == (0, 0)
    assert len(FlyingThings(root=tmp_path, passes=("clean", "final"))) == 32
    assert len(FlyingThings(root=tmp_path, cameras=("right",), directions=("into_past",))) == 4


@pytest.mark.parametrize(
    ("direction", "name", "second"), [("into_future", "IntoFuture", "0008"), ("into_past", "IntoPast", "0006")]
)
def test_a_sample_of_the_full_layout_has_its_frames_and_its_flow(
    tmp_path: Path, direction: str, name: str, second: str
) -> None:
    trees.things_full(tmp_path)
    frames = tmp_path / "frames_finalpass" / "TEST" / "B" / "0001" / "right"
    flow = tmp_path / "optical_flow" / "TEST" / "B" / "0001" / direction / "right" / f"OpticalFlow{name}_0007_R.pfm"
    stored = read_pfm(flow)
    stored[:, 2, 3] = float("nan")
    write_pfm(flow, stored)
    options = {"split": "validation", "passes": ("final",), "cameras": ("right",), "directions": (direction,)}
    dataset = FlyingThings(root=tmp_path, **options)  # type: ignore[arg-type]
    (sample,) = (s for s in dataset if s["name"] == f"final/B/0001/right/{direction}/0007")
    assert torch.equal(sample["image1"], read_image(frames / "0007.png"))
    assert torch.equal(sample["image2"], read_image(frames / f"{second}.png"))
    assert (~sample["valid"]).nonzero().tolist() == [[2, 3]]
    assert torch.equal(sample["flow"], stored[:2].nan_to_num())


def test_missing_parts_of_the_full_layout_are_named(tmp_path: Path) -> None:
    trees.things_full(tmp_path)
    for flow in tmp_path.glob("optical_flow/TRAIN/A/*/into_past/left/*_0007_L.pfm"):
        flow.unlink()
    with pytest.warns(UserWarning, match=r"1 of 8 pairs are skipped .*OpticalFlowIntoPast_0007_L\.pfm"):
        assert len(FlyingThings(root=tmp_path, cameras=("left",))) == 7
    (tmp_path / "optical_flow").rename(tmp_path / "elsewhere")
    assert len(FlyingThings(root=tmp_path, labels=False)) == 16
    with pytest.raises(FileNotFoundError, match=r"no complete pair in .*: .*IntoFuture_0006_L\.pfm is missing"):
        FlyingThings(root=tmp_path)
    for folder in (tmp_path / "frames_cleanpass").glob("*/*/*/right"):
        folder.rename(folder.with_name("elsewhere"))
    assert len(FlyingThings(root=tmp_path, cameras=("left",), directions=("into_future",), labels=False)) == 4
    with pytest.raises(FileNotFoundError, match=r"no folder .*A/0000/right. Expected layout:"):
        FlyingThings(root=tmp_path, labels=False)
    (tmp_path / "frames_finalpass").rename(tmp_path / "final")
    with pytest.raises(FileNotFoundError, match=r"no folder .*frames_finalpass/TRAIN"):
        FlyingThings(root=tmp_path, passes=("final",))


def test_a_map_that_is_not_a_flow_is_named(tmp_path: Path) -> None:
    trees.things_full(tmp_path)
    path = tmp_path / "optical_flow/TRAIN/A/0000/into_future/left/OpticalFlowIntoFuture_0006_L.pfm"
    write_pfm(path, torch.zeros(1, *trees.SIZE))
    with pytest.raises(ValueError, match=r"0006_L\.pfm has 1 channel; expected 3"):
        FlyingThings(root=tmp_path)[0]

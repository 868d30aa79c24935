from pathlib import Path

import pytest
import torch

from tests.helpers import trees
from unrollflow.data import FlyingThings, read_flo, read_image, write_flo


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


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    folder = trees.things(tmp_path) / "train"
    (folder / "image_clean" / "left" / "0000002.png").unlink()
    with pytest.warns(UserWarning, match=r"2 of 12 pairs lack a file .*0000002\.png"):
        assert len(FlyingThings(root=tmp_path)) == 10
    (folder / "flow" / "right" / "into_past").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"no folder .*flow/right/into_past; expected is .train,val./"):
        FlyingThings(root=tmp_path)
    assert len(FlyingThings(root=tmp_path, cameras=("right",), directions=("into_future",))) == 3
    with pytest.raises(ValueError, match="directions is 'future'"):
        FlyingThings(root=tmp_path, directions=("future",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="split is 'val'"):
        FlyingThings(root=tmp_path, split="val")  # type: ignore[arg-type]

from pathlib import Path

import pytest
import torch

from tests.helpers import trees
from unrollflow.data import Spring, read_image
from unrollflow.data.io.flo5 import read_flo5, write_flo5

pytest.importorskip("h5py")


def test_scenes_are_paired_by_camera_and_direction(tmp_path: Path) -> None:
    trees.spring(tmp_path)
    assert [s["name"] for s in Spring(root=tmp_path)] == ["0001/flow_FW_left_0001", "0001/flow_FW_left_0002"]
    dataset = Spring(root=tmp_path, cameras=("left", "right"), directions=("FW", "BW"))
    ends = [f"{d}_{c}_{i:04d}" for c in ("left", "right") for d, n in (("FW", (1, 2)), ("BW", (2, 3))) for i in n]
    assert [s["name"] for s in dataset] == [f"0001/flow_{end}" for end in ends]
    assert (dataset.skipped, dataset.partial) == (0, 0)


@pytest.mark.parametrize(("direction", "first", "second"), [("FW", 2, 3), ("BW", 3, 2)])
def test_flow_of_every_second_pixel_stays_in_pixels_of_the_frame(
    tmp_path: Path, direction: str, first: int, second: int
) -> None:
    scene = trees.spring(tmp_path) / "train" / "0001"
    sample = Spring(root=tmp_path, cameras=("right",), directions=(direction,))[1]  # type: ignore[arg-type]
    assert torch.equal(sample["image1"], read_image(scene / "frame_right" / f"frame_right_{first:04d}.png"))
    assert torch.equal(sample["image2"], read_image(scene / "frame_right" / f"frame_right_{second:04d}.png"))
    flow = read_flo5(scene / f"flow_{direction}_right" / f"flow_{direction}_right_{first:04d}.flo5")
    assert flow.shape == (2, 128, 192)
    assert torch.equal(sample["flow"], flow[:, ::2, ::2])
    assert torch.equal(sample["occluded"], (torch.arange(64) < first).view(-1, 1).expand(64, 96))


def test_unknown_flow_is_not_valid(tmp_path: Path) -> None:
    path = trees.spring(tmp_path) / "train" / "0001" / "flow_FW_left" / "flow_FW_left_0001.flo5"
    flow = read_flo5(path)
    flow[1, 4, 6] = float("nan")
    flow[0, 6, 8] = 1e10
    flow[:, 5, 7] = float("nan")  # between the pixels that are taken
    write_flo5(path, flow)
    sample = Spring(root=tmp_path)[0]
    assert (~sample["valid"]).nonzero().tolist() == [[2, 3], [3, 4]]
    assert sample["flow"][:, 2, 3].tolist() == [0, 0]
    assert sample["flow"].isfinite().all()


def test_every_value_of_a_pixel_is_a_candidate(tmp_path: Path) -> None:
    path = trees.spring(tmp_path) / "train" / "0001" / "flow_FW_left" / "flow_FW_left_0001.flo5"
    flow = read_flo5(path)
    flow[:, 4:6, 6:8] = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]])
    flow[:, 6, 8] = float("nan")  # the upper left value of pixel (3, 4)
    flow[0, 7, 9] = 1e10
    flow[:, 8:10, 10:12] = float("nan")
    write_flo5(path, flow)
    sample = Spring(root=tmp_path, every_value=True)[0]
    candidates = sample["flow_candidates"]
    assert candidates.shape == (4, 2, 64, 96)
    assert candidates[:, :, 2, 3].tolist() == [[1, 5], [2, 6], [3, 7], [4, 8]]
    first_known = flow[:, 6, 9]
    assert candidates[0, :, 3, 4].equal(first_known)
    assert candidates[3, :, 3, 4].equal(first_known)
    assert (~sample["valid"]).nonzero().tolist() == [[4, 5]]
    assert sample["flow"].equal(candidates[0])
    assert candidates.isfinite().all()


def test_flow_of_another_size_is_named(tmp_path: Path) -> None:
    path = trees.spring(tmp_path) / "train" / "0001" / "flow_FW_left" / "flow_FW_left_0001.flo5"
    write_flo5(path, torch.zeros(2, 128, 190))
    with pytest.raises(
        ValueError, match=r"0001\.flo5 has a wrong size: it is 128x190 pixels, but its frames are 64x96"
    ):
        Spring(root=tmp_path)[0]


def test_without_maps_labels_or_in_the_test_split_samples_lack_them(tmp_path: Path) -> None:
    trees.spring(tmp_path)
    (tmp_path / "train" / "0001" / "maps").rename(tmp_path / "elsewhere")
    assert Spring(root=tmp_path)[0].keys() == {"image1", "image2", "name", "flow", "valid"}
    assert Spring(root=tmp_path, labels=False)[0].keys() == {"image1", "image2", "name"}
    (sample,) = Spring(root=tmp_path, split="test", cameras=("right",))
    assert sample["name"] == "0002/flow_FW_right_0001"
    assert sample.keys() == {"image1", "image2", "name"}


def test_missing_files_are_named(tmp_path: Path) -> None:
    scene = trees.spring(tmp_path) / "train" / "0001"
    (scene / "flow_FW_left" / "flow_FW_left_0001.flo5").unlink()
    (scene / "maps" / "matchmap_flow_FW_left" / "matchmap_flow_FW_left_0002.png").unlink()
    with pytest.warns(UserWarning, match=r"1 of 2 pairs are skipped .*0001\.flo5.; 1 are kept without a map"):
        assert "occluded" not in Spring(root=tmp_path)[0]
    (tmp_path / "train").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"no folder .*train. Expected layout: .train,test./0001/frame_left"):
        Spring(root=tmp_path)
    with pytest.raises(ValueError, match="cameras is 'middle'"):
        Spring(root=tmp_path, cameras=("middle",))  # type: ignore[arg-type]

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.helpers import trees
from unrollflow.data import Hd1k, Kitti, KittiMultiview, KittiRaw, read_image
from unrollflow.metrics import endpoint_error, fl_outliers

COLUMNS = (torch.arange(96) > 0).expand(64, 96)  # what flow_occ knows in the tiny tree
ROWS = (torch.arange(64) == 0).view(-1, 1).expand(64, 96)  # what flow_noc lacks


def test_valid_is_what_occ_knows_and_occluded_what_noc_lacks_of_it(tmp_path: Path) -> None:
    trees.kitti(tmp_path)
    dataset = Kitti(root=tmp_path)
    assert [sample["name"] for sample in dataset] == ["000000_10", "000001_10"]
    sample = dataset[1]
    assert torch.equal(sample["image1"], read_image(tmp_path / "training" / "image_2" / "000001_10.png"))
    assert torch.equal(sample["image2"], read_image(tmp_path / "training" / "image_2" / "000001_11.png"))
    assert torch.equal(sample["valid"], COLUMNS)
    assert torch.equal(sample["flow"], trees.noise_flow(tmp_path / "000001_10.png") * COLUMNS)
    assert torch.equal(sample["occluded"], COLUMNS & ROWS)
    assert torch.equal(sample["foreground"], (torch.arange(64) < 5).view(-1, 1).expand(64, 96))
    assert dataset.partial == 0


def test_the_2012_edition_has_grey_frames_and_no_foreground(tmp_path: Path) -> None:
    trees.kitti(tmp_path, "image_0")
    path = tmp_path / "training" / "image_0" / "000000_10.png"
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    sample = Kitti(root=tmp_path, frames="image_0")[0]
    assert sample["image1"].shape == (3, 64, 96)
    assert torch.equal(sample["image1"][0], sample["image1"][2])
    assert not torch.equal(sample["image2"][0], sample["image2"][2])
    assert "foreground" not in sample
    with pytest.raises(FileNotFoundError, match=r"no folder .*image_2. Expected layout: .*image_0 \(2012, grey\)"):
        Kitti(root=tmp_path)


def test_one_of_flow_occ_and_flow_noc_is_sufficient(tmp_path: Path) -> None:
    folder = trees.kitti(tmp_path) / "training"
    (folder / "flow_occ").rename(folder / "elsewhere")
    only_noc = Kitti(root=tmp_path)[0]
    assert torch.equal(only_noc["valid"], COLUMNS & ~ROWS)
    assert not only_noc["occluded"].any()
    (folder / "flow_noc").rename(folder / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no folder .*flow_occ or .*flow_noc. Expected layout:"):
        Kitti(root=tmp_path)
    (folder / "elsewhere").rename(folder / "flow_occ")
    only_occ = Kitti(root=tmp_path)[0]
    assert torch.equal(only_occ["valid"], COLUMNS)
    assert "occluded" not in only_occ


def test_a_scene_without_its_occ_map_uses_noc_and_one_without_both_is_omitted(tmp_path: Path) -> None:
    folder = trees.kitti(tmp_path) / "training"
    for file in ("flow_occ/000000_10.png", "flow_occ/000001_10.png", "flow_noc/000001_10.png"):
        (folder / file).unlink()
    with pytest.warns(UserWarning, match=r"1 of 2 pairs are skipped .*flow_noc/000001_10\.png"):
        dataset = Kitti(root=tmp_path)
    assert [sample["name"] for sample in dataset] == ["000000_10"]
    assert not dataset[0]["occluded"].any()
    assert len(Kitti(root=tmp_path, labels=False)) == 2


def test_the_test_scenes_have_no_ground_truth(tmp_path: Path) -> None:
    (sample,) = Kitti(root=trees.kitti(tmp_path), split="test")
    assert sample.keys() == {"image1", "image2", "name"}
    assert torch.equal(sample["image2"], read_image(tmp_path / "testing" / "image_2" / "000000_11.png"))


@pytest.mark.parametrize("folder", ["flow_occ", "flow_noc", "obj_map"])
def test_ground_truth_of_another_size_is_named(tmp_path: Path, folder: str) -> None:
    path = trees.kitti(tmp_path) / "training" / folder / "000000_10.png"
    if folder == "obj_map":
        trees.mask(path, rows=1, size=(63, 96))
    else:
        trees.flows([path], (63, 96))
    with pytest.raises(
        ValueError, match=rf"{folder}/000000_10\.png has a wrong size: it is 63x96 pixels, but its frames are 64x96"
    ):
        Kitti(root=tmp_path)[0]


def test_misspelt_choices_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split is 'training'; expected train or test"):
        Kitti(root=tmp_path, split="training")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="frames is 'image_3'; expected image_0 or colored_0 or image_2"):
        Kitti(root=tmp_path, frames="image_3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cameras is 'left'"):
        KittiMultiview(root=tmp_path, cameras=("left",))  # type: ignore[arg-type]


def test_multiview_pairs_keep_away_from_the_evaluated_frames(tmp_path: Path) -> None:
    trees.kitti_multiview(tmp_path)
    dataset = KittiMultiview(root=tmp_path)
    numbers = [i for i in range(20) if not {i, i + 1} & {9, 10, 11, 12}]
    assert len(numbers) == 15
    expected = [f"{camera}/000000_{i:02d}" for camera in ("image_2", "image_3") for i in numbers]
    assert [pair.name for pair in dataset.pairs] == expected
    assert torch.equal(dataset[7]["image2"], read_image(tmp_path / "training" / "image_2" / "000000_08.png"))
    assert dataset[8]["name"] == "image_2/000000_13"
    assert (dataset.skipped, dataset[0].keys()) == (0, {"image1", "image2", "name"})


def test_multiview_pairs_do_not_bridge_a_gap_or_two_scenes(tmp_path: Path) -> None:
    trees.frames(tmp_path / "testing" / "image_2" / f"{name}.png" for name in ("000000_04", "000001_00", "000001_01"))
    trees.frames(tmp_path / "testing" / "image_2" / f"000001_{i:02d}.png" for i in (3, 4))
    with pytest.warns(UserWarning, match=r"1 of 3 pairs are skipped .*000001_02\.png"):
        dataset = KittiMultiview(root=tmp_path, cameras=("image_2",), split="test")
    assert [pair.name for pair in dataset.pairs] == ["image_2/000001_00", "image_2/000001_03"]
    with pytest.raises(
        FileNotFoundError, match=r"no folder .*image_3. Expected layout: .*with a camera such as image_2"
    ):
        KittiMultiview(root=tmp_path, split="test", cameras=("image_2", "image_3"))


def test_raw_pairs_are_those_of_the_list(tmp_path: Path) -> None:
    trees.kitti_raw(tmp_path)
    dataset = KittiRaw(root=tmp_path, pairs=tmp_path / "pairs.txt")
    folder = "2011_09_26/drive_0001_sync/image_02/data"
    assert [s["name"] for s in dataset] == [f"{folder}/0000000000", f"{folder}/0000000001"]
    assert torch.equal(dataset[1]["image2"], read_image(tmp_path / folder / "0000000002.png"))


def test_the_invalid_line_of_a_list_of_raw_pairs_is_named(tmp_path: Path) -> None:
    listing = trees.kitti_raw(tmp_path) / "pairs.txt"
    listing.write_text(listing.read_text() + "a.png b.png\n")
    with pytest.warns(UserWarning, match=r"1 of 3 pairs are skipped .*a\.png"):
        assert len(KittiRaw(root=tmp_path, pairs=listing)) == 2
    listing.write_text("\nonly_one.png\n")
    with pytest.raises(ValueError, match=r"pairs\.txt, line 2, has 1 words; expected two paths"):
        KittiRaw(root=tmp_path, pairs=listing)
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        KittiRaw(root=tmp_path, pairs=tmp_path / "none.txt")


def test_hd1k_pairs_the_frames_within_its_sequences(tmp_path: Path) -> None:
    trees.hd1k(tmp_path)
    dataset = Hd1k(root=tmp_path)
    assert [s["name"] for s in dataset] == ["000000_0000", "000000_0001", "000001_0000", "000001_0001"]
    assert dataset.skipped == 0  # the last frame of a sequence has a flow, but no next frame
    sample = dataset[3]
    assert torch.equal(sample["image2"], read_image(tmp_path / "hd1k_input" / "image_2" / "000001_0002.png"))
    path = tmp_path / "hd1k_flow_gt" / "flow_occ" / "000001_0001.png"
    assert torch.equal(sample["flow"], trees.noise_flow(path))
    assert sample["valid"].all()
    assert "occluded" not in sample
    (tmp_path / "hd1k_flow_gt").rename(tmp_path / "elsewhere")
    assert Hd1k(root=tmp_path, labels=False)[0].keys() == {"image1", "image2", "name"}
    with pytest.raises(FileNotFoundError, match=r"no folder .*flow_occ. Expected layout: hd1k_input"):
        Hd1k(root=tmp_path)


def read_png(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Flow (H, W, 2) and validity of KITTI's picture, apart from the package."""
    valid, v, u = np.moveaxis(cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float64), -1, 0)
    return np.stack([u - 2**15, v - 2**15], axis=-1) / 64, valid > 0


def test_zero_flow_on_the_real_2012_scenes_is_scored_as_numpy_does(real_data: Callable[[str], Path]) -> None:
    root = real_data("kitti2012")
    dataset = Kitti(root=root, frames="image_0")
    assert len(dataset) == len(list((root / "training" / "flow_occ").glob("*_10.png")))
    for sample in dataset:
        flow, valid = read_png(root / "training" / "flow_occ" / f"{sample['name']}.png")
        visible = read_png(root / "training" / "flow_noc" / f"{sample['name']}.png")[1]
        magnitude = np.linalg.norm(flow, axis=-1)
        error = endpoint_error(torch.zeros(1, 2, *valid.shape), sample["flow"][None])[0]
        outlier = fl_outliers(torch.zeros(1, 2, *valid.shape), sample["flow"][None])[0]
        seen = sample["valid"] & ~sample["occluded"]
        for chosen, expected in ((sample["valid"], valid), (seen, visible), (sample["occluded"], valid & ~visible)):
            assert error[chosen].mean().item() == pytest.approx(magnitude[expected].mean(), rel=1e-5)
            assert outlier[chosen].float().mean().item() == pytest.approx((magnitude[expected] > 3).mean(), rel=1e-5)
        assert 0 < sample["occluded"].sum() < sample["valid"].sum()
        assert sample["image1"].shape[-2:] == valid.shape


def test_the_real_2015_scene_has_only_what_is_not_occluded(real_data: Callable[[str], Path]) -> None:
    root = real_data("kitti2015")
    if (root / "training" / "flow_occ").is_dir():
        pytest.skip(f"{root} has flow_occ, too")
    for sample in Kitti(root=root):
        flow, valid = read_png(root / "training" / "flow_noc" / f"{sample['name']}.png")
        assert torch.equal(sample["valid"], torch.from_numpy(valid))
        assert sample["flow"].permute(1, 2, 0).numpy()[valid] == pytest.approx(flow[valid])
        assert not sample["occluded"].any()


def test_the_real_earlier_frames_are_pairs_for_training(real_data: Callable[[str], Path]) -> None:
    root = real_data("kitti2012")
    dataset = KittiMultiview(root=root, cameras=("image_0",))
    scenes = {frame.name[:6] for frame in (root / "training" / "image_0").glob("*_07.png")}
    assert {pair.name for pair in dataset.pairs} >= {f"image_0/{scene}_07" for scene in scenes}
    assert not {pair.image2.name[-6:-4] for pair in dataset.pairs} & {"09", "10", "11", "12"}

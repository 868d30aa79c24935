from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers import trees
from unrollflow.data import FlyingChairs, read_flo, read_image


@pytest.mark.parametrize(("split", "numbers"), [("all", [1, 2, 3, 4]), ("train", [1, 3]), ("validation", [2, 4])])
def test_the_split_file_defines_the_splits(tmp_path: Path, split: str, numbers: list[int]) -> None:
    dataset = FlyingChairs(root=trees.chairs(tmp_path), split=split)  # type: ignore[arg-type]
    assert [sample["name"] for sample in dataset] == [f"{n:05d}" for n in numbers]


def test_a_sample_has_its_frames_and_its_flow(tmp_path: Path) -> None:
    trees.chairs(tmp_path)
    sample = FlyingChairs(root=tmp_path)[2]
    assert torch.equal(sample["image1"], read_image(tmp_path / "data" / "00003_img1.ppm"))
    assert torch.equal(sample["image2"], read_image(tmp_path / "data" / "00003_img2.ppm"))
    assert torch.equal(sample["flow"], read_flo(tmp_path / "data" / "00003_flow.flo"))
    assert sample["valid"].all()
    assert "occluded" not in sample
    assert FlyingChairs(root=tmp_path, labels=False)[2].keys() == {"image1", "image2", "name"}


def test_numbers_rather_than_places_in_the_folder_are_looked_up(tmp_path: Path) -> None:
    trees.chairs(tmp_path)
    for file in (tmp_path / "data").glob("00001_*"):
        file.unlink()
    assert [s["name"] for s in FlyingChairs(root=tmp_path, split="train")] == ["00003"]


def test_another_split_file_can_be_named(tmp_path: Path) -> None:
    trees.chairs(tmp_path)
    (tmp_path / "mine.txt").write_text("2\n1\n2\n2\n")
    dataset = FlyingChairs(root=tmp_path, split="train", split_file=tmp_path / "mine.txt")
    assert [s["name"] for s in dataset] == ["00002"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\n3\n1\n2\n", r"train_val\.txt, line 2, is '3'; expected 1 \(train\) or 2 \(validation\)"),
        ("1\n2\n", r"train_val\.txt is too short: it has 2 lines, but there is a sample 00004"),
    ],
)
def test_a_wrong_split_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (trees.chairs(tmp_path) / "FlyingChairs_train_val.txt").write_text(content)
    with pytest.raises(ValueError, match=message):
        FlyingChairs(root=tmp_path, split="train")


def test_missing_files_are_named(tmp_path: Path) -> None:
    trees.chairs(tmp_path)
    (tmp_path / "data" / "00002_flow.flo").unlink()
    (tmp_path / "data" / "00003_img1.ppm").unlink()
    with pytest.warns(UserWarning, match=r"2 of 4 pairs are skipped .*00002_flow\.flo"):
        assert len(FlyingChairs(root=tmp_path)) == 2
    (tmp_path / "FlyingChairs_train_val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no split file .*; give split_file, or use the split 'all'"):
        FlyingChairs(root=tmp_path, split="validation")
    with pytest.raises(FileNotFoundError, match=r"no folder .*data/data. Expected layout: data/00001_img1\.ppm"):
        FlyingChairs(root=tmp_path / "data")
    with pytest.raises(ValueError, match="split is 'val'"):
        FlyingChairs(root=tmp_path, split="val")  # type: ignore[arg-type]


def test_zero_flow_on_the_real_chairs_is_scored_as_numpy_does(real_data: Callable[[str], Path]) -> None:
    root = real_data("chairs")
    dataset = FlyingChairs(root=root)
    assert len(dataset) == len(list((root / "data").glob("*.flo")))
    for sample in dataset:
        rows = np.fromfile(root / "data" / f"{sample['name']}_flow.flo", "<f4", offset=12).reshape(384, 512, 2)
        magnitude = torch.linalg.vector_norm(sample["flow"].double(), dim=0)
        assert magnitude.mean().item() == pytest.approx(np.linalg.norm(rows.astype(np.float64), axis=-1).mean())
        assert sample["image1"].shape == (3, 384, 512)

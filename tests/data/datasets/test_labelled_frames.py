from pathlib import Path

import pytest
import torch

from tests.helpers import trees
from unrollflow.data import LabelledFrames


def test_labels_belong_to_the_first_frame_of_each_pair(tmp_path: Path) -> None:
    root = trees.labelled(tmp_path)
    labelled = LabelledFrames(root=root / "frames", labels=root / "labels")
    assert [sample["name"] for sample in (labelled[i] for i in range(4))] == ["one/0", "one/1", "two/0", "two/1"]
    sample = labelled[1]
    assert not sample["valid"][0].any()
    assert sample["valid"][1:].all()
    known = trees.noise_flow(root / "labels" / "one" / "1.flo")[:, 1:]
    assert torch.equal(sample["flow"][:, 1:], known)
    assert (sample["flow"][:, 0] == 0).all()


def test_pairs_without_a_label_are_skipped_and_reported(tmp_path: Path) -> None:
    root = trees.labelled(tmp_path)
    (root / "labels" / "two" / "1.flo").unlink()
    with pytest.warns(UserWarning, match=r"1 of 4 pairs are skipped \(missing: .*two/1\.flo\)"):
        labelled = LabelledFrames(root=root / "frames", labels=root / "labels")
    assert len(labelled) == 3


def test_labels_across_missing_frames_are_skipped(tmp_path: Path) -> None:
    root = trees.labelled(tmp_path)
    (root / "frames" / "one" / "2.png").rename(root / "frames" / "one" / "5.png")
    with pytest.warns(UserWarning, match=r"1 pairs of neighbouring frames skipped, such as .*one/1\.png and 5\.png"):
        labelled = LabelledFrames(root=root / "frames", labels=root / "labels")
    assert [sample["name"] for sample in (labelled[i] for i in range(3))] == ["one/0", "two/0", "two/1"]


def test_missing_folders_are_named(tmp_path: Path) -> None:
    root = trees.labelled(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        LabelledFrames(root=root / "frames", labels=root / "nowhere")

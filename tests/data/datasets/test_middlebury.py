from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers import trees
from unrollflow.data import Middlebury, read_flo, read_image, write_flo


def test_sequences_come_by_name_and_unknown_flow_is_not_valid(tmp_path: Path) -> None:
    trees.middlebury(tmp_path)
    flow = torch.full((2, *trees.SIZE), 1.5)
    flow[0, 0, 0] = flow[1, 0, 1] = 1.67e9
    flow[1, 0, 2] = float("nan")
    flow[0, 0, 3] = -2e9
    write_flo(tmp_path / "Beta" / "flow10.flo", flow)
    alpha, beta = Middlebury(root=tmp_path)
    assert (alpha["name"], beta["name"]) == ("Alpha", "Beta")
    expected = torch.ones(trees.SIZE, dtype=torch.bool)
    expected[0, :4] = False
    assert torch.equal(beta["valid"], expected)
    assert torch.equal(beta["flow"], 1.5 * expected.expand(2, *trees.SIZE))
    assert torch.equal(beta["image2"], read_image(tmp_path / "Beta" / "frame11.png"))
    assert "occluded" not in beta


def test_a_sequence_without_flow_or_a_frame_is_skipped_and_counted(tmp_path: Path) -> None:
    trees.middlebury(tmp_path)
    (tmp_path / "Alpha" / "flow10.flo").unlink()
    with pytest.warns(UserWarning, match=r"1 of 2 pairs are skipped .*Alpha/flow10\.flo"):
        assert [s["name"] for s in Middlebury(root=tmp_path)] == ["Beta"]
    assert [s.keys() for s in Middlebury(root=tmp_path, labels=False)] == 2 * [{"image1", "image2", "name"}]
    (tmp_path / "Beta" / "frame11.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"no complete pair in .*Alpha/flow10\.flo"):
        Middlebury(root=tmp_path)


def test_what_the_published_archives_unpack_to_is_read(tmp_path: Path) -> None:
    trees.middlebury_published(tmp_path)
    alpha, beta = Middlebury(root=tmp_path)
    assert (alpha["name"], beta["name"]) == ("Alpha", "Beta")
    assert torch.equal(beta["image1"], read_image(tmp_path / "other-data" / "Beta" / "frame10.png"))
    assert torch.equal(beta["image2"], read_image(tmp_path / "other-data" / "Beta" / "frame11.png"))
    flow = read_flo(tmp_path / "other-gt-flow" / "Beta" / "flow10.flo")
    assert torch.equal(beta["flow"][:, beta["valid"]], flow[:, beta["valid"]])
    assert beta["valid"].sum() == 64 * 96 - 1
    # a sequence that was published without ground truth is not missing any
    assert Middlebury(root=tmp_path).skipped == 0
    assert [sample["name"] for sample in Middlebury(root=tmp_path, labels=False)] == ["Alpha", "Beta", "Gamma"]


def test_missing_parts_of_the_published_archives_are_reported(tmp_path: Path) -> None:
    trees.middlebury_published(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"flow10\.flo is missing. Expected layout: other-data/.* with other-gt-flow/"
    ):
        Middlebury(root=tmp_path / "other-data")  # the one archive's folder alone
    (tmp_path / "other-data" / "Alpha" / "frame11.png").unlink()
    with pytest.warns(UserWarning, match=r"1 of 2 pairs are skipped .*other-data/Alpha/frame11\.png"):
        assert [s["name"] for s in Middlebury(root=tmp_path)] == ["Beta"]


def test_the_error_for_a_folder_without_sequences_states_the_layout(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=rf"{root}.*frame10\.png, frame11\.png"):
            Middlebury(root=root)


def test_a_flow_of_another_size_is_named(tmp_path: Path) -> None:
    trees.middlebury(tmp_path)
    trees.flows([tmp_path / "Alpha" / "flow10.flo"], (63, 96))
    with pytest.raises(ValueError, match=r"flow10\.flo has a wrong size: it is 63x96 pixels, but its frames are 64x96"):
        Middlebury(root=tmp_path)[0]


def test_the_real_sequences_keep_all_known_flow(real_data: Callable[[str], Path]) -> None:
    root = real_data("middlebury")
    for sample in Middlebury(root=root):
        flow = read_flo(root / sample["name"] / "flow10.flo")
        known = (flow < 1e9).all(dim=0)
        assert torch.equal(sample["valid"], known)
        assert torch.equal(sample["flow"][:, known], flow[:, known])
        assert sample["flow"].abs().max() < 100
        assert known.float().mean() > 0.8

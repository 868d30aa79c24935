import os
from pathlib import Path

import pytest
import torch

from unrollflow.data import Middlebury, read_image, write_flo, write_image

DATA_DIR = Path(os.environ.get("UNROLLFLOW_DATA_DIR", Path(__file__).parents[2].parent / "shared" / "data"))


def sequence(root: Path, name: str, *, flow: torch.Tensor | None = None) -> Path:
    generator = torch.Generator().manual_seed(len(name))
    for frame in (10, 11):
        write_image(root / name / f"frame{frame}.png", torch.rand(3, 4, 6, generator=generator))
    if flow is not None:
        write_flo(root / name / "flow10.flo", flow)
    return root / name


def test_sequences_come_by_name_and_unknown_flow_is_not_valid(tmp_path: Path) -> None:
    flow = torch.full((2, 4, 6), 1.5)
    flow[0, 0, 0] = flow[1, 0, 1] = 1.67e9
    flow[1, 0, 2] = float("nan")
    flow[0, 0, 3] = -2e9
    sequence(tmp_path, "Venus", flow=flow)
    sequence(tmp_path, "Army")
    army, venus = Middlebury(root=tmp_path)
    assert (army["name"], venus["name"]) == ("Army", "Venus")
    assert "flow" not in army
    assert "valid" not in army
    expected = torch.ones(4, 6, dtype=torch.bool)
    expected[0, :4] = False
    assert torch.equal(venus["valid"], expected)
    assert torch.equal(venus["flow"], 1.5 * expected.expand(2, 4, 6))
    assert torch.equal(venus["image2"], read_image(tmp_path / "Venus" / "frame11.png"))


def test_a_folder_without_sequences_says_how_it_must_look(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=rf"{root}.*frame10\.png, frame11\.png"):
            Middlebury(root=root)


@pytest.mark.parametrize("missing", ["frame10.png", "frame11.png"])
def test_a_missing_frame_is_named(tmp_path: Path, missing: str) -> None:
    sequence(tmp_path, "Army")
    (sequence(tmp_path, "Venus") / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"Venus/{missing}"):
        Middlebury(root=tmp_path)


def test_a_flow_of_another_size_is_named(tmp_path: Path) -> None:
    sequence(tmp_path, "Army", flow=torch.zeros(2, 3, 6))
    with pytest.raises(ValueError, match=r"flow10\.flo is \(3, 6\)"):
        Middlebury(root=tmp_path)[0]


@pytest.mark.skipif(not (DATA_DIR / "middlebury").is_dir(), reason="set UNROLLFLOW_DATA_DIR to read the real sequences")
def test_the_real_sequences_are_finite_and_mostly_known() -> None:
    for sample in Middlebury(root=DATA_DIR / "middlebury"):
        assert sample["flow"].isfinite().all()
        assert sample["flow"].abs().max() < 100
        assert sample["valid"].float().mean() > 0.8

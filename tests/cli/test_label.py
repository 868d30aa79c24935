import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from experiments.common.assembly import CONFIGS
from tests.helpers import trees
from tests.helpers.clips import moving, write_frames
from tests.helpers.command import csv_logger, run_one_step, words
from unrollflow.cli.label import RECORD, Labeller, Triplets
from unrollflow.cli.main import main
from unrollflow.contracts import Prediction, known_flow
from unrollflow.data import LabelledFrames, read_flo
from unrollflow.training.module import UnsupervisedFlow

QUICKSTART = CONFIGS / "experiment" / "quickstart.yaml"


class Known(nn.Module):
    """Flow of 3 px to the right, occluded in the last three columns; to the previous frame, 3 px to the left."""

    def forward(self, image1: Tensor, image2: Tensor) -> Prediction:
        flow = torch.zeros(len(image1), 2, *image1.shape[-2:])
        visible = torch.ones_like(flow[:, :1])
        if image2.mean() > 0.5:  # the next frame
            flow[:, 0] = 3
            visible[..., -3:] = 0
            flow[..., -3:] = 99
        else:
            flow[:, 0] = -3
        return Prediction(flow, -flow, visible)


def test_what_is_occluded_is_filled_in_from_the_frame_before() -> None:
    labeller = Labeller(Known())  # type: ignore[arg-type]
    frame = torch.ones(1, 3, 20, 30)
    with_before = labeller.predict_step({"image1": frame, "image2": frame, "previous": 0 * frame, "name": "a"}, 0)
    torch.testing.assert_close(with_before.flow[:, 0], torch.full((1, 20, 30), 3.0), atol=1e-3, rtol=0)
    assert with_before.visible.all()
    assert labeller.share_filled == 1
    without = labeller.predict_step({"image1": frame, "image2": frame, "name": "b"}, 0)
    assert (without.visible[..., -3:] == 0).all()
    assert labeller.share_filled == 0.5


def test_triplets_have_the_frame_before_but_for_the_first_of_each_folder(tmp_path: Path) -> None:
    root = trees.labelled(tmp_path)
    triplets = Triplets(root / "frames", tmp_path / "none")
    assert [sample["name"] for sample in triplets] == ["one/0", "one/1", "two/0", "two/1"]
    assert ["previous" in triplets[i] for i in range(4)] == [False, True, False, True]
    assert torch.equal(triplets[1]["previous"], triplets[0]["image1"])


@pytest.mark.filterwarnings("ignore:.*pairs of neighbouring frames skipped")
def test_the_frame_before_is_of_the_same_sequence(tmp_path: Path) -> None:
    trees.frames(tmp_path / f"{name}.png" for name in ("a_1", "a_2", "a_3", "b_1", "b_2"))
    triplets = Triplets(tmp_path, tmp_path / "none")
    assert [("previous" in sample, sample["name"]) for sample in (triplets[i] for i in range(3))] == [
        (False, "a_1"), (True, "a_2"), (False, "b_1"),
    ]  # fmt: skip


@pytest.mark.parametrize("solver", ["fast", "default"])
def test_labels_of_the_solver_need_no_network(
    tmp_path: Path, solver: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(UnsupervisedFlow, "load_from_checkpoint", None)
    write_frames(tmp_path / "frames", moving(3, size=(48, 64)))
    command = ["label", str(tmp_path / "frames"), "--solver", solver, "--output", str(tmp_path / "labels")]
    main(command)
    assert "2 label(s) written" in capsys.readouterr().out
    assert json.loads((tmp_path / "labels" / RECORD).read_text()) == {"solver": solver}
    label = read_flo(tmp_path / "labels" / "frame_1.flo")[:, 8:-8, 8:-8]
    known = known_flow(label)
    assert known.float().mean() > 0.9
    assert (label[0][known] + 2).abs().mean() < 0.2  # the texture moves by 2 px to the left
    main(command)
    assert "0 label(s) written" in capsys.readouterr().out
    other = {"fast": "default", "default": "fast"}[solver]
    with pytest.raises(SystemExit, match=r"labels of another checkpoint or solver, see .*made_by\.json"):
        main([*command[:3], other, *command[4:]])
    with pytest.raises(SystemExit, match=rf"--solver {solver} and --weights last\.ckpt"):
        main([*command, "--weights", "last.ckpt"])
    (tmp_path / "labels" / RECORD).write_text("damaged")
    with pytest.raises(SystemExit, match="labels of another checkpoint or solver"):
        main(command)


def fit_on_labels(tmp_path: Path, root: Path, objective: str, *, run: Path) -> None:
    """Train on frames below a root with the labels in tmp_path, with an objective's file; files go below `run`."""
    options = {
        "--data": CONFIGS / "data" / "labels.yaml",
        "--data.train.root": root,
        "--data.train.labels": tmp_path / "labels",
        "--data.validation.root": trees.sintel(tmp_path / "sintel"),
        "--data.transform": "null",
        "--data.batch_size": 1,
        "--data.workers": 0,
        "--model.objective": CONFIGS / "objective" / f"{objective}.yaml",
        "--trainer.logger": csv_logger(run),
    }
    overlay = ["--config", str(CONFIGS / "debug" / "tiny.yaml")]
    main(["fit", "--config", str(QUICKSTART), *overlay, *words({k: str(v) for k, v in options.items()})])


@pytest.mark.slow
def test_labels_of_the_solver_are_mixed_with_the_photometric_loss(tmp_path: Path) -> None:
    root = trees.labelled(tmp_path / "data") / "frames"
    main(["label", str(root), "--solver", "fast", "--output", str(tmp_path / "labels")])
    fit_on_labels(tmp_path, root, "pyramid_matcher_labels", run=tmp_path)
    (header, *_) = (tmp_path / "flow" / "version_0" / "metrics.csv").read_text().splitlines()
    assert {"loss/endpoint_error", "loss/photometric"} <= set(header.split(","))


@pytest.mark.slow
def test_the_command_writes_labels_that_a_training_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.labelled(tmp_path / "data") / "frames"
    run_one_step(tmp_path, QUICKSTART)
    checkpoint = str(tmp_path / "flow" / "version_0" / "checkpoints" / "last.ckpt")
    command = ["label", str(root), "--ckpt_path", checkpoint, "--output", str(tmp_path / "labels")]
    main(command)
    assert "4 label(s) written" in capsys.readouterr().out
    kept = tmp_path / "labels" / "one" / "0.flo"
    before = kept.stat().st_mtime_ns
    (tmp_path / "labels" / "two" / "1.flo").unlink()
    main(command)
    assert "1 label(s) written" in capsys.readouterr().out
    assert kept.stat().st_mtime_ns == before, "what is there stays"
    other = tmp_path / "other.ckpt"
    run_one_step(tmp_path, QUICKSTART, "--seed_everything", "1")
    other.write_bytes((tmp_path / "flow" / "version_1" / "checkpoints" / "last.ckpt").read_bytes())
    with pytest.raises(SystemExit, match="contains labels of another checkpoint"):
        main([*command[:3], str(other), *command[4:]])
    (tmp_path / "labels" / RECORD).unlink()
    with pytest.raises(SystemExit, match=r"contains 4 label\(s\) of an unknown source: made_by\.json is missing"):
        main(command)
    with pytest.raises(SystemExit, match="is a file, not a folder"):
        main([*command[:-1], checkpoint])
    assert read_flo(kept).shape == (2, *trees.SIZE)
    sample = LabelledFrames(root=root, labels=tmp_path / "labels")[1]
    assert sample["flow"][:, sample["valid"]].isfinite().all()
    fit_on_labels(tmp_path, root, "supervised", run=tmp_path / "second")
    assert (tmp_path / "second" / "flow" / "version_0" / "checkpoints" / "last.ckpt").is_file()


def test_folders_without_frames_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="contains no folder with at least two frames"):
        Triplets(tmp_path, tmp_path / "labels")
    with pytest.raises(FileNotFoundError, match="no folder"):
        Triplets(tmp_path / "nowhere", tmp_path / "labels")

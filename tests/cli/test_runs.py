from pathlib import Path

import pytest
import yaml

from tests.helpers.comparison import write_run
from unrollflow.cli.runs import differing, grouped, leaves, read_runs, seed_keys


def test_runs_that_differ_by_their_seeds_or_their_folders_alone_are_grouped(tmp_path: Path) -> None:
    other = {"class_path": "unrollflow.losses.TotalVariation", "init_args": {"penalty": "huber"}}
    folders = [
        write_run(tmp_path / "a", seed=0),
        write_run(tmp_path / "b", seed=0, smoothness=other),
        write_run(tmp_path / "c", seed=1),
    ]
    groups = grouped(read_runs(folders))
    assert [[run.folder.name for run in group] for group in groups] == [["a", "c"], ["b"]]
    assert differing([group[0].settings for group in groups]) == ["model.smoothness.init_args.penalty"]
    assert groups[0][1].seeds == {"seed_everything": 1, "data.seed": 1}


def test_runs_are_paired_by_their_seeds_whatever_their_order(tmp_path: Path) -> None:
    runs = read_runs([write_run(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 1), ("c", 0))])
    keys = seed_keys(runs)
    assert len(set(keys)) == 3
    assert seed_keys(runs[::-1])[:2] == [keys[0], keys[1]]


def test_nested_settings_are_compared_one_by_one() -> None:
    one = leaves({"a": {"parts": [{"class_path": "p.Q", "x": 1}], "empty": {}}})
    other = leaves({"a": {"parts": [{"class_path": "p.Q", "x": 2}, {"class_path": "p.R"}], "empty": {}}})
    assert differing([one, other]) == ["a.parts.0.x", "a.parts.1.class_path"]
    assert one["a.empty"] == {}
    assert differing([{"a": None}, {}]) == ["a"], "null is not absent"


def test_the_best_checkpoint_is_compared_or_else_the_last(tmp_path: Path) -> None:
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", checkpoint="last.ckpt")]
    (folders[0] / "checkpoints" / "last.ckpt").touch()
    assert [run.checkpoint.name for run in read_runs(folders)] == ["best.ckpt", "last.ckpt"]


def test_folders_that_are_not_runs_are_refused(tmp_path: Path) -> None:
    run, empty, other = write_run(tmp_path / "run"), tmp_path / "empty", write_run(tmp_path / "other")
    empty.mkdir()
    with pytest.raises(ValueError, match="1 run given; a comparison needs at least two"):
        read_runs([run])
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        read_runs([run, tmp_path / "nowhere"])
    with pytest.raises(FileNotFoundError, match=r"empty is not a run: config\.yaml is missing"):
        read_runs([run, empty])
    (other / "config.yaml").write_text("model: {a: 1}")
    with pytest.raises(ValueError, match=r"is not a run: its config\.yaml has no data and no trainer"):
        read_runs([run, other])
    (other / "config.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"is not a run: its config\.yaml cannot be read"):
        read_runs([run, other])


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="b has no checkpoint"):
        read_runs([run, write_run(tmp_path / "b", checkpoint="step=7.ckpt")])


def test_a_run_is_named_once_by_whatever_path(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    with pytest.raises(ValueError, match="the same run is given twice"):
        read_runs([run, tmp_path / "a" / ".." / "a"])


def test_other_validation_data_are_refused_and_named(tmp_path: Path) -> None:
    run, other = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    config = yaml.safe_load((other / "config.yaml").read_text())
    config["data"]["validation"]["init_args"]["length"] = 3
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match=r"data\.validation\.init_args\.length is 2 in .*a and 3 in .*b"):
        read_runs([run, other])
    config["data"]["validation"] = None
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="b has no validation data"):
        read_runs([other, run])

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from experiments.replay_sweep import choices, command_line, compared_runs, draw, main, place_of, replay
from tests.helpers.comparison import write_run

CODE = """
import json, pathlib, sys
given = dict(argument.removeprefix("--").split("=") for argument in sys.argv[1:])
if given["level"] == "3":
    sys.exit("no such level")
folder = pathlib.Path("runs/flow/version_0")
folder.mkdir(parents=True)
(folder / "metrics.json").write_text(json.dumps({"epe": None if given["level"] == "2" else 1 / float(given["rate"])}))
"""


def sweep(**options: Any) -> dict[str, Any]:
    """A stand-in for a training that takes no time: its error is the inverse of its learning rate."""
    return {
        "program": "train.py",
        "method": "grid",
        "metric": {"name": "val/epe", "goal": "minimize"},
        "command": ["${env}", "${interpreter}", "-c", CODE, "${args}"],
        "parameters": {"rate": {"values": [1, 4]}, "level": {"value": 0}},
    } | options


def test_a_grid_is_run_whole_and_its_table_begins_with_the_best(tmp_path: Path) -> None:
    rows = replay(sweep(), tmp_path, runs=0, seed=0, processes=1)
    assert [row["results"]["epe"] for row in rows] == [1.0, 0.25]
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[0] == "rate,level,val/epe,seconds"
    assert [line.rpartition(",")[0] for line in lines[1:]] == ["4,0,0.25", "1,0,1.0"]


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    first = replay(sweep(), tmp_path, runs=0, seed=0, processes=1)
    assert replay(sweep(), tmp_path, runs=0, seed=0, processes=1) == first  # the stand-in cannot run twice in one place


def test_a_run_without_an_error_comes_last(tmp_path: Path) -> None:
    levels = {"rate": {"value": 2}, "level": {"values": [2, 0]}}
    replay(sweep(parameters=levels), tmp_path, runs=0, seed=0, processes=1)
    assert (tmp_path / "table.csv").read_text().splitlines()[-1].startswith("2,2,-,")


def test_a_run_that_fails_is_named_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a run failed \(see .*log\.txt\)"):
        replay(sweep(parameters={"rate": {"value": 2}, "level": {"value": 3}}), tmp_path, runs=0, seed=0, processes=1)
    (log,) = tmp_path.glob("*/log.txt")
    assert "no such level" in log.read_text()


def test_draws_lie_within_their_limits_and_repeat(tmp_path: Path) -> None:
    parameters = {
        "weight": {"distribution": "log_uniform_values", "min": 1e-3, "max": 10.0},
        "share": {"min": 0.0, "max": 1.0},
        "steps": {"values": [1, 2, 4]},
    }
    drawn = choices(sweep(method="bayes", parameters=parameters), runs=200, seed=0)
    weights, shares, steps = ([cell[name] for cell in drawn] for name in parameters)
    assert all(1e-3 <= float(w or 0) <= 10 for w in weights)
    assert 0.4 < np.mean([float(w or 0) < 0.1 for w in weights]) < 0.6  # half of the decades
    assert 0.4 < np.mean([float(s or 0) for s in shares]) < 0.6
    assert set(steps) == {1, 2, 4}
    assert choices(sweep(method="bayes", parameters=parameters), runs=3, seed=0) == drawn[:3]
    assert choices(sweep(method="bayes", parameters=parameters), runs=3, seed=1) != drawn[:3]


def test_what_cannot_be_replayed_is_refused() -> None:
    with pytest.raises(ValueError, match="distribution 'q_normal'"):
        draw("a", {"distribution": "q_normal"}, np.random.default_rng(0))
    with pytest.raises(ValueError, match="a grid needs `values`"):
        choices(sweep(parameters={"a": {"min": 0.0, "max": 1.0}}), runs=1, seed=0)


def test_the_command_is_the_agents() -> None:
    found = command_line(
        sweep(command=["${env}", "${interpreter}", "${program}", "-v", 0.25, "${args}"]), {"a.b": True}
    )
    assert found == ["/usr/bin/env", sys.executable, "train.py", "-v", "0.25", "--a.b=True"]


def test_on_the_command_line_more_words_are_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep(parameters={"rate": {"values": [1, 4]}})))
    main([str(tmp_path / "sweep.yaml"), "--folder", str(tmp_path / "out"), "--", "--level=0"])
    out = capsys.readouterr().out
    assert "| 4 | 0.25 |" in out
    assert "no compare.html: 0 of 2 runs have an error epe and a checkpoint" in out
    row = json.loads((tmp_path / "out" / "rows.jsonl").read_text().splitlines()[0])
    assert row["settings"]["command"].endswith("--rate=1 --level=0")


def test_the_page_compares_the_best_settings_with_all_their_seeds(tmp_path: Path) -> None:
    rows = []
    for i, (penalty, seed, epe) in enumerate([("l1", 0, 3.0), ("huber", 0, 2.0), ("l1", 1, 0.5), ("none", 0, None)]):
        folder = place_of(f"run {i}", tmp_path) / "runs" / "flow" / "version_0"
        write_run(folder, seed=seed, smoothness=penalty)
        (folder / "metrics.json").write_text("{}")
        rows.append({"settings": {"command": f"run {i}"}, "results": {"epe": epe}})
    found = compared_runs(rows, tmp_path, name="epe")
    assert found == [place_of(f"run {i}", tmp_path) / "runs" / "flow" / "version_0" for i in (0, 2, 1)]


@pytest.mark.slow
def test_a_sweep_of_trainings_ends_with_a_page(tmp_path: Path) -> None:
    command = ["${interpreter}", "-m", "unrollflow", "fit", "--config", "configs/experiment/quickstart.yaml"]
    tiny = ["--config", "configs/debug/tiny.yaml", "--data.validation.length", "2", "${args}"]
    weights = {"model.objective.init_args.smoothness_weight": {"values": [1.0, 9.0]}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep(command=[*command, *tiny], parameters=weights)))
    main([str(tmp_path / "sweep.yaml"), "--folder", str(tmp_path / "out")])
    assert "evaluated on 2 validation images" in (tmp_path / "out" / "compare.html").read_text()

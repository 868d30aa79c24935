"""The command on runs of one step."""

from pathlib import Path

import pytest
import torch

from experiments.common.assembly import CONFIGS
from tests.helpers.command import run_one_step
from unrollflow.cli.compare import evaluate, validation_data
from unrollflow.cli.main import main
from unrollflow.cli.runs import read_runs
from unrollflow.training.module import UnsupervisedFlow

QUICKSTART = CONFIGS / "experiment" / "quickstart.yaml"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs: seeds 0 and 1, and seed 0 with another weight of the smoothness term."""
    folder = tmp_path_factory.mktemp("runs")
    changes = (
        ["--seed_everything", "0"],
        ["--seed_everything", "1"],
        ["--seed_everything", "0", "--model.objective.init_args.smoothness_weight", "100"],
    )
    for change in changes:
        run_one_step(folder, QUICKSTART, *change, side=80)
    return [folder / "flow" / f"version_{i}" for i in range(len(changes))]


def test_two_seeds_and_another_setting_are_two_groups(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "pages" / "compare.html"
    main(["compare", *map(str, runs), "-o", str(output), "--samples", "1"])
    assert f"Comparison of 3 runs in 2 group(s), written to {output}" in capsys.readouterr().out
    page = output.read_text()
    assert "3 runs in 2 groups, evaluated on 2 validation images." in page
    assert "A: smoothness_weight 2.5" in page
    assert "B: smoothness_weight 100" in page
    assert page.count('class="sample"') == 1
    assert page.count('class="run"') == 3
    assert "seed 0<br>seed 1" in page
    assert "best.ckpt, step 1" in page


def test_a_page_that_is_there_is_replaced_only_on_request(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "compare.html"
    output.write_text("mine")
    with pytest.raises(SystemExit, match="already exist"):
        main(["compare", *map(str, runs[:2]), "-o", str(output)])
    assert output.read_text() == "mine"
    main(["compare", *map(str, runs[:2]), "-o", str(output), "--samples", "0", "--overwrite"])
    assert "All runs differ only by their seeds." in output.read_text()
    assert "<h2>Samples</h2>" not in output.read_text()


def test_bad_input_is_one_sentence(runs: list[Path], tmp_path: Path) -> None:
    for arguments, message in (
        (runs[:1], "1 run given"),
        ([runs[0], tmp_path], "is not a run: config.yaml is missing"),
        ([runs[0], runs[0]], "the same run is given twice"),
        ([*runs[:2], "--samples", "-1"], "--samples is out of range: -1"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["compare", *map(str, arguments), "-o", str(tmp_path / "compare.html")])
        assert str(ended.value).startswith("unrollflow: ")
        assert message in str(ended.value)
    assert not list(tmp_path.iterdir())


def test_a_configuration_builds_no_foreign_class(runs: list[Path]) -> None:
    run = read_runs(runs[:2])[0]
    marker = {"class_path": "os.system", "init_args": {"command": "exit 1"}}
    foreign = run._replace(config=run.config | {"data": run.config["data"] | {"validation": marker}})
    with pytest.raises(ValueError, match=r"untrusted names: os\.system"):
        validation_data(foreign, [])


def test_the_figures_are_those_of_validate(runs: list[Path]) -> None:
    run = read_runs(runs[:2])[0]
    found = evaluate(
        UnsupervisedFlow.load_from_checkpoint(run.checkpoint), validation_data(run, []), samples=1, accelerator="cpu"
    )
    main(["validate", "--ckpt_path", str(run.checkpoint)])
    (table,) = run.folder.parent.glob("*/per_sample.csv")  # in a folder of its own, beside the run's
    lines = table.read_text().splitlines()
    column = lines[0].split(",").index("epe")
    expected = [float(line.split(",")[column]) for line in lines[1:]]
    torch.testing.assert_close(torch.tensor([row.means["epe"] for row in found.rows]), torch.tensor(expected))

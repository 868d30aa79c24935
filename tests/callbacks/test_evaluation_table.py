import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from torch.utils.data import DataLoader, DistributedSampler

from tests.callbacks.test_run_report import Still, validate
from tests.training.test_module import layers, parts, trainer
from unrollflow.callbacks.evaluation_table import EvaluationTable, Row, summary, summary_table
from unrollflow.callbacks.run_report import RunReport
from unrollflow.metrics.names import MEASURES, UNLABELLED
from unrollflow.training.module import UnsupervisedFlow
from unrollflow.visualization.table import format_table


def row(name: str, epe: float, pixels: int) -> Row:
    """A sample with a known EPE and no other measure."""
    means = dict.fromkeys(MEASURES, math.nan) | {"epe": epe}
    return Row(name, means, dict.fromkeys(MEASURES, 0) | {"epe": pixels})


def test_table_has_a_row_a_sample_and_a_row_a_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validate(tmp_path, EvaluationTable(most_rows=3))
    samples, averages = capsys.readouterr().out.split("\n\n")
    names = [f"validation-00000{i}" for i in range(3)]
    assert [line.split()[0] for line in samples.splitlines()] == ["name", *names]
    assert any(line.startswith("EPE, all pixels, px") for line in averages.splitlines())
    with (tmp_path / "per_sample.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [sample["name"] for sample in written] == names
    epe = json.loads((tmp_path / "evaluation.json").read_text())["epe"]
    assert epe["mean"] == pytest.approx(sum(float(sample["epe"]) for sample in written) / 3)
    assert epe["images"] == 3
    assert "low" not in epe


def test_a_loader_that_splits_its_samples_over_processes_is_refused(tmp_path: Path) -> None:
    samples = layers(3, "validation")
    split = DataLoader(samples, sampler=DistributedSampler(samples, num_replicas=2, rank=0))
    runner = trainer(tmp_path, callbacks=[EvaluationTable()])
    for evaluate, loaders in ((runner.test, split), (runner.validate, [DataLoader(samples), split])):
        with pytest.raises(ValueError, match=r"splits its samples over 2 processes.*use_distributed_sampler=False"):
            evaluate(Still(), loaders, verbose=False)
    assert not list(tmp_path.iterdir())
    runner.fit(Still(), DataLoader(layers()), split)  # writes no table


def test_the_error_of_zero_flow_is_that_of_the_baseline(tmp_path: Path) -> None:
    """`Still` predicts zero flow, so its error is the baseline's."""
    validate(tmp_path, EvaluationTable())
    averages = json.loads((tmp_path / "evaluation.json").read_text())
    assert averages["epe"] == averages["epe_zero_flow"]


def test_a_long_table_is_only_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validate(tmp_path, EvaluationTable(most_rows=2))
    shown = capsys.readouterr().out
    assert "validation-000000" not in shown
    assert "EPE, all pixels, px" in shown
    assert len((tmp_path / "per_sample.csv").read_text().splitlines()) == 4


def test_a_table_holds_no_rows_of_a_run_that_was_interrupted(tmp_path: Path) -> None:
    class Breaks(pl.Callback):
        def on_validation_batch_end(self, *_: Any) -> None:
            raise RuntimeError("the disk is gone")

    runner = trainer(tmp_path, callbacks=[EvaluationTable(), RunReport(), Breaks()])
    module, loader = Still(), DataLoader(layers(2, "validation"))
    with pytest.raises(RuntimeError, match="disk is gone"):
        runner.validate(module, loader, verbose=False)
    assert not list(tmp_path.iterdir())
    runner.callbacks.pop()  # type: ignore[attr-defined]
    runner.validate(module, loader, verbose=False)
    assert len((tmp_path / "per_sample.csv").read_text().splitlines()) == 3


def test_without_ground_truth_the_table_shows_what_needs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("image1", "image2", "name")
    samples: Any = [{name: sample[name] for name in names} for sample in layers(3, "validation")]
    runner = trainer(tmp_path, callbacks=[EvaluationTable(confidence=0.9), RunReport()])
    (logged,) = runner.validate(UnsupervisedFlow(**parts()), DataLoader(samples, batch_size=2), verbose=False)
    shown = capsys.readouterr().out
    assert "ratio to zero" in shown.splitlines()[0]
    assert "Forward-backward mismatch, px" in shown
    assert "EPE" not in shown
    averages = json.loads((tmp_path / "evaluation.json").read_text())
    assert set(averages) == set(UNLABELLED)
    for name, values in averages.items():
        assert values["mean"] == pytest.approx(logged[f"val/{name}"], rel=1e-5)
        assert values["images"] == 3
    assert json.loads((tmp_path / "metrics.json").read_text())["census"] == pytest.approx(averages["census"]["mean"])
    assert "Without ground truth" in (tmp_path / "report.html").read_text()


def test_means_are_over_images_and_pooled_means_over_pixels() -> None:
    averages = summary([row("a", 1.0, 300), row("b", 5.0, 100), row("c", math.nan, 0)], confidence=None)
    assert averages == {"epe": {"mean": 3.0, "pooled": 2.0, "images": 2, "pixels": 400}}


def test_interval_on_request_holds_the_mean() -> None:
    averages = summary([row("abcdef"[i], float(i), 10) for i in range(6)], confidence=0.9)
    epe = averages["epe"]
    assert 0 < epe["low"] < epe["mean"] < epe["high"] < 5
    assert "90 % from" in summary_table(averages)


def test_the_error_of_non_finite_flow_is_shown_as_a_dash(tmp_path: Path) -> None:
    averages = summary([row("a", math.inf, 10)], confidence=None)
    assert averages["epe"]["mean"] is None
    assert "-" in summary_table(averages).splitlines()[1]


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        EvaluationTable(confidence=confidence)


def test_undefined_values_are_dashes_and_counts_have_no_decimals() -> None:
    assert format_table(["EPE", "n"], [("x", [math.nan, 3])]).splitlines()[1].split() == ["x", "-", "3"]

import importlib
from pathlib import Path

import cv2
import pytest

import experiments

NAMES = sorted(path.name for path in Path(experiments.__file__).parent.glob("exp[0-9][0-9]_*"))


BRIEF = frozenset({"exp01_penalty", "exp02_piecewise_constant"})
"""Smoke runs of under three seconds; the others are with the slow tests."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in BRIEF)) for name in NAMES])
def test_an_experiment_runs_and_leaves_a_table_and_a_figure(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # stored samples are kept below the working directory
    folder = tmp_path / "results"
    importlib.import_module(f"experiments.{name}.__main__").main(smoke=True, folder=folder)
    headings, *rows = (folder / "table.csv").read_text().splitlines()
    assert headings.count(",") >= 1
    assert rows
    lines = (folder / "table.md").read_text().splitlines()
    assert len(lines) == 2 + len(rows)
    figure = cv2.imread(str(folder / "figure.png"))
    assert figure.shape[0] > 100
    assert figure.std() > 1  # something is drawn


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_says_its_question_and_command(name: str) -> None:
    text = importlib.import_module(f"experiments.{name}.__main__").__doc__
    assert text.splitlines()[0].endswith("?")
    assert f"make reproduce EXP={name[3:5]}" in text

import os
from itertools import pairwise
from pathlib import Path

import pytest

from experiments.adaptation import __main__ as adaptation

MEASURED = {"alley_1": {1, 2, 3}, "alley_2": {2}, "bandage_1": {35}}
"""First frames of the pairs with ground truth."""


@pytest.mark.parametrize("scene", adaptation.SCENES)
def test_no_measured_pair_is_adapted_to(scene: str) -> None:
    read = {pair for clip in adaptation.SCENES[scene].clips for pair in pairwise(clip)}
    assert read
    assert not read & {(first, first + 1) for first in MEASURED[scene]}


def test_without_data_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNROLLFLOW_DATA_DIR", raising=False)
    with pytest.raises(SystemExit, match="set UNROLLFLOW_DATA_DIR"):
        adaptation.adapted(scene="alley_1", steps=1)


@pytest.mark.slow
@pytest.mark.skipif("UNROLLFLOW_DATA_DIR" not in os.environ, reason="UNROLLFLOW_DATA_DIR names no folder of sequences")
def test_it_runs_and_leaves_a_table_and_a_figure(tmp_path: Path) -> None:
    adaptation.main(smoke=True, folder=tmp_path)
    assert (tmp_path / "table.csv").read_text().count("\n") == 2
    assert (tmp_path / "figure.png").is_file()

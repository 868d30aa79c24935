from pathlib import Path

import pytest

from experiments.exp07_direct_minimisation import __main__ as experiment


@pytest.mark.slow
def test_a_small_run_leaves_tables_and_a_figure(tmp_path: Path) -> None:
    experiment.main(smoke=True, folder=tmp_path)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    table = (tmp_path / "table.md").read_text()
    assert all(method in table for method in ("OpenCV DIS", "scikit-image TV-L1", "fast", "default"))
    assert len((tmp_path / "optimizers" / "table.csv").read_text().splitlines()) == 1 + 9
    assert len((tmp_path / "terms" / "table.csv").read_text().splitlines()) == 1 + 6


def test_of_an_optimizers_rates_the_lowest_energy_counts() -> None:
    rows = [
        {"settings": {"pair": "a", "optimizer": "adam", "rate": rate}, "results": {"energy": [9.0, last]}}
        for rate, last in ((0.1, 2.0), (1.0, 1.0), (10.0, 3.0))
    ]
    assert experiment.best_rates(rows) == [rows[1]]

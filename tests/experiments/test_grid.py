import json
from pathlib import Path

import pytest

from experiments.grid import Results, run_grid


def squared(*, number: int, folder: str) -> Results:
    """Leaves a trace of having run."""
    if number < 0:
        raise ValueError("negative")
    trace = Path(folder) / f"{number}.txt"
    trace.write_text(trace.read_text() + "x" if trace.exists() else "x")
    return {"square": number**2, "curve": [0, number]}


def cells(folder: Path, *numbers: int) -> list[dict[str, str | int]]:
    return [{"number": number, "folder": str(folder)} for number in numbers]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_exists_is_not_repeated(tmp_path: Path, processes: int) -> None:
    store = tmp_path / "results" / "rows.jsonl"
    run_grid(cells(tmp_path, 3, 1), squared, store)
    rows = run_grid(cells(tmp_path, 1, 2, 3, 4), squared, store, processes=processes)
    assert [row["results"]["square"] for row in rows] == [1, 4, 9, 16]
    assert [row["results"]["curve"][1] for row in rows] == [1, 2, 3, 4]
    assert [(tmp_path / f"{i}.txt").read_text() for i in (1, 2, 3, 4)] == ["x"] * 4
    assert len(store.read_text().splitlines()) == 4


def test_the_order_of_settings_is_none_of_the_runs(tmp_path: Path) -> None:
    store = tmp_path / "rows.jsonl"
    run_grid(cells(tmp_path, 2), squared, store)
    run_grid([{"folder": str(tmp_path), "number": 2}], squared, store)
    assert (tmp_path / "2.txt").read_text() == "x"


def test_what_was_finished_before_an_error_is_kept(tmp_path: Path) -> None:
    store = tmp_path / "rows.jsonl"
    with pytest.raises(ValueError, match="negative"):
        run_grid(cells(tmp_path, 2, -1, 5), squared, store)
    assert [json.loads(line)["results"]["square"] for line in store.read_text().splitlines()] == [4]


def test_half_a_line_of_a_killed_process_is_run_again(tmp_path: Path) -> None:
    store = tmp_path / "rows.jsonl"
    run_grid(cells(tmp_path, 1, 2), squared, store)
    store.write_bytes(store.read_bytes()[:-20])
    rows = run_grid(cells(tmp_path, 1, 2), squared, store)
    assert [row["results"]["square"] for row in rows] == [1, 4]
    assert [(tmp_path / f"{i}.txt").read_text() for i in (1, 2)] == ["x", "xx"]
    assert len(store.read_text().splitlines()) == 2


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    store = tmp_path / "rows.jsonl"
    store.write_text('{"settings": 1}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 1: .*remove that line"):
        run_grid(cells(tmp_path, 1), squared, store)


def test_cells_alike_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two of 3 cells"):
        run_grid(cells(tmp_path, 1, 2, 1), squared, tmp_path / "rows.jsonl")

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.common.grid import Results, check_again, commit, run_grid


def squared(*, number: int, folder: str) -> Results:
    """Writes a file, which shows that it has run."""
    if number < 0:
        raise ValueError("negative")
    trace = Path(folder) / f"{number}.txt"
    trace.write_text(trace.read_text() + "x" if trace.exists() else "x")
    return {"square": number**2, "curve": [0, number]}


def waiting(*, number: int, folder: str) -> Results:
    """Writes the id of its process, and takes longer than any test waits."""
    (Path(folder) / f"{number}.pid").write_text(str(os.getpid()))
    time.sleep(300)
    return {}


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


def test_a_run_with_an_incomplete_line_is_repeated(tmp_path: Path) -> None:
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


def test_a_run_that_gives_its_figure_again_passes_and_another_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = run_grid(cells(tmp_path, 3), squared, tmp_path / "rows.jsonl")
    check_again(rows, squared, lambda results: results["square"])
    assert "9 stored, 9 now" in capsys.readouterr().out
    stored = [{**rows[0], "results": {"square": 10}}]
    with pytest.raises(SystemExit, match="differ by more than 5%"):
        check_again(stored, squared, lambda results: results["square"])
    with pytest.raises(SystemExit, match="no finished run"):
        check_again([], squared, lambda results: results["square"])


def test_a_row_knows_its_commit(tmp_path: Path) -> None:
    (row,) = run_grid(cells(tmp_path, 1), squared, tmp_path / "rows.jsonl")
    assert row["commit"] == commit()
    assert row["commit"]


@pytest.mark.slow
def test_processes_find_the_function_of_a_program(tmp_path: Path) -> None:
    """Every experiment is such a program: `python -m experiments.expNN_name`, which spawned processes do not import."""
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "__main__.py").write_text(
        "from pathlib import Path\n"
        "from experiments.common.grid import run_grid\n"
        "def doubled(*, number):\n"
        "    return {'double': 2 * number}\n"
        "if __name__ == '__main__':\n"
        "    run_grid([{'number': 1}, {'number': 2}], doubled, Path('rows.jsonl'), processes=2)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path.cwd())])
    command = [sys.executable, "-m", "program"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, check=True)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert sorted(row["results"]["double"] for row in rows) == [2, 4]


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from experiments.common.grid import run_grid; "
        "from tests.experiments.common.test_grid import *; "
        f"run_grid(cells(Path({str(tmp_path)!r}), 1, 2), waiting, Path({str(tmp_path)!r}) / 'rows.jsonl', processes=2)"
    )
    started = subprocess.Popen([sys.executable, "-c", code])
    files = [tmp_path / f"{number}.pid" for number in (1, 2)]
    assert within(120, lambda: all(file.is_file() and file.read_text() for file in files))
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert within(30, lambda: not any(Path(f"/proc/{file.read_text()}").exists() for file in files))


def within(seconds: float, happened: Callable[[], bool]) -> bool:
    """Whether it happens within a time."""
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.1)
    return happened()

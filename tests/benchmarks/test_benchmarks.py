import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import loading, measuring


def figures(line: str) -> list[float]:
    return [float(figure) for figure in re.split(r"\s{2,}", line.strip())[1:]]


def test_loading_prints_a_row_for_each_existing_source(
    middlebury_tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(middlebury_tree.parent)
    loading.main(["--root", root, "--workers", "0", "1", "--samples", "4", "--repeats", "3", "--crop", "32", "32"])
    printed, reported = capsys.readouterr()
    speeds, against = (table.splitlines() for table in printed.split("\n\n"))
    assert [line.split("  ")[0] for line in speeds] == ["name", "MovingLayers 128x192", "Middlebury"]
    assert all(figure > 0 for line in speeds[1:] for figure in figures(line))
    assert [line.split()[0] for line in against] == ["name", "Middlebury"], "nothing is decoded for moving layers"
    read, decode, ratio = figures(against[1])
    assert decode > 0
    assert ratio == pytest.approx(read / decode, rel=0.05)
    left_out = {line.split(" is skipped: ")[0] for line in reported.splitlines()}
    assert left_out == set(loading.SOURCES) - {"MovingLayers 128x192", "Middlebury"}


def test_the_decoded_files_are_those_of_the_samples(middlebury_tree: Path) -> None:
    frames = {"frame10.png", "frame11.png"}
    for labels, expected in ((True, frames | {"flow10.flo"}), (False, frames)):
        source = loading.present(middlebury_tree.parent, ["Middlebury"], labels=labels)["Middlebury"]
        with loading.opened_below(middlebury_tree) as files:
            source[1]
        (middlebury_tree / "Alpha" / "flow10.flo").read_bytes()  # the recording has ended
        assert {file.name for file in files} == expected
        assert len(files) == len(expected)
        assert {file.parent.name for file in files} == {"Beta"}


def test_the_help_of_loading_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        loading.main(["--help"])
    assert ended.value.code == 0
    assert "median" in capsys.readouterr().out


@pytest.mark.slow
def test_all_benchmarks_run_in_their_short_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import run

    run.main(["--short", "--output", str(tmp_path / "bench.json")])
    written = json.loads((tmp_path / "bench.json").read_text())
    assert len(written["rows"]) == capsys.readouterr().out.count("\n| ")  # the headings begin the text
    assert all(row["ours"] > 0 and row["ratio"] == row["ours"] / row["reference"] for row in written["rows"])
    for part in ("unrolled term", "cost volume", "training step", "flow of a pair", "iterations"):
        assert any(part in row["what"] for row in written["rows"]), part


@pytest.mark.slow
def test_the_breakdown_of_a_step_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import breakdown

    breakdown.main(["--size", "1 x 64x128"])
    shares = [int(share) for share in re.findall(r"\| (\d+)% \|", capsys.readouterr().out)]
    assert len(shares) > 5
    assert abs(sum(shares) - 100) <= len(shares)  # each is rounded
    assert max(shares) > 20  # the convolutions


def test_timed_functions_alternate() -> None:
    calls: list[str] = []
    medians = measuring.in_turn([lambda: calls.append("a"), lambda: calls.append("b")], repeats=2)
    assert calls == ["a", "b"] * 3
    assert all(median >= 0 for median in medians)


def hold_after_a_peak(megabytes: int, before: int) -> Callable[[], object]:
    torch.ones(before * 2**18)  # freed at once
    return lambda: torch.ones(megabytes * 2**18)


@pytest.mark.slow
def test_the_rise_of_the_peak_excludes_earlier_peaks() -> None:
    assert measuring.peak_rise(hold_after_a_peak, 100, 600) == pytest.approx(100, rel=0.1)


def test_a_target_is_met_or_not() -> None:
    rows = [measuring.Row("x", "ms", 1.0, 2.0, 0.5), measuring.Row("y", "ms", 3.0, 2.0, 1.4)]
    assert "| 0.50 | 0.5 met |" in measuring.table(rows)
    assert "| 1.50 | 1.4 **not met** |" in measuring.table(rows)

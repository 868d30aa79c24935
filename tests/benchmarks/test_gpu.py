import json
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.agreement import agreement
from benchmarks.gpu.findings import Finding, read, run_checks, table, write


def test_the_dry_run_measures_every_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--device", "cpu", "--together", "--folder", str(tmp_path)])
    findings = read(tmp_path)
    assert {finding.part for finding in findings} == set(gpu.PARTS) - {"compiled"}  # which takes a minute
    assert [finding for finding in findings if finding.met is False] == []
    resumed = next(f for f in findings if f.what.startswith("resumed against"))
    assert (resumed.value, resumed.expected) == (0, "0")
    written = (tmp_path / "gpu.md").read_text()
    assert written.count("\n| ") == len(findings) + 1
    assert table(findings) in capsys.readouterr().out


def test_a_failed_check_is_reported_and_the_others_still_run() -> None:
    def fails() -> list[Finding]:
        raise RuntimeError("out of\nmemory")

    findings: list[Finding] = []
    run_checks("part", {"a": fails, "b": lambda: [Finding("b", 1.0)]}, found=findings.extend)
    assert [(f.part, f.what, f.value, f.met) for f in findings] == [
        ("part", "a", None, False),
        ("part", "b", 1.0, None),
    ]
    assert findings[0].note.startswith("RuntimeError: out of memory (fails:")


def run_instead(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let a part's process run some code, whose argument is the part's folder."""
    run = subprocess.run
    replaced = mock.Mock(wraps=subprocess, TimeoutExpired=subprocess.TimeoutExpired)
    replaced.run = lambda command, **options: run([sys.executable, "-c", code, command[-1]], **options)
    monkeypatch.setattr(gpu, "subprocess", replaced)


def test_a_part_that_crashes_or_hangs_keeps_its_finished_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.dumps({"machine": "", "findings": [Finding("a", 1.0, part="fit")._asdict()]})
    write_it = f"import pathlib, sys; pathlib.Path(sys.argv[1], 'gpu.json').write_text({content!r}); "
    for ending, note in (
        ("sys.exit('no memory')", "exit status 1: no memory"),
        ("import time; time.sleep(60)", "not finished after 2 s"),
    ):
        run_instead(monkeypatch, write_it + ending)
        begun = time.monotonic()
        found = gpu.in_its_own_process("fit", "cpu", tmp_path, 2)
        assert time.monotonic() - begun < 30
        assert [(f.what, f.note) for f in found] == [("a", ""), ("the whole part", note)]


def test_written_findings_are_read_back(tmp_path: Path) -> None:
    findings = [Finding("a", 1.5, "px", "at most 1", met=False, note="x | y", part="p"), Finding("b", None)]
    write(tmp_path, "machine", findings)
    assert read(tmp_path) == findings
    assert "| p | a | 1.5 | px | at most 1 | **not met** | x / y |" in (tmp_path / "gpu.md").read_text()
    assert read(tmp_path / "elsewhere") == []


def test_without_a_gpu_the_error_suggests_a_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch finds no GPU; add --device cpu for a dry run"):
        gpu.main([])


def test_the_parts_end_within_ten_minutes() -> None:
    assert sum(part.seconds for part in gpu.PARTS.values()) <= 600


def test_a_different_flow_fails_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    results = iter([(torch.ones(1, 2, 1, 1), torch.ones(3)), (torch.full((1, 2, 1, 1), 1.5), torch.ones(3))])
    monkeypatch.setattr("benchmarks.gpu.agreement.flow_and_gradients", lambda *_: next(results))
    flow, gradients = agreement("pwclite_small", torch.device("cpu"), (64, 64))
    assert (flow.value, flow.met, gradients.met) == (0.5, False, True)

"""Damaged .flo5 files are read in a separate process: libhdf5 is C, so a crash is reported with its file."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.damage import damaged
from tests.helpers.pictures import memory_below
from unrollflow.data.io.flow import read_flo5

ROWS = np.random.default_rng(0).normal(size=(12, 20, 2)).astype(np.float32)
LAYOUTS: list[dict[str, object]] = [{"compression": "gzip"}, {}, {"chunks": (5, 7, 1), "compression": "gzip"}]
SECONDS = 300


def honest_files(folder: Path) -> list[bytes]:
    """The same flow in every layout, in the oldest and the newest version of the format."""
    contents = []
    for version in ("earliest", "latest"):
        for layout in LAYOUTS:
            with h5py.File(folder / "honest.flo5", "w", libver=version) as file:
                file.create_dataset("flow", data=ROWS, **layout)
            contents.append((folder / "honest.flo5").read_bytes())
    return contents


def fuzz(folder: Path, examples: int, read: Callable[[Path], Tensor] = read_flo5) -> None:
    """Read a number of damaged files; each is written before it is read, so that a file that causes a crash is kept."""
    contents = honest_files(folder)
    path = folder / "damaged.flo5"
    complaints: list[str] = []

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(contents).flatmap(damaged))
    def run(broken: bytes) -> None:
        path.write_bytes(broken)
        with memory_below(64):
            try:
                flow = read(path)
            except ValueError as error:
                complaints.append(str(error))
                return
        assert flow.shape[0] == 2
        assert flow.numel()

    path.write_bytes(contents[0])
    read(path)
    run()
    assert complaints
    assert all(str(path) in complaint for complaint in complaints), "an error names the file"


def crash(path: Path) -> Tensor:
    """A reader that crashes the process, as an error in the library would."""
    signal.raise_signal(signal.SIGSEGV)
    raise AssertionError("the process is dead")


def in_child(folder: Path, *arguments: object) -> None:
    """Run this module in a separate process; fail with its output, or with the signal that ended it."""
    command = [sys.executable, "-m", __name__, str(folder), *map(str, arguments)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=Path(__file__).parents[3])
    if child.returncode < 0:
        pytest.fail(f"reading {folder / 'damaged.flo5'} ended in {signal.Signals(-child.returncode).name}")
    assert child.returncode == 0, child.stderr


def test_a_damaged_flo5_is_a_value_error_in_bounded_memory(tmp_path: Path) -> None:
    in_child(tmp_path, 150)


@pytest.mark.slow
def test_a_flo5_damaged_in_thousands_of_ways_is_a_value_error_in_bounded_memory(tmp_path: Path) -> None:
    in_child(tmp_path, 10_000)


@pytest.mark.skipif(sys.platform == "win32", reason="a crash is a signal on POSIX only")
def test_a_crash_of_the_library_is_reported_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"damaged\.flo5 ended in SIGSEGV"):
        in_child(tmp_path, 1, "crash")
    assert (tmp_path / "damaged.flo5").is_file()


if __name__ == "__main__":
    fuzz(Path(sys.argv[1]), int(sys.argv[2]), crash if "crash" in sys.argv[3:] else read_flo5)

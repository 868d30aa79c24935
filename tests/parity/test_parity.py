"""Every fixture of the reference that the parity folder holds, whatever its parameters."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.parity.conftest import PARITY_DIR, Fixture
from tests.parity.distillation import check_affine, check_student
from tests.parity.files import check_flo, check_flow_files, check_kitti_png
from tests.parity.losses import check_photometric, check_smoothness, check_unrolled, check_warp_occlusion
from tests.parity.metrics import check_metrics
from tests.parity.networks import check_pwclite, check_raft
from tests.parity.objectives import check_sequence, check_unflow

CHECKS: dict[str, Callable[[Fixture], None]] = {
    "01_unrolled": check_unrolled,
    "02": check_smoothness,
    "03": check_photometric,
    "04": check_warp_occlusion,
    "05": check_pwclite,
    "06": check_raft,
    "07_unflow": check_unflow,
    "07_sequence": check_sequence,
    "08": check_affine,
    "09_flow_files": check_flow_files,
    "09_metrics": check_metrics,
    "10": check_student,
}
FILE_CHECKS = {".flo": check_flo, ".png": check_kitti_png}
FILES = sorted(p for p in PARITY_DIR.glob("*") if p.suffix in {".npz", *FILE_CHECKS})


@pytest.mark.skipif(bool(FILES), reason="the parity fixtures are there")
def test_parity_fixtures_are_absent() -> None:
    pytest.skip(f"no parity fixtures in {PARITY_DIR}; name their folder with UNROLLFLOW_PARITY_DIR")


LONG = frozenset({"05_pwclite_reduce.npz", "06_raft.npz", "07_unflow_loss.npz"})
"""Of full size, many seconds: with the slow tests."""


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=[pytest.mark.slow] * (p.name in LONG), id=p.name) for p in FILES]
)
def test_reference_values(path: Path) -> None:
    if path.suffix in FILE_CHECKS:
        FILE_CHECKS[path.suffix](path)
        return
    matching = [check for stem, check in CHECKS.items() if path.stem.startswith(stem)]
    assert len(matching) == 1, f"no check knows {path.name}"
    matching[0](Fixture.load(path))

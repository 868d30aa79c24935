from pathlib import Path

import pytest

from tests.reliability.fault import Fault
from tests.reliability.table import AREAS, cell

FAULTS = [fault for faults in AREAS.values() for fault in faults]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.injected)
def test_a_promise_is_kept(fault: Fault, tmp_path: Path) -> None:
    assert fault.run(tmp_path)


def test_the_suite_has_forty_faults_that_differ() -> None:
    assert len({fault.injected for fault in FAULTS}) == len(FAULTS) >= 40


def test_a_cell_names_no_place_and_keeps_its_columns() -> None:
    assert cell("/here/a.png | b\nc", Path("/here")) == "FOLDER/a.png / b c"

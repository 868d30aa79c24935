from pathlib import Path

import pytest

from experiments.common.results import write_table


def test_a_table_for_programs_and_one_for_readers(tmp_path: Path) -> None:
    write_table(tmp_path / "new", ["term", "EPE (px)"], [["TV, L1", 1 / 3], ["none", 2]])
    assert (tmp_path / "new" / "table.csv").read_text().splitlines() == [
        "term,EPE (px)",
        '"TV, L1",0.3333333333333333',
        "none,2",
    ]
    assert (tmp_path / "new" / "table.md").read_text() == (
        "| term | EPE (px) |\n| --- | --- |\n| TV, L1 | 0.3333 |\n| none | 2 |\n"
    )


def test_a_row_of_another_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 cells under 1 headings"):
        write_table(tmp_path, ["term"], [["TV", 1.0]])

from pathlib import Path

import pytest

from benchmarks.time_to_quality import Goal, Snapshot, first_below, snapshots, table

FOUND = [Snapshot(25 * i, i / 4, Path()) for i in (1, 2, 3)]


def test_the_first_weights_below_a_goal_count() -> None:
    errors = {25: 1.2, 50: 0.9, 75: 1.0}
    assert first_below(1.0, FOUND, lambda at: errors[at.step]) == FOUND[1]
    assert first_below(0.9, FOUND, lambda at: errors[at.step]) == FOUND[1]
    assert first_below(0.8, FOUND, lambda at: errors[at.step]) is None


def test_a_goal_that_is_not_reached_has_a_row() -> None:
    goals = {Goal("a", "layers", 0.5): FOUND[1], Goal("b", "layers", 0.1234): None}
    assert table(goals).splitlines()[2:] == ["| a | 0.500 | 50 | 0.5 |", "| b | 0.123 | never | never |"]


@pytest.mark.slow
def test_averaged_weights_are_saved_every_few_steps(tmp_path: Path) -> None:
    short = ["--config", "configs/debug/brief.yaml", "--data.workers", "0", "--trainer.max_steps", "4"]
    found = snapshots(tmp_path, *short, every=2)
    assert [snapshot.step for snapshot in found] == [2, 4]
    assert 0 < found[0].minutes <= found[1].minutes < 5

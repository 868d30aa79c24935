from pathlib import Path

import pytest

from unrollflow.data.io.locks import locked


def test_a_disk_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("unrollflow.data.io.locks.fcntl.flock", refuse)
    with (
        pytest.raises(OSError, match=r"not supported: the cache needs a file system with locks.*lock'"),
        locked(tmp_path / "lock"),
    ):
        pass

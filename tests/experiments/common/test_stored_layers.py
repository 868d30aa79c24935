from pathlib import Path

import pytest

from experiments.common import stored_layers
from experiments.common.stored_layers import SOURCES, StoredLayers, version
from unrollflow.data.moving_layers import dataset, outlines, rendering, scenes, textures


def test_samples_are_kept_until_the_code_that_draws_them_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "generator.py"
    source.write_text("first")
    monkeypatch.setattr(stored_layers, "SOURCES", (source,))
    files = []
    for code in ("first", "first", "second"):
        source.write_text(code)
        StoredLayers(split="train", length=1, folder=tmp_path / "cache")
        files.append(len(list((tmp_path / "cache").iterdir())))
    assert files == [1, 1, 2]


def test_the_version_is_of_all_modules_that_draw() -> None:
    drawing = {Path(module.__file__ or "") for module in (dataset, outlines, rendering, scenes, textures)}
    assert drawing | {Path(stored_layers.__file__)} < set(SOURCES)


def test_the_version_depends_on_every_file(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    versions = set()
    for changed in (None, *paths):
        for path in paths:
            path.write_text("changed" if path == changed else "as before")
        versions.add(version(paths))
    assert len(versions) == 4

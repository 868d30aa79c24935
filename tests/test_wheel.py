"""The wheel contains configurations and weights, and trains and predicts in an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.clips import moving, write_video

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_installed_wheel_fits_and_predicts_by_shipped_names_in_an_empty_folder(tmp_path: Path) -> None:
    wheels, site, empty = tmp_path / "wheels", tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    configs = ["--config", "experiment/quickstart.yaml", "--config", "debug/brief.yaml"]
    write_video(empty / "clip.mp4", moving(4))
    for arguments in (["fit", *configs, "--data.workers", "0"], ["predict", "clip.mp4", "--output", "flow"]):
        subprocess.run(
            [sys.executable, "-m", "unrollflow", *arguments],
            cwd=empty,
            env=os.environ | {"PYTHONPATH": str(site)},
            check=True,
        )
    assert (empty / "flow" / "clip.mp4").is_file()
    assert (empty / "runs" / "flow" / "version_0" / "report.html").is_file()
    assert (site / "unrollflow" / "py.typed").is_file()
    assert (site / "unrollflow" / "visualization" / "comparison.html").is_file()

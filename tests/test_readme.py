"""The commands of README run on small inputs, as they are written."""

import shlex
from pathlib import Path

import pytest

from tests.helpers.clips import moving, write_frames, write_video
from unrollflow.cli.main import main
from unrollflow.data import write_image

README = Path(__file__).parents[1] / "README.md"
COMMANDS = [
    line.partition("#")[0].strip() for line in README.read_text().splitlines() if line.startswith("unrollflow ")
]
FIRST_STEP = ["--config", "configs/debug/tiny.yaml", "--trainer.enable_model_summary", "false"]


def test_it_has_commands() -> None:
    assert len(COMMANDS) >= 7


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # where videos are decoded to
    clip = moving(4, size=(144, 192))
    for path, frame in zip(("a.png", "b.png"), clip, strict=False):
        write_image(tmp_path / path, frame)
    write_video(tmp_path / "clip.mp4", clip)
    write_frames(tmp_path / "FRAMES", clip)
    for i in range(2):
        write_frames(tmp_path / "FOLDER" / f"clip{i}", moving(4, size=(144, 192), seed=i))
    _, *arguments = shlex.split(command)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    main(arguments + (FIRST_STEP if arguments[0] == "fit" else []))
    assert {path for path in tmp_path.rglob("*") if path.is_file()} > before

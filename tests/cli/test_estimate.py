"""`unrollflow estimate` in this process."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers.pairs import error, moved
from unrollflow import flow
from unrollflow.cli.main import main
from unrollflow.data import read_flo, read_image, write_flo, write_image
from unrollflow.variational import refine_flow


@pytest.fixture
def frames(tmp_path: Path) -> list[str]:
    """Two images of a texture that moves by (1, 0.5), as files."""
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, image in zip(paths, moved(1.0, 0.5), strict=True):
        write_image(path, image[0])
    return [str(path) for path in paths]


@pytest.mark.parametrize("preset", ["fast", "default"])
def test_the_flow_is_written(frames: list[str], tmp_path: Path, preset: str) -> None:
    main(["estimate", *frames, "-o", str(tmp_path / "flow.flo"), "--preset", preset])
    assert error(read_flo(tmp_path / "flow.flo").unsqueeze(0), 1.0, 0.5) < 0.15


def test_a_given_flow_is_refined(frames: list[str], tmp_path: Path) -> None:
    write_flo(tmp_path / "rough.flo", torch.tensor([0.5, 0.5]).view(2, 1, 1).repeat(1, 48, 64))
    main(["estimate", *frames, "-o", str(tmp_path / "flow.flo"), "--initial", str(tmp_path / "rough.flo")])
    assert error(read_flo(tmp_path / "flow.flo").unsqueeze(0), 1.0, 0.5) < 0.2


def test_the_flow_of_the_shipped_weights_is_refined(frames: list[str], tmp_path: Path) -> None:
    main(["estimate", *frames, "-o", str(tmp_path / "flow.flo"), "--initial", "network"])
    images = [read_image(frame).unsqueeze(0) for frame in frames]
    expected = refine_flow(*images, flow(*images))
    torch.testing.assert_close(read_flo(tmp_path / "flow.flo").unsqueeze(0), expected, atol=1e-3, rtol=0)
    assert error(expected, 1.0, 0.5) < 0.2


def test_images_that_are_too_small_for_the_network_are_refused(tmp_path: Path) -> None:
    for name in "ab":
        write_image(tmp_path / f"{name}.png", torch.zeros(3, 20, 20))
    images = [str(tmp_path / f"{name}.png") for name in "ab"]
    with pytest.raises(SystemExit, match="needs at least 32 pixels per side"):
        main(["estimate", *images, "-o", str(tmp_path / "new.flo"), "--initial", "network"])


def test_what_is_refused(frames: list[str], tmp_path: Path) -> None:
    there = tmp_path / "there.flo"
    write_flo(there, torch.zeros(2, 9, 9))
    write_image(tmp_path / "small.png", torch.zeros(3, 20, 20))
    holed = torch.zeros(2, 48, 64)
    holed[:, 5, 6:9] = 1e10  # as `unrollflow label` marks unknown flow
    write_flo(tmp_path / "holed.flo", holed)
    for arguments, message in (
        ([*frames, "-o", "flow.png"], "is not a .flo file"),
        ([*frames, "-o", str(there)], "already exist"),
        ([*frames, "-o", str(there), "--initial", str(there), "--overwrite"], "would overwrite"),
        ([*frames, "-o", str(tmp_path / "new.flo"), "--initial", str(there)], r"\(1, 2, 9, 9\)"),
        ([*frames, "-o", str(tmp_path / "new.flo"), "--initial", str(tmp_path / "holed.flo")], r"unknown .* 3 pixel"),
        ([*frames, "-o", str(tmp_path / "new.flo"), "--initial", "net.flo"], "net.flo"),
        (
            [frames[0], str(tmp_path / "small.png"), "-o", str(tmp_path / "new.flo")],
            "the frames of a pair differ in size",
        ),
        ([frames[0], str(tmp_path / "none.png"), "-o", str(tmp_path / "new.flo")], "none.png"),
    ):
        with pytest.raises(SystemExit, match=message):
            main(["estimate", *arguments])
    assert not (tmp_path / "new.flo").exists()


def test_a_preset_and_a_flow_to_refine_exclude_each_other(
    frames: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["estimate", *frames, "-o", str(tmp_path / "new.flo"), "--preset", "fast", "--initial", "rough.flo"])
    assert "not allowed with argument --preset" in capsys.readouterr().err


@pytest.mark.slow
def test_neither_lightning_nor_pyav_is_imported(frames: list[str], tmp_path: Path) -> None:
    arguments = ["estimate", *frames, "-o", str(tmp_path / "flow.flo"), "--preset", "fast"]
    unwanted = ["pytorch_lightning", "lightning_fabric", "av"]
    code = (
        "import sys; from unrollflow.cli.main import main; "
        f"main({arguments}); print([name for name in {unwanted} if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "[]"

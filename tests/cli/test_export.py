"""`unrollflow export`: the exported program is correct at every size, and runs without the package."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.helpers.command import refusal as command_refusal
from tests.models import test_pwclite as pwclite
from tests.models.test_pyramid_matcher import noise, small
from unrollflow import pretrained
from unrollflow.cli.export import command
from unrollflow.cli.export.program import METADATA, PaddedFlow, flow_program, own_positions, padded_positions
from unrollflow.cli.main import main
from unrollflow.ops.resize import crop_centre, pad_to_multiple

WITHOUT_THE_PACKAGE = """
import json, sys, torch
found = {name: ""}
program = torch.export.load(file, extra_files=found)
images = [torch.rand(3, 3, 9, 14, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
flow = program.module()(*images)
assert not [name for name in sys.modules if name.startswith("unrollflow")]
print(json.dumps([json.loads(found[name]), flow.tolist()]))
"""


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 30), (23, 40)])
def test_images_are_padded_and_the_flow_is_cropped(height: int, width: int) -> None:
    flow = PaddedFlow(small(), levels=3)
    images = noise(2, height, width), noise(2, height, width, seed=1)
    padded = (pad_to_multiple(image, 8) for image in images)
    expected = crop_centre(flow.network(*padded)[-1].flow, (height, width))
    torch.testing.assert_close(flow(*images), expected, atol=0, rtol=0)


def test_the_pyramid_is_fixed_and_the_network_stays_as_it_is() -> None:
    network = small(levels=3)
    flow = PaddedFlow(network, levels=2)
    assert (flow.stride, flow.minimum_size, flow.network.levels_for(512, 512)) == (4, 8, 2)
    assert (network.levels, network.stride, network.minimum_size, network.coarsest_side) == (3, 4, 16, 2)
    assert network.training


@pytest.mark.parametrize("side", [8, 9, 11, 16])
def test_own_places_hold_the_own_pixels(side: int) -> None:
    like = torch.zeros(())
    places = padded_positions(side, 8, like=like)
    assert len(places) % 8 == 0
    assert places[own_positions(side, 8, like=like)].tolist() == list(range(side))


def test_the_default_levels_are_those_of_sintels_frames() -> None:
    assert command.fixed_flow(pretrained("small"), "small", None).network.levels == 7


def refusal(*arguments: object) -> str:
    return command_refusal("export", *map(str, arguments))


def test_what_is_refused(tmp_path: Path) -> None:
    there = tmp_path / "there.pt2"
    there.write_text("kept")
    new = tmp_path / "new.pt2"
    for arguments, wrong in (
        (["--output", there], "already exist"),
        (["--output", there / "new.pt2"], "cannot be written"),
        (["--output", tmp_path / "new.onnx"], "needs a .pt2 file"),
        (["--output", new, "--levels", "0"], "--levels is out of range: 0; it must be from 1 to 9"),
        (["--output", new, "--levels", "10"], "--levels is out of range: 10; it must be from 1 to 9"),
        (["--output", new, "--weights", "none.ckpt"], "none.ckpt is neither a file nor the name"),
    ):
        assert wrong in refusal("--format", "torch", *arguments)
    assert there.read_text() == "kept"
    assert not new.exists()


def test_another_network_is_named() -> None:
    module = nn.Module()
    module.backbone = pwclite.small()
    with pytest.raises(
        ValueError, match=r"best\.ckpt is a PWCLite, which cannot be exported; expected a PyramidMatcher"
    ):
        command.fixed_flow(module, "best.ckpt", None)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "onnxruntime" else object())
    said = refusal("--output", tmp_path / "new.onnx")
    assert said == "unrollflow: --format onnx needs onnxruntime: pip install 'unrollflow[export]'"


def test_a_torch_without_deferred_checks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "export", lambda flow, example, *, dynamic_shapes: None)
    assert "torch is too old" in refusal("--format", "torch", "--output", tmp_path / "new.pt2")


def test_a_program_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "new.pt2"
    monkeypatch.setattr(command, "check_packages", lambda kind: None)
    monkeypatch.setattr(command, "flow_program", lambda flow: flow)
    for difference in (0.5, float("nan")):
        monkeypatch.setattr(command, "largest_difference", lambda run, flow, found=difference: found)
        monkeypatch.setitem(command.FORMATS, "torch", (lambda program, about: b"", lambda contents: None))
        assert f"differs from its network by {difference:.2g} px" in refusal("--format", "torch", "--output", output)
    assert not output.exists()


@pytest.mark.slow
def test_a_torch_program_runs_without_the_package(tmp_path: Path) -> None:
    file = tmp_path / "small.pt2"
    main(["export", "--format", "torch", "--levels", "1", "--output", str(file)])
    code = f"name, file = {METADATA!r}, {str(file)!r}{WITHOUT_THE_PACKAGE}"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    about, flow = json.loads(done.stdout)
    assert (about["levels"], about["stride"], about["minimum_size"], about["input_range"]) == (1, 2, 4, "[0, 1]")
    images = [torch.rand(3, 3, 9, 14, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    expected = command.fixed_flow(pretrained("small"), "small", 1)(*images)
    torch.testing.assert_close(torch.tensor(flow), expected, atol=1e-3, rtol=0)


@pytest.mark.slow
def test_in_double_precision_a_program_is_its_network_on_noise_too() -> None:
    flow = command.fixed_flow(pretrained("small"), "small", 2).double()
    program = flow_program(flow).module()
    with torch.inference_mode():
        for size in ((1, 8, 8), (2, 9, 14), (1, 40, 21), (3, 64, 96), (1, 33, 71)):
            images = noise(*size).double(), noise(*size, seed=1).double()
            assert (program(*images) - flow(*images)).abs().max() < 1e-9, size


@pytest.mark.slow
@pytest.mark.skipif(
    any(find_spec(name) is None for name in command.EXTRA), reason="the extra `export` is not installed"
)
def test_an_onnx_file_runs_at_other_sizes(tmp_path: Path) -> None:
    import onnxruntime

    file = tmp_path / "small.onnx"
    main(["export", "--levels", "1", "--output", str(file)])
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert (about["levels"], about["stride"], about["minimum_size"], about["input_range"]) == ("1", "2", "4", "[0, 1]")
    flow = command.fixed_flow(pretrained("small"), "small", 1)
    for size in ((1, 4, 4), (3, 9, 14), (2, 40, 21)):
        images = noise(*size), noise(*size, seed=1)
        (found,) = session.run(["flow"], {f"image{i}": image.numpy() for i, image in enumerate(images, 1)})
        torch.testing.assert_close(torch.from_numpy(found), flow(*images).detach(), atol=1e-3, rtol=0)

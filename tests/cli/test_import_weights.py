"""`unrollflow import`: weights and card that all commands read."""

import json
from pathlib import Path

import pytest
import torch

from tests.helpers.command import refusal
from tests.models.released.test_weights import released, saved
from unrollflow.cli.main import main
from unrollflow.data import read_flo, write_image
from unrollflow.models import PWCLite

BACKBONE = ["--backbone", "configs/backbone/pwclite.yaml"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """Import of a released file, without --output."""
    weights, _ = released("arflow")
    quiet = {name: tensor / 100 for name, tensor in weights.items()}  # random weights would give a flow of any size
    return ["import", str(saved(tmp_path / "pwclite.tar", "arflow", quiet)), "--source", "arflow", *BACKBONE]


def test_released_weights_predict_a_pair(command: list[str], tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    main([*command, "--output", str(weights)])
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["source"] == "pwclite.tar, released by arflow"
    images = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for name, image in zip("ab", images, strict=True):
        write_image(tmp_path / f"{name}.png", image[0])
    frames = [str(tmp_path / f"{name}.png") for name in "ab"]
    main(["predict", *frames, "--weights", str(weights), "--output", str(tmp_path / "flow")])
    network = PWCLite().eval()
    network.load_state_dict({name: tensor / 100 for name, tensor in released("arflow")[1].items()})
    with torch.no_grad():
        expected = network(*((image * 255).round() / 255 for image in images))[-1].flow[0]
    torch.testing.assert_close(read_flo(tmp_path / "flow" / "a.flo"), expected, atol=1e-4, rtol=1e-4)


def test_results_are_not_replaced_and_have_the_suffix_of_weights(command: list[str], tmp_path: Path) -> None:
    assert "expected a name that ends in .safetensors" in refusal(*command, "--output", str(tmp_path / "w.ckpt"))
    (tmp_path / "w.json").write_text("{}")
    assert "w.json; choose another --output" in refusal(*command, "--output", str(tmp_path / "w.safetensors"))
    assert not (tmp_path / "w.safetensors").exists()

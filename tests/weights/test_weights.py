import json
from hashlib import sha256
from pathlib import Path

import pytest
import torch
import yaml

from experiments.common.accuracy import errors
from unrollflow.checkpoints import read_checkpoint
from unrollflow.cli.main import PACKAGE
from unrollflow.data import Middlebury
from unrollflow.inference import pretrained
from unrollflow.models import PyramidMatcher
from unrollflow.weights import DEFAULT, SHIPPED, packed_weights, read_card, read_weights, shipped_weights, weights_file

MODEL = read_card(SHIPPED / f"{DEFAULT}.safetensors")["model"]
LARGEST = {"small": 1_000_000, "wide": 8_000_000}
"""Bytes of each file that is shipped."""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Weights of an untrained network, and their card."""
    tensors = {f"backbone.{name}": tensor for name, tensor in PyramidMatcher().state_dict().items()}
    weights, card = packed_weights(tensors, {"model": MODEL})
    (tmp_path / "new.safetensors").write_bytes(weights)
    (tmp_path / "new.json").write_bytes(card)
    return tmp_path / "new.safetensors"


def test_what_is_written_is_read(written: Path) -> None:
    weights, card = read_weights(written)
    assert card["model"] == MODEL
    torch.testing.assert_close(read_checkpoint(written)["state_dict"], weights)
    module = pretrained(written)
    assert not module.training
    for name, tensor in module.state_dict().items():
        assert tensor.equal(weights[name])


@pytest.mark.parametrize("name", shipped_weights())
def test_card_file_and_network_agree(name: str) -> None:
    file, card = weights_file(name), read_card(weights_file(name))
    assert file.stat().st_size < LARGEST[name]
    assert sha256(file.read_bytes()).hexdigest() == card["sha256"]
    module = pretrained(name)
    assert sum(p.numel() for p in module.parameters()) == card["parameters"]
    assert card["name"] == name
    text = file.with_suffix(".md").read_text()
    for value in (card["sha256"], card["training"]["command"], f"{card['parameters']:,}", *card["known_failures"]):
        assert value in text


@pytest.mark.parametrize("name", shipped_weights())
def test_the_network_is_that_of_the_experiment(name: str) -> None:
    card = read_card(weights_file(name))
    experiment = PACKAGE.parent / card["training"]["command"].split("--config ")[1].split()[0]
    backbone = experiment.parent / yaml.safe_load(experiment.read_text())["model"]["backbone"]
    assert yaml.safe_load(backbone.read_text()) == card["model"]["backbone"]


@pytest.mark.parametrize("name", shipped_weights())
def test_stored_errors_are_reproduced_on_middlebury(name: str, real_data) -> None:  # type: ignore[no-untyped-def]
    found = errors(pretrained(name).one_way, Middlebury(root=real_data("middlebury")))
    stored = read_card(weights_file(name))["errors"]["middlebury"]["this network"]
    assert found.epe == pytest.approx(stored["epe"], abs=2e-3)


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(FileNotFoundError, match=r"huge is neither a file nor the name of shipped weights \(.*small"):
        weights_file("huge")


def test_damage_is_found(written: Path) -> None:
    whole = written.read_bytes()
    for content in (whole[:-100], whole[:50], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
        written.write_bytes(content)
        with pytest.raises(ValueError, match=r"new\.safetensors does not match its card .*new\.json"):
            read_checkpoint(written)


def test_a_file_of_another_kind_is_refused_although_its_card_fits(written: Path) -> None:
    content = b"no safetensors file"
    written.write_bytes(content)
    card = {"model": MODEL, "sha256": sha256(content).hexdigest()}
    written.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="cannot be read as a safetensors file"):
        read_weights(written)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "sha256 and model missing or of a wrong type"),
        ('{"sha256": "0", "model": "small"}', "model missing or of a wrong type"),
    ],
)
def test_damaged_cards_are_refused(written: Path, text: str, message: str) -> None:
    written.with_suffix(".json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_weights(written)


def test_weights_need_their_card(written: Path) -> None:
    written.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match=r"card of .* is missing: no file .*new\.json"):
        pretrained(written)


def test_a_card_of_another_network_is_refused(written: Path) -> None:
    card = read_card(written)
    card["model"]["backbone"]["init_args"]["channels"] = 16
    written.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="holds another network"):
        pretrained(written)


def test_a_card_may_not_name_foreign_code(written: Path) -> None:
    card = read_card(written)
    card["model"]["optimizer"]["class_path"] = "os.system"
    written.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"untrusted names: os\.system"):
        pretrained(written)

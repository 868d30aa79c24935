"""Weights in a folder as a hub keeps them; nothing is fetched."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.test_module import data, parts, trainer
from unrollflow.checkpoints import MODEL_KEY, read_checkpoint
from unrollflow.training.module import UnsupervisedFlow
from unrollflow.weights import SHIPPED, read_card, weights_file
from unrollflow.weights.hub import pretrained_file


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    UnsupervisedFlow.from_pretrained("small").save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_what_is_saved_is_loaded(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["model.json", "model.safetensors"]
    small, loaded = UnsupervisedFlow.from_pretrained("small"), UnsupervisedFlow.from_pretrained(saved)
    assert not loaded.training
    expected = small.state_dict()
    assert all(tensor.equal(expected[name]) for name, tensor in loaded.state_dict().items())
    card = json.loads((saved / "model.json").read_text())
    assert card["model"] == read_card(weights_file("small"))["model"]
    assert card["parameters"] == 57390
    images = torch.rand(2, 1, 3, 32, 32)
    assert loaded.one_way(*images).equal(small.one_way(*images))


def test_a_module_that_is_trained_further_is_saved_and_loaded(saved: Path, tmp_path: Path) -> None:
    module = UnsupervisedFlow.from_pretrained(str(saved))
    runner = trainer(tmp_path, max_steps=1)
    runner.fit(module, data())
    module.save_pretrained(saved)  # replaces what is there
    expected = module.state_dict()
    loaded = UnsupervisedFlow.from_pretrained(saved).state_dict()
    assert all(tensor.equal(expected[name]) for name, tensor in loaded.items())
    runner.save_checkpoint(tmp_path / "a.ckpt")
    assert "_instantiator" in read_checkpoint(tmp_path / "a.ckpt")[MODEL_KEY]
    again = UnsupervisedFlow.from_pretrained(tmp_path / "a.ckpt").state_dict()
    assert all(tensor.equal(expected[name]) for name, tensor in again.items())


def test_a_repository_is_fetched_by_its_name(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed: pip install '.[hub]'")
    asked: list[Any] = []

    def snapshot(name: str, **options: Any) -> str:
        asked.append((name, options))
        return str(saved)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    loaded = UnsupervisedFlow.from_pretrained("owner/flow", revision="v1", local_files_only=True)
    assert loaded.hparams["backbone"]["class_path"] == "unrollflow.models.PyramidMatcher"
    files = ["model.safetensors", "model.json"]
    assert asked == [("owner/flow", {"revision": "v1", "local_files_only": True, "allow_patterns": files})]


def test_a_repository_that_the_cache_lacks_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed: pip install '.[hub]'")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match=r"owner|cache|local"):
        UnsupervisedFlow.from_pretrained("owner/nothing", local_files_only=True)


def test_without_the_hubs_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert pretrained_file("small") == SHIPPED / "small.safetensors"
    with pytest.raises(ImportError, match=r"owner/flow is not a local folder, .*pip install 'unrollflow\[hub\]'"):
        pretrained_file("owner/flow")


def test_what_is_missing_or_damaged_is_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"does not contain model\.safetensors; save_pretrained writes"):
        UnsupervisedFlow.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="huge is neither a file nor the name of shipped weights"):
        UnsupervisedFlow.from_pretrained("huge")
    shutil.copy(saved / "model.safetensors", tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError, match=r"card of .* is missing: no file .*model\.json"):
        UnsupervisedFlow.from_pretrained(tmp_path)
    (saved / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="does not match its card"):
        UnsupervisedFlow.from_pretrained(saved)


def test_a_module_built_in_python_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="built in Python, so its configuration is not known"):
        UnsupervisedFlow(**parts()).save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())

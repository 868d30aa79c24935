"""Weights in a folder, and huggingface_hub's mixin on local folders: nothing is downloaded."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.training.test_module import data, parts, trainer
from unrollflow.checkpoints import MODEL_KEY, read_checkpoint
from unrollflow.training.module import UnsupervisedFlow
from unrollflow.weights import read_card, weights_file


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


def hub_flow() -> Any:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed: pip install '.[hub]'")
    from unrollflow.training.hub import HubFlow

    return HubFlow


def test_the_mixin_saves_and_loads_a_folder(saved: Path, tmp_path: Path) -> None:
    network = hub_flow().from_pretrained(saved)
    assert not network.training
    network.save_pretrained(tmp_path / "hub")
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == [
        "README.md",
        "config.json",
        "model.json",
        "model.safetensors",
    ]
    assert "unrollflow" in (tmp_path / "hub" / "README.md").read_text()
    expected = UnsupervisedFlow.from_pretrained("small").state_dict()
    for reader in (hub_flow(), UnsupervisedFlow):
        loaded = reader.from_pretrained(tmp_path / "hub")
        assert all(tensor.equal(expected[name]) for name, tensor in loaded.state_dict().items())


def test_the_mixin_uploads_what_it_saves(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Api:
        def __init__(self, token: str | None) -> None: ...

        def create_repo(self, repo_id: str, **_: Any) -> Any:
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, folder_path: Path, **options: Any) -> str:
            return f"{options['repo_id']}: {' '.join(sorted(path.name for path in folder_path.iterdir()))}"

    network = hub_flow().from_pretrained(saved)
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    assert network.push_to_hub("owner/flow") == "owner/flow: README.md config.json model.json model.safetensors"


def test_a_repository_is_fetched_by_its_name(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_hub, asked = hub_flow(), list[Any]()

    def snapshot(name: str, **options: Any) -> str:
        asked.append((name, options))
        return str(saved)

    def config(**_: Any) -> str:
        (saved / "config.json").write_text("{}")
        return str(saved / "config.json")

    monkeypatch.setattr("unrollflow.training.hub.snapshot_download", snapshot)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", config)
    loaded = from_hub.from_pretrained("owner/flow", revision="v1", local_files_only=True)
    assert loaded.hparams["backbone"]["class_path"] == "unrollflow.models.PyramidMatcher"
    assert [name for name, _ in asked] == ["owner/flow"]
    options = asked[0][1]
    assert options["revision"] == "v1"
    assert options["local_files_only"]
    assert options["allow_patterns"] == ["model.safetensors", "model.json"]


def test_a_repository_that_the_cache_lacks_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"owner|cache|local"):
        hub_flow().from_pretrained("owner/nothing", cache_dir=tmp_path, local_files_only=True)


def test_what_is_missing_or_damaged_is_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"does not contain model\.safetensors; save_pretrained writes"):
        UnsupervisedFlow.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"does not contain model\.safetensors; save_pretrained writes"):
        hub_flow().from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="huge is neither a file nor the name of shipped weights"):
        UnsupervisedFlow.from_pretrained("huge")
    shutil.copy(saved / "model.safetensors", tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError, match=r"card of .* is missing: no file .*model\.json"):
        UnsupervisedFlow.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"card of .* is missing: no file .*model\.json"):
        hub_flow().from_pretrained(tmp_path)
    (saved / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="does not match its card"):
        UnsupervisedFlow.from_pretrained(saved)


def test_a_module_built_in_python_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="built in Python, so its configuration is not known"):
        UnsupervisedFlow(**parts()).save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())

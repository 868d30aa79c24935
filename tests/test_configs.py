"""Every YAML that we ship: it states every argument, is instantiated, and steps once."""

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command import run_one_step
from unrollflow.losses import Smoothness

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
QUICKSTART = CONFIGS / "experiment" / "quickstart.yaml"
PARTS = ("backbone", "photometric", "smoothness", "objective")
EXPERIMENTS = sorted((CONFIGS / "experiment").glob("*.yaml"))
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)  # nn.Module's own
ON_A_CPU = ("--trainer.accelerator", "cpu", "--trainer.devices", "1")
VALIDATION_ONLY = {"middlebury", "motorcycle"}


def identify(path: Path) -> str:
    return str(path.relative_to(CONFIGS))


def nodes(config: object) -> Iterator[dict[str, Any]]:
    """Every mapping with a class_path."""
    if isinstance(config, dict):
        if "class_path" in config:
            yield config
        for value in config.values():
            yield from nodes(value)
    elif isinstance(config, list):
        for value in config:
            yield from nodes(value)


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_every_argument_of_our_classes_is_stated(path: Path) -> None:
    """Else a class_path that is exchanged on the command line would keep the other's shared arguments in silence."""
    for node in nodes(yaml.safe_load(path.read_text())):
        module, _, name = node["class_path"].rpartition(".")
        cls = getattr(import_module(module), name)
        if not module.startswith("unrollflow"):
            continue
        injected = {"photometric", "smoothness"} if name.endswith("Objective") else set()
        parameters = inspect.signature(cls).parameters.values()
        expected = {p.name for p in parameters if p.kind not in VARIADIC} - injected
        assert set(node.get("init_args", {})) == expected, node["class_path"]


@pytest.mark.parametrize("folder", ["trainer", "data"])
def test_atoms_that_replace_each_other_state_the_same_keys(folder: str) -> None:
    keys = [set(yaml.safe_load(path.read_text())) for path in sorted((CONFIGS / folder).glob("*.yaml"))]
    assert all(k == keys[0] for k in keys)


@pytest.mark.parametrize("path", FILES, ids=identify)
def test_file_says_what_it_is(path: Path) -> None:
    assert path.read_text().startswith("# ")


def test_every_smoothness_term_has_an_atom() -> None:
    shipped = {
        node["class_path"].rpartition(".")[2]
        for path in (CONFIGS / "smoothness").glob("*.yaml")
        for node in nodes(yaml.safe_load(path.read_text()))
    }
    ours = {term.__name__ for term in Smoothness.__subclasses__() if term.__module__.startswith("unrollflow")}
    assert ours == shipped


@pytest.mark.parametrize("path", EXPERIMENTS, ids=identify)
def test_experiment_trains_and_validates_one_step(path: Path, tmp_path: Path) -> None:
    run_one_step(tmp_path, path, *ON_A_CPU)


@pytest.mark.parametrize("part", PARTS)
def test_each_atom_takes_the_place_of_the_quickstarts(part: str, tmp_path: Path) -> None:
    for path in sorted((CONFIGS / part).glob("*.yaml")):
        # an objective for the five levels of the released network needs it
        five_levels = part == "objective" and path.stem in ("pwclite", "released_pwclite")
        beside = ["--model.backbone", str(CONFIGS / "backbone" / "pwclite.yaml")] if five_levels else []
        run_one_step(tmp_path, QUICKSTART, *beside, f"--model.{part}", str(path))


@pytest.mark.parametrize("path", sorted((CONFIGS / "data").glob("*.yaml")), ids=identify)
def test_each_data_atom_validates_or_trains(path: Path, tmp_path: Path, middlebury_tree: Path) -> None:
    extra = ["--data.validation.root", str(middlebury_tree)] if path.stem == "middlebury" else []
    subcommand = "validate" if path.stem in VALIDATION_ONLY else "fit"
    run_one_step(tmp_path, QUICKSTART, "--data", str(path), *extra, subcommand=subcommand)


def test_gpu_trainer_steps_on_the_cpu_in_its_precision(tmp_path: Path) -> None:
    trainer = ["--trainer", str(CONFIGS / "trainer" / "gpu.yaml")]
    run_one_step(tmp_path, QUICKSTART, *trainer, *ON_A_CPU)


@pytest.mark.parametrize("path", sorted((CONFIGS / "debug").glob("*.yaml")), ids=identify)
def test_overlay_wins_over_the_experiment(path: Path, tmp_path: Path) -> None:
    run_one_step(tmp_path, QUICKSTART, "--config", str(path))

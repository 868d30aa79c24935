"""Every YAML that we ship: it states every argument, is instantiated, and steps once."""

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import trees
from tests.command import BRIEF, run_one_step, words
from unrollflow.cli import main
from unrollflow.losses import Smoothness

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
QUICKSTART = CONFIGS / "experiment" / "quickstart.yaml"
PARTS = ("backbone", "photometric", "smoothness", "objective")
EXPERIMENTS = sorted((CONFIGS / "experiment").glob("*.yaml"))
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)  # nn.Module's own
ON_A_CPU = ("--trainer.accelerator", "cpu", "--trainer.devices", "1")
DATA = sorted((CONFIGS / "data").glob("*.yaml"))
SELF_SUFFICIENT = {"motorcycle", "moving_layers", "moving_layers_large"}
VALIDATION: dict[str, Callable[[Path], Path]] = {
    "hd1k": trees.hd1k,
    "kitti2012": lambda root: trees.kitti(root, "image_0"),
    "kitti2015": trees.kitti,
    "middlebury": trees.middlebury,
    "sintel_clean": trees.sintel,
    "sintel_final": trees.sintel,
    "spring": trees.spring,
}
"""The tiny tree that an atom validates on."""

TRAINING: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Path]]] = {
    "chairs": (trees.chairs, trees.chairs),
    "kitti2015_multiview": (trees.kitti_multiview, trees.kitti),
    "kitti_raw": (trees.kitti_raw, trees.kitti),
    "sintel": (trees.sintel, trees.sintel),
    "sintel_raw": (trees.sintel_raw, trees.sintel),
    "things": (trees.things, trees.things),
}
"""The tiny trees that an atom trains and validates on."""


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


def test_every_data_atom_is_tried() -> None:
    assert {path.stem for path in DATA} == SELF_SUFFICIENT | set(VALIDATION) | set(TRAINING) | {"mixture"}


@pytest.mark.parametrize("name", sorted(SELF_SUFFICIENT))
def test_each_data_atom_without_files_validates_or_trains(name: str, tmp_path: Path) -> None:
    subcommand = "validate" if name == "motorcycle" else "fit"
    run_one_step(tmp_path, QUICKSTART, "--data", str(CONFIGS / "data" / f"{name}.yaml"), subcommand=subcommand)


@pytest.mark.parametrize("name", sorted(VALIDATION))
def test_each_benchmark_validates_a_tree_of_its_layout(name: str, tmp_path: Path) -> None:
    root = VALIDATION[name](tmp_path / "data")
    options = ["--data", str(CONFIGS / "data" / f"{name}.yaml"), "--data.validation.root", str(root)]
    run_one_step(tmp_path, QUICKSTART, *options, "--data.workers", "0", subcommand="validate")


@pytest.mark.parametrize("name", sorted(TRAINING))
def test_each_benchmark_trains_on_a_tree_of_its_layout(name: str, tmp_path: Path) -> None:
    train, validation = (write(tmp_path / f"data{i}") for i, write in enumerate(TRAINING[name]))
    roots = ["--data.train.root", str(train), "--data.validation.root", str(validation)]
    roots += ["--data.train.pairs", str(train / "pairs.txt")] if name == "kitti_raw" else []
    step_on_small_crops(CONFIGS / "data" / f"{name}.yaml", tmp_path, *roots)


def test_the_mixture_trains_on_trees_of_their_layouts(tmp_path: Path) -> None:
    sintel, multiview = trees.sintel(tmp_path / "sintel"), trees.kitti_multiview(tmp_path / "kitti2015_multiview")
    copy = tmp_path / "copy.yaml"
    text = (CONFIGS / "data" / "mixture.yaml").read_text()
    for root in (sintel, multiview):
        text = text.replace(f"root: data/{root.name},", f"root: {root},")
    copy.write_text(text)
    step_on_small_crops(copy, tmp_path)


def step_on_small_crops(path: Path, directory: Path, *options: str) -> None:
    """At most two steps of training and of validation with a data atom whose crops and moving layers are 64x64."""
    atom = yaml.safe_load(path.read_text())
    for node in nodes(atom):
        if "size" in node["init_args"]:
            node["init_args"]["size"] = [64, 64]
    small = directory / "small.yaml"
    small.write_text(yaml.safe_dump(atom))
    limits = {"--data.batch_size": "2", "--data.workers": "0"}
    limits |= {"--trainer.max_epochs": "1", "--trainer.limit_train_batches": "2", "--trainer.limit_val_batches": "2"}
    logger = ["--trainer.logger", "pytorch_lightning.loggers.CSVLogger", "--trainer.logger.save_dir", str(directory)]
    brief = [*logger, *words(BRIEF), "--data", str(small), *options, *words(limits)]
    main(["fit", "--config", str(QUICKSTART), *brief])


def test_gpu_trainer_steps_on_the_cpu_in_its_precision(tmp_path: Path) -> None:
    trainer = ["--trainer", str(CONFIGS / "trainer" / "gpu.yaml")]
    run_one_step(tmp_path, QUICKSTART, *trainer, *ON_A_CPU)


@pytest.mark.parametrize("path", sorted((CONFIGS / "debug").glob("*.yaml")), ids=identify)
def test_overlay_wins_over_the_experiment(path: Path, tmp_path: Path) -> None:
    run_one_step(tmp_path, QUICKSTART, "--config", str(path))

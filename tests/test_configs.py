"""Every YAML that we ship: it states every argument, is instantiated, and steps once."""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest
import pytorch_lightning as pl
import torch
import yaml
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from experiments.common.assembly import CONFIGS, build, build_model
from tests.helpers import trees
from tests.helpers.assembly import frames, step
from tests.helpers.command import BRIEF, csv_logger, run_one_step, words
from unrollflow.checkpoints import read_checkpoint
from unrollflow.cli.main import main
from unrollflow.data import FlowDataModule
from unrollflow.losses import Objective, Smoothness

FILES = sorted(CONFIGS.rglob("*.yaml"))
QUICKSTART = CONFIGS / "experiment" / "quickstart_pwclite.yaml"
PARTS = ("backbone", "photometric", "smoothness", "objective", "distillation", "jitter")
ATOMS = [path for part in PARTS for path in sorted((CONFIGS / part).glob("*.yaml"))]
FIVE_LEVELS = CONFIGS / "backbone" / "pwclite.yaml"
EXPERIMENTS = sorted((CONFIGS / "experiment").glob("*.yaml"))
EMBEDDED = (
    *("quickstart", "thirty_minutes", "overnight", "pyramid_matcher_gpu"),
    *("quickstart_pwclite", "moving_layers_gpu", "raft_moving_layers"),
)
RECIPES = [path for path in EXPERIMENTS if path.stem not in (*EMBEDDED, "video", "adapt")]
LARGE_FRAMES = (384, 832)
"""Frames of the trees that the recipes step on: as large as their largest crop."""

INJECTED = {Objective: ("photometric", "smoothness"), LRScheduler: ("optimizer",)}
"""Arguments that the module gives, not the file."""

VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)  # nn.Module's own
ON_A_CPU = ("--trainer.accelerator", "cpu", "--trainer.devices", "1")
DATA = sorted((CONFIGS / "data").glob("*.yaml"))
SELF_SUFFICIENT = {"motorcycle", "moving_layers", "moving_layers_crops", "moving_layers_large"}
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
    "chairs_raft": (trees.chairs, trees.chairs),
    "kitti2015_multiview": (trees.kitti_multiview, trees.kitti),
    "kitti_large": (trees.kitti_multiview, trees.kitti),
    "kitti_raft": (trees.kitti_multiview, trees.kitti),
    "kitti_raw": (trees.kitti_raw, trees.kitti),
    "shards": (trees.shards, trees.shards),
    "sintel": (trees.sintel, trees.sintel),
    "labels": (trees.labelled, trees.sintel),
    "sintel_raft": (trees.sintel, trees.sintel),
    "sintel_raw": (trees.sintel_raw, trees.sintel),
    "things": (trees.things, trees.things),
    "adapt": (trees.footage, trees.footage),
    "video": (trees.footage, trees.footage),
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
    """Otherwise, a class_path replaced on the command line would silently keep shared arguments of the old class."""
    for node in nodes(yaml.safe_load(path.read_text())):
        module, _, name = node["class_path"].rpartition(".")
        cls = getattr(import_module(module), name)
        if not module.startswith("unrollflow"):
            continue
        injected = {name for parent, names in INJECTED.items() if issubclass(cls, parent) for name in names}
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


LONG = frozenset(
    {"moving_layers_gpu", "raft", "raft_convex", "arflow_kitti", "unrolled_kitti"}
    | {"raft_chairs", "raft_kitti", "raft_sintel", "smurf", "affine", "arflow_sintel"}
    | {"flownets", "flownetc", "flownet2", "spynet", "likenet", "flownet2_small", "spynet_small"}
    | {"raft_moving_layers", "overfit", "brief"}
)
"""Files whose one step takes many seconds: CI runs them with the slow tests."""


def steps_of(paths: Iterable[Path]) -> pytest.MarkDecorator:
    """A test of each file, the long ones among the slow tests."""
    parameters = [pytest.param(path, marks=[pytest.mark.slow] * (path.stem in LONG)) for path in paths]
    return pytest.mark.parametrize("path", parameters, ids=identify)


@steps_of(CONFIGS / "experiment" / f"{name}.yaml" for name in EMBEDDED)
def test_experiment_trains_and_validates_one_step(path: Path, tmp_path: Path) -> None:
    run_one_step(tmp_path, path, *ON_A_CPU)


def beside(path: Path) -> dict[str, Path]:
    """What an atom needs beside it in the quickstart's model."""
    five_levels = ("pwclite", "released_pwclite", "arflow")
    if path.stem.startswith("supervised_flownet"):
        return {"backbone": CONFIGS / "backbone" / f"{path.stem.replace('supervised_flownet', 'flownets')}.yaml"}
    if path.parent.name == "objective" and path.stem.startswith(five_levels):
        return {"backbone": FIVE_LEVELS}
    if path.stem.startswith("pyramid_matcher") and path.parent.name == "objective":
        return {"backbone": CONFIGS / "backbone" / "pyramid_matcher.yaml"}
    if path.stem == "likelihood":
        return {"backbone": CONFIGS / "backbone" / "likenet_small.yaml"}
    if path.parent.name == "distillation" and path.stem.startswith(("raft", "smurf")):  # for iterates of one size
        return {
            name: CONFIGS / name / f"{atom}.yaml"
            for name, atom in (("backbone", "raft_small"), ("objective", "iterates"))
        }
    return {}


def side(path: Path) -> int:
    """Of the frames on which an atom is tried."""
    if path.parent.name == "distillation":
        return 384
    return 128 if path.stem in ("raft", "raft_convex") else 64


@steps_of(ATOMS)
def test_each_atom_takes_the_place_of_the_quickstarts(path: Path) -> None:
    model = build_model(QUICKSTART, **(beside(path) | {path.parent.name: path}))
    step(model, frames(side=side(path)))


@steps_of(sorted((CONFIGS / "backbone").glob("*_small.yaml")))
def test_each_small_network_steps_in_bfloat16(path: Path) -> None:
    model = build_model(QUICKSTART, **{"backbone": path})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step(model, frames(side=64))


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in ATOMS if path.parent.name != "distillation"], ids=identify)
def test_each_atom_takes_the_place_of_the_quickstarts_on_the_command_line(path: Path, tmp_path: Path) -> None:
    others = [word for name, atom in beside(path).items() for word in (f"--model.{name}", str(atom))]
    if path.stem.startswith("supervised") or path.stem.endswith("labels"):
        others += ["--data.transform", "null"]  # the temporal swap drops the labels
    run_one_step(tmp_path, QUICKSTART, *others, f"--model.{path.parent.name}", str(path), side=side(path))


def tree_options(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> list[str]:
    """Trees for a data atom's training and validation, as the command line takes them; the first of large frames."""
    if monkeypatch is not None:
        monkeypatch.setattr(trees, "SIZE", LARGE_FRAMES)
    train = TRAINING[name][0](folder / "train")
    if monkeypatch is not None:
        monkeypatch.setattr(trees, "SIZE", (128, 128))
    validation = TRAINING[name][1](folder / "validation")
    arguments = train_arguments(name, train) | {"validation.root": validation}
    return [word for key, path in arguments.items() for word in (f"--data.{key}", str(path))]


def train_arguments(name: str, root: Path) -> dict[str, Path]:
    """Paths of a data atom's training set in its tree."""
    if name == "labels":
        return {"train.root": root / "frames", "train.labels": root / "labels"}
    return {"train.root": root} | ({"train.pairs": root / "pairs.txt"} if name == "kitti_raw" else {})


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=identify)
def test_each_recipe_trains_and_validates_on_trees(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Path(yaml.safe_load(path.read_text())["data"]).stem
    options = tree_options(data, tmp_path, monkeypatch)
    overlay = ["--config", str(CONFIGS / "debug" / "tiny.yaml")]
    main(["fit", "--config", str(path), *overlay, *options, "--trainer.logger", csv_logger(tmp_path)])
    figures = json.loads((tmp_path / "flow" / "version_0" / "metrics.json").read_text())
    assert figures["steps"] == 1
    assert figures["epe"] > 0


def test_a_recipe_differs_from_its_sibling_in_its_smoothness_alone_where_the_papers_agree() -> None:
    """The unrolled and the Charbonnier recipes follow one paper: all but the term and where it acts is equal."""
    for stage in ("sintel_raw", "sintel", "kitti_raw", "kitti"):
        one, other = (
            yaml.safe_load((CONFIGS / "experiment" / f"arflow_{stage}_{term}.yaml").read_text())
            for term in ("charbonnier", "unrolled")
        )
        for config in (one, other):
            del config["model"]["smoothness"], config["model"]["objective"]
        assert one == other


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem != "raft_labels"], ids=identify)
def test_a_recipes_step_takes_the_batch_that_its_header_states_on_any_machine(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    trainer, data = (yaml.safe_load((path.parent / config[part]).read_text()) for part in ("trainer", "data"))
    stated = re.search(r"batches of\W+(\d+)", path.read_text())
    assert trainer["devices"] == 1
    assert data["batch_size"] * trainer["accumulate_grad_batches"] == (int(stated[1]) if stated else 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["video", "adapt"])
def test_own_footage_trains_and_validates_by_its_experiment(name: str, tmp_path: Path) -> None:
    root, cache = trees.footage(tmp_path / "footage"), tmp_path / "cache"
    options = {f"--data.{part}.{key}": str(value) for part in ("train", "validation")
               for key, value in (("root", root), ("cache", cache))}  # fmt: skip
    limits = {"--trainer.max_steps": "2", "--trainer.val_check_interval": "2", "--data.workers": "0"}
    limits |= {"--data.batch_size": "2", "--trainer.logger": csv_logger(tmp_path)}
    main(["fit", "--config", str(CONFIGS / "experiment" / f"{name}.yaml"), *words(BRIEF | options | limits)])
    figures = json.loads((tmp_path / "flow" / "version_0" / "metrics.json").read_text())
    assert figures["steps"] == 2
    assert figures["photometric"] > 0
    assert figures["epe"] is None


def test_every_data_atom_is_tried() -> None:
    assert {path.stem for path in DATA} == SELF_SUFFICIENT | set(VALIDATION) | set(TRAINING) | {"mixture"}


@pytest.mark.parametrize("name", sorted(SELF_SUFFICIENT))
def test_each_data_atom_without_files_loads(name: str) -> None:
    atom = small(CONFIGS / "data" / f"{name}.yaml")
    atom["batch_size"] = atom["validation_batch_size"] = 2
    module = build(FlowDataModule, atom)
    if module.train is not None:
        assert tuple(next(iter(module.train_dataloader()))["image1"].shape) == (2, 3, 64, 64)
    assert "flow" in next(iter(module.val_dataloader()))


@pytest.mark.parametrize("name", sorted(VALIDATION))
def test_each_benchmark_evaluates_a_tree_of_its_layout(name: str, tmp_path: Path) -> None:
    atom = small(CONFIGS / "data" / f"{name}.yaml")
    atom["validation"]["init_args"]["root"] = str(VALIDATION[name](tmp_path))
    batches = list(build(FlowDataModule, atom).val_dataloader())
    assert all(batch["valid"].any() and batch["flow"].isfinite().all() for batch in batches)


@pytest.mark.parametrize("name", sorted(TRAINING))
def test_each_benchmark_trains_on_a_tree_of_its_layout(name: str, tmp_path: Path) -> None:
    atom = small(CONFIGS / "data" / f"{name}.yaml", cache=tmp_path / "cache")
    train, validation = (write(tmp_path / f"data{i}") for i, write in enumerate(TRAINING[name]))
    atom["validation"]["init_args"]["root"] = str(validation)
    for key, path in train_arguments(name, train).items():
        atom["train"]["init_args"][key.removeprefix("train.")] = str(path)
    check_training(atom, labelled=name == "labels")


def test_the_mixture_trains_on_trees_of_their_layouts(tmp_path: Path) -> None:
    atom = small(CONFIGS / "data" / "mixture.yaml")
    sintel, multiview = trees.sintel(tmp_path / "sintel"), trees.kitti_multiview(tmp_path / "multiview")
    for source, root in zip(atom["train"]["init_args"]["datasets"], (sintel, multiview), strict=False):
        source["init_args"]["root"] = str(root)
    atom["validation"]["init_args"]["root"] = str(sintel)
    check_training(atom)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(VALIDATION))
def test_each_benchmark_validates_on_the_command_line(name: str, tmp_path: Path) -> None:
    root = VALIDATION[name](tmp_path / "data")
    options = ["--data", str(CONFIGS / "data" / f"{name}.yaml"), "--data.validation.root", str(root)]
    run_one_step(tmp_path, QUICKSTART, *options, "--data.workers", "0", subcommand="validate")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TRAINING))
def test_each_benchmark_trains_on_the_command_line(name: str, tmp_path: Path) -> None:
    roots = tree_options(name, tmp_path)
    copy = tmp_path / "small.yaml"
    copy.write_text(yaml.safe_dump(small(CONFIGS / "data" / f"{name}.yaml", cache=tmp_path / "cache")))
    limits = {"--trainer.max_epochs": "1", "--trainer.limit_train_batches": "2", "--trainer.limit_val_batches": "2"}
    limits |= {"--trainer.logger": csv_logger(tmp_path)}
    main(["fit", "--config", str(QUICKSTART), *words(BRIEF), "--data", str(copy), *roots, *words(limits)])


def small(path: Path, cache: Path | None = None) -> dict[str, Any]:
    """A data atom whose crops and moving layers are 64x64, loaded in this process, with a cache of its own."""
    atom = yaml.safe_load(path.read_text())
    for node in nodes(atom):
        if "size" in node["init_args"]:
            node["init_args"]["size"] = [64, 64]
        if "cache" in node["init_args"]:
            node["init_args"]["cache"] = str(cache)
    return cast(dict[str, Any], atom | {"workers": 0, "batch_size": 2})


def check_training(atom: dict[str, Any], *, labelled: bool = False) -> None:
    """A batch of 64x64 crops, without ground truth unless labelled, makes a step; the validation yields something."""
    module = build(FlowDataModule, atom)
    batch = next(iter(module.train_dataloader()))
    assert tuple(batch["image1"].shape) == (2, 3, 64, 64)
    assert ("flow" in batch) == labelled
    step(build_model(QUICKSTART), batch)
    assert next(iter(module.val_dataloader()))["image1"].isfinite().all()


def test_gpu_trainer_steps_on_the_cpu_in_its_precision(tmp_path: Path) -> None:
    trainer = ["--trainer", str(CONFIGS / "trainer" / "gpu.yaml")]
    run_one_step(tmp_path, QUICKSTART, *trainer, *ON_A_CPU)


@pytest.mark.slow
def test_telemetry_is_added_to_the_trainers_callbacks(tmp_path: Path) -> None:
    run_one_step(tmp_path, QUICKSTART, "--config", str(CONFIGS / "callbacks" / "telemetry.yaml"))
    run = tmp_path / "flow" / "version_0"
    callbacks = yaml.safe_load((run / "config.yaml").read_text())["trainer"]["callbacks"]
    used = [callback["class_path"].rpartition(".")[2] for callback in callbacks]
    assert used[-3:] == ["RunReport", "CollapseGuard", "SmoothnessTelemetry"]
    assert "telemetry/smoothness_share" in (run / "metrics.csv").read_text()
    assert 'alt="share against step"' in (run / "report.html").read_text()


@pytest.mark.parametrize("path", sorted((CONFIGS / "trainer").glob("*.yaml")), ids=identify)
def test_every_trainer_warns_of_a_collapse(path: Path) -> None:
    (guard,) = [c for c in yaml.safe_load(path.read_text())["callbacks"] if c["class_path"].endswith("CollapseGuard")]
    assert guard["init_args"]["stop"] is False


@steps_of(sorted((CONFIGS / "debug").glob("*.yaml")))
def test_overlay_wins_over_the_experiment(path: Path, tmp_path: Path) -> None:
    run_one_step(tmp_path, QUICKSTART, "--config", str(path))


class Told(pl.LightningModule):
    """A network of one weight, which logs a worse score in each validation."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.validations = torch.nn.Parameter(torch.ones(())), 0

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.weight.square()

    def validation_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        frames = torch.zeros(1, 3, 8, 8)
        return {"flow": frames[:, :2], "visible": frames[:, :1]}

    def on_validation_epoch_end(self) -> None:
        self.validations += 1
        for name in ("val/score", "val/consistency"):
            self.log(name, float(self.validations))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-6)


def fit_in_its_place(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Told:
    """Run the command line with its own trainer, a network of one weight and three batches an epoch."""
    module, fit = Told(), pl.Trainer.fit
    pair = {"image1": torch.zeros(3, 8, 8), "image2": torch.zeros(3, 8, 8), "name": "a"}
    train, validation = (DataLoader([pair] * length) for length in (3, 2))  # type: ignore[arg-type]  # data sets
    other = wraps(fit)(lambda trainer, *_, **__: fit(trainer, module, train, validation))  # jsonargparse looks at it
    with monkeypatch.context() as patch:
        patch.setattr(pl.Trainer, "fit", other)
        main(["fit", *arguments, *ON_A_CPU, "--trainer.precision", "32-true"])
    return module


def data_options(path: Path, folder: Path) -> list[str]:
    """Trees for an experiment's data, where it has files."""
    data = Path(yaml.safe_load(path.read_text())["data"]).stem
    return tree_options(data, folder) if data in TRAINING else []


SHORT = ("--trainer.max_steps", "7", "--trainer.val_check_interval", "3", "--trainer.check_val_every_n_epoch", "null")
OVERLAYS = [None, *sorted((CONFIGS / "debug").glob("*.yaml"))]


@pytest.mark.slow
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem if path else "none")
@pytest.mark.parametrize("path", EXPERIMENTS, ids=identify)
def test_each_experiment_validates_with_each_overlay_and_keeps_its_newest_state(
    path: Path, overlay: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["--config", str(overlay)] if overlay else [*SHORT]
    more += ["--trainer.max_epochs", "50"] if overlay and overlay.stem == "overfit" else []  # its first validation
    logger = ["--trainer.logger", csv_logger(tmp_path)]
    options = data_options(path, tmp_path / "data")
    options += ["--data.batch_size", "2"] if options else []  # the trees hold few samples
    module = fit_in_its_place(monkeypatch, "--config", str(path), *more, *options, *logger)
    folder = tmp_path / "flow" / "version_0" / "checkpoints"
    last, best = (read_checkpoint(folder / name) for name in ("last.ckpt", "best.ckpt"))
    assert module.validations >= 1
    assert last["global_step"] == module.trainer.global_step
    assert (best["global_step"] < last["global_step"]) == (module.validations > 1)  # later scores are worse


@pytest.mark.parametrize("resumed", [False, True])
def test_a_fast_dev_run_writes_nothing(resumed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit_in_its_place(monkeypatch, "--config", str(QUICKSTART), *SHORT, "--trainer.logger", csv_logger(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    last = ["--ckpt_path", str(tmp_path / "flow" / "version_0" / "checkpoints" / "last.ckpt")] if resumed else []
    options = ["--trainer.fast_dev_run", "true", "--trainer.logger", csv_logger(tmp_path), *last]
    fit_in_its_place(monkeypatch, "--config", str(QUICKSTART), *options)
    assert not [*(tmp_path / "elsewhere").iterdir()]
    assert {path: path.stat().st_mtime_ns for path in before} == before

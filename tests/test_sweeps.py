"""Every shipped sweep is accepted by W&B's engine and agents."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.lib.config_util import save_config_file_from_dict

from experiments.common.assembly import CONFIGS
from experiments.replay_sweep import choices, command_line
from tests.helpers.wandb_file import logged_and_configured, records
from unrollflow.cli.main import main, shipped_config

FILES = sorted((CONFIGS / "sweep").glob("*.yaml"))
ENGINE = ["sweeps==0.3.0", "numpy<2"]
SCRIPT = Path(__file__).parent / "helpers" / "sweep_engine.py"
ROOT = Path(__file__).parents[1]


def stem(path: Path) -> str:
    return path.stem


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def names(path: Path) -> list[str]:
    """Dotted names of what a sweep's command and its parameters set."""
    sweep = read(path)
    flags = [str(word).removeprefix("--") for word in sweep["command"] if str(word).startswith("--")]
    return [name for name in flags if name != "config"] + list(sweep["parameters"])


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_a_sweep_states_its_whole_command_its_metric_and_when_it_ends_early(path: Path) -> None:
    sweep = read(path)
    assert sweep["command"][:5] == ["${env}", "${interpreter}", "-m", "unrollflow", "fit"]
    assert sweep["command"][-1] == "${args}"
    assert sweep["metric"] == {"name": "val/epe", "goal": "minimize"}
    assert sweep["early_terminate"]["type"] == "hyperband"
    for cell in choices(sweep, runs=1, seed=0):
        for argument in command_line(sweep, cell):
            if argument.endswith(".yaml"):
                assert Path(shipped_config(argument).rpartition("=")[2]).is_file()


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_no_parameter_refines_or_replaces_another_one(path: Path) -> None:
    """So that the order in which an agent gives them cannot matter; the command's own files come first."""
    given = list(read(path)["parameters"])
    for one in given:
        assert not [other for other in given if other.startswith(f"{one}.")]
        assert not [other for other in names(path) if other != one and other.startswith(f"{one}.")]


def parsed(command: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The configuration that a command would run."""
    with pytest.raises(SystemExit) as ended:
        main([*command[command.index("fit") :], "--trainer.default_root_dir", str(folder), "--print_config"])
    assert ended.value.code == 0
    config: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return config


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=[pytest.mark.slow] * (path.stem != "unrolled")) for path in FILES], ids=stem
)
def test_both_orders_of_the_arguments_give_one_configuration(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = read(path)
    cell = choices(sweep, runs=1, seed=0)[-1]
    tiny = {name: 1e-05 if isinstance(value, float) else value for name, value in cell.items()}  # as Python writes it
    orders = [
        parsed(command_line(sweep, dict(pairs)), tmp_path, capsys) for pairs in (tiny.items(), [*tiny.items()][::-1])
    ]
    assert orders[0] == orders[1]
    for name, value in tiny.items():
        found: Any = orders[0]
        for key in name.split("."):
            found = found[key]
        if str(value).endswith(".yaml"):
            value = yaml.safe_load((ROOT / str(value)).read_text())
            found = {key: found[key] for key in value}
        assert found == value, name


def test_the_grid_crosses_every_penalty_with_every_weight_and_seed() -> None:
    cells = choices(read(CONFIGS / "sweep" / "ablation.yaml"), runs=0, seed=0)
    terms = {cell["model.smoothness"] for cell in cells}
    assert len(cells) == len(terms) * 3 * 5
    atoms = [read(ROOT / str(term)) for term in terms]
    unrolled = [atom["init_args"] for atom in atoms if atom["class_path"].endswith("UnrolledTotalVariation")]
    assert {(term["steps"], term["detach"], term["initial_term"]) for term in unrolled} == {
        (steps, detach, initial) for steps in (1, 4) for detach in (False, True) for initial in (False, True)
    }
    shared = ("operator", "order", "edge_alpha", "edge_position", "guide_range")
    assert len({tuple(atom["init_args"][key] for key in shared) for atom in atoms if "init_args" in atom}) == 1
    assert len({(term["lam"], term["rho"], term["eta"]) for term in unrolled}) == 1


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with W&B's sweep engine, which needs an older numpy than ours."""
    folder = tmp_path_factory.mktemp("engine") / "venv"
    python = folder / "bin" / "python"
    for command in ([sys.executable, "-m", "venv", str(folder)], [str(python), "-m", "pip", "install", "-q", *ENGINE]):
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            pytest.skip(f"pip cannot install {' '.join(ENGINE)} here: {ended.stderr.strip()[-200:]}")
    return python


def asked(engine: Path, path: Path) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(engine), str(SCRIPT), str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    answer: dict[str, Any] = json.loads(ended.stdout)
    return answer


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=stem)
def test_the_engine_accepts_suggests_and_stops(path: Path, engine: Path) -> None:
    answer, sweep = asked(engine, path), read(path)
    assert answer["violations"] == []
    assert len(answer["suggested"]) == 4
    for run in answer["suggested"]:
        assert run.keys() == sweep["parameters"].keys()
    assert len({json.dumps(run, sort_keys=True) for run in answer["suggested"]}) == 4
    early = sum(answer["stopped"].values())
    assert (early == 0) == (sweep["method"] == "grid"), (
        "a grid's runs are compared as they end, a search's need not end"
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=stem)
def test_a_suggested_run_logs_its_metric_under_the_sweeps_keys(path: Path, engine: Path, tmp_path: Path) -> None:
    """Started as wandb's agent starts it, offline."""
    sweep, parameters = read(path), asked(engine, path)["suggested"][1]
    settings = tmp_path / "wandb" / "sweep-abc" / "config-run1.yaml"
    save_config_file_from_dict(str(settings), {name: {"value": value} for name, value in parameters.items()})
    agents = {"WANDB_SWEEP_ID": "abc", "WANDB_RUN_ID": "run1", "WANDB_SWEEP_PARAM_PATH": str(settings)}
    places = {"PYTHONPATH": str(ROOT), "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    brief = ["--config", "configs/debug/tiny.yaml"]
    subprocess.run(
        [*command_line(sweep, parameters), *brief], cwd=tmp_path, env=os.environ | agents | places, check=True
    )
    (file,) = tmp_path.glob("runs/wandb/offline-run-*/run-*.wandb")
    logged, configured = logged_and_configured(file)
    assert sweep["metric"]["name"] in logged
    kept: dict[str, Any] = {}
    for record in records(file):
        for update in (record.config.update, record.run.config.update):
            kept |= {item.key: json.loads(item.value_json) for item in update if item.key}
    assert {name: kept.get(name) for name in parameters} == parameters
    assert configured.count("model") == 1
    ours = yaml.safe_load((tmp_path / "runs" / "flow" / "version_0" / "config.yaml").read_text())
    assert kept["model"] == ours["model"]

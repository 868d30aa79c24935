"""Build the models of experiment files in this process."""

from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from jsonargparse import ArgumentParser

from unrollflow.training import UnsupervisedFlow

CONFIGS = Path(__file__).parents[2] / "configs"
T = TypeVar("T")


def build(cls: type[T], config: dict[str, Any]) -> T:
    """Return an object of a class from the arguments of a YAML file."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, "part")
    return cast(T, parser.instantiate(parser.parse_object({"part": config})).part)


def build_model(experiment: Path, **atoms: Path) -> UnsupervisedFlow:
    """Return the model of an experiment file; some of its parts can be replaced."""
    config = yaml.safe_load(experiment.read_text())["model"]
    for part, value in config.items():
        if isinstance(value, str):
            config[part] = yaml.safe_load((experiment.parent / value).read_text())
    return build(UnsupervisedFlow, config | {part: yaml.safe_load(path.read_text()) for part, path in atoms.items()})

"""Reading checkpoints as data: primitives and tensors only, class names checked before anything is built."""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from unrollflow.weights import SUFFIX, read_weights

TRUSTED = ("unrollflow.", "torch.optim.")
"""A class that a checkpoint names must begin with one of these, unless the user allows more."""

MOST_WORDS = 120
"""Characters of another library's error that ours repeats."""

UNREADABLE = (
    UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, OSError,
    AssertionError, AttributeError, TypeError, struct.error,
)  # fmt: skip
"""What torch raises of contents that it cannot or may not load; the second line, of damage to its older format."""

PLAIN_WORD = re.compile(r"[\w -]*")

INSTANTIATOR_KEY = "_instantiator"
INSTANTIATOR = "pytorch_lightning.cli.instantiate_module"
"""The one function by which Lightning may build a module whose checkpoint holds class paths."""

MOST_NAMES = 3
"""Names of each kind that an error lists."""

MODEL_KEY = "hyper_parameters"
"""Where Lightning keeps what the command line built the module of."""


MOVED = {
    "unrollflow.averaging.": "unrollflow.callbacks.",
    "unrollflow.collapse.": "unrollflow.callbacks.",
    "unrollflow.data.boundaries.": "unrollflow.data.transforms.motion_boundaries.",
    "unrollflow.data.footage.": "unrollflow.data.",
    "unrollflow.data.frames.": "unrollflow.data.",
    "unrollflow.data.jitter.": "unrollflow.data.",
    "unrollflow.data.resizing.": "unrollflow.data.",
    "unrollflow.schedules.": "unrollflow.training.",
    "unrollflow.telemetry.": "unrollflow.callbacks.",
}
"""Beginnings of class paths that checkpoints may hold whose classes have moved since, and today's."""

WEIGHTS_ALONE = "weights_alone"
"""What a file holds, beside its 'state_dict', of which no training is known: `unrollflow import` writes such."""


def read_data(path: str | Path) -> object:
    """What a file of torch.save holds, on the CPU, without running any code from it.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if it is damaged, or holds anything but primitives and tensors.
    """
    with Path(path).open("rb") as file:  # so that an OSError of the reading is one of the contents
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except UNREADABLE as error:
            raise ValueError(
                f"{path} cannot be read as a checkpoint of tensors and primitives: it is damaged, or holds other "
                f"objects, which are never loaded ({' '.join(str(error).split())[:MOST_WORDS]})"
            ) from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Contents of a Lightning checkpoint, on the CPU, without running any code from it.

    Of a safetensors file: its tensors as `state_dict` and its card's `model` as the configuration.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a checkpoint of primitives and tensors, or does not belong to its card.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; a run prints the paths of its checkpoints when it ends.")
    if path.suffix == SUFFIX:
        weights, card = read_weights(path)
        return {"state_dict": weights, MODEL_KEY: with_current_names(card["model"])}
    checkpoint = read_data(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise ValueError(f"{path} is not a Lightning checkpoint: it holds no 'state_dict'.")
    if not all(isinstance(value, Tensor) for value in checkpoint["state_dict"].values()):
        raise ValueError(f"{path} holds something else than tensors in its 'state_dict'.")
    if not isinstance(checkpoint.get(MODEL_KEY, {}), dict):
        raise ValueError(f"{path} holds a {type(checkpoint[MODEL_KEY]).__name__} as its configuration, not a mapping.")
    if MODEL_KEY in checkpoint:
        checkpoint[MODEL_KEY] = with_current_names(checkpoint[MODEL_KEY])
    return checkpoint


def with_current_names(config: Any) -> Any:
    """A nested configuration in which class paths of :data:`MOVED` are replaced by today's.

    >>> with_current_names({"scheduler": {"class_path": "unrollflow.schedules.DecayAfter"}})
    {'scheduler': {'class_path': 'unrollflow.training.DecayAfter'}}
    """
    if isinstance(config, str):
        old = next((old for old in MOVED if config.startswith(old)), "")
        return MOVED.get(old, "") + config.removeprefix(old)
    if isinstance(config, dict):
        return {name: with_current_names(value) for name, value in config.items()}
    if isinstance(config, list):
        return [with_current_names(value) for value in config]
    return config


def refuse_weights_alone(checkpoint: Mapping[str, object], path: str | Path) -> None:
    """Raise ValueError if a file of `unrollflow import` is taken for a training's checkpoint."""
    if checkpoint.get(WEIGHTS_ALONE):
        raise ValueError(
            f"{path} holds weights alone, as `unrollflow import` writes them, and not what module to build; start a "
            "fit from it, or validate it, with --config and --model.init_weights."
        )


def names_to_import(config: object) -> Iterator[str]:
    """Every string of a nested configuration that is not a plain word: it may name a class, a function or a file.

    Not only `class_path` entries: jsonargparse takes a bare string for a class or a function, and for a file too.

    >>> list(names_to_import({"backbone": {"class_path": "a.B"}, "padding": "border", "parts": ["c.D", "e.yaml"]}))
    ['a.B', 'c.D', 'e.yaml']
    """
    if isinstance(config, str):
        if not PLAIN_WORD.fullmatch(config):
            yield config
    elif isinstance(config, Mapping):
        for value in config.values():
            yield from names_to_import(value)
    elif isinstance(config, (list, tuple, set, frozenset)):
        for item in config:
            yield from names_to_import(item)


def is_own(name: str, packages: tuple[str, ...] = TRUSTED) -> bool:
    """Whether a dotted name is of something that one of the packages defines itself, not of what it imports.

    >>> is_own("unrollflow.models.PWCLite"), is_own("unrollflow.data.io.flow.os.system"), is_own("os.system")
    (True, False, False)
    """
    module, _, attribute = name.rpartition(".")
    if not name.startswith(packages):
        return False
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError):
        return False
    return str(getattr(found, "__module__", "")).startswith(packages)


def model_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a model's configuration, without the name of Lightning's function that builds it.

    >>> model_arguments({"a": 1, "_instantiator": "module"})
    {'a': 1}
    """
    return {key: value for key, value in config.items() if key != INSTANTIATOR_KEY}


def check_trusted(
    config: Mapping[str, object],
    path: str | Path,
    *,
    trusted: Sequence[str] = (),
    packages: tuple[str, ...] = TRUSTED,
) -> None:
    """Raise ValueError if a checkpoint's configuration names anything from outside `packages` and `trusted`.

    Args:
        config: what the file keeps under :data:`MODEL_KEY`.
        path: the file, for the message.
        trusted: more beginnings of names that are allowed, such as `["mypackage."]`.
        packages: beginnings of names of which only what such a package defines itself is allowed.
    """
    prefixes = (*packages, *trusted)
    named = names_to_import(model_arguments(config))
    foreign = [name for name in named if not (name.startswith(tuple(trusted)) or is_own(name, packages))]
    instantiator = config.get(INSTANTIATOR_KEY, INSTANTIATOR)
    foreign += [] if instantiator == INSTANTIATOR else [str(instantiator)]  # Lightning would import and call it
    unknown = [name for name in foreign if name.startswith(TRUSTED)]
    if unknown:
        raise ValueError(
            f"{path} asks for {', '.join(unknown)}, which this version of the package does not define; take the "
            "version that wrote it, or build the module yourself and load it with "
            "UnsupervisedFlow.load_from_checkpoint(path, backbone=..., ...)."
        )
    if foreign:
        raise ValueError(
            f"{path} asks for {', '.join(foreign)}; a checkpoint may only build what begins with "
            f"{' or '.join(prefixes)}. If you trust it, build the module yourself and load it with "
            "UnsupervisedFlow.load_from_checkpoint(path, backbone=..., ...), or pass trusted=['package.']."
        )


def check_fits(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    """Raise ValueError, in a few words, if weights have other names or shapes than a model's.

    >>> check_fits({"a": torch.zeros(2)}, {"a": torch.zeros(3)}, "x.ckpt")
    Traceback (most recent call last):
    ValueError: x.ckpt holds another network: 0 names missing, 0 unknown, 1 of another shape (a: (2,), expected (3,)).
    """
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    reshaped = [k for k in expected if k in weights and weights[k].shape != expected[k].shape]
    if not (missing or unknown or reshaped):
        return
    examples = [f"missing {k}" for k in missing[:MOST_NAMES]] + [f"unknown {k}" for k in unknown[:MOST_NAMES]]
    examples += [f"{k}: {tuple(weights[k].shape)}, expected {tuple(expected[k].shape)}" for k in reshaped[:MOST_NAMES]]
    raise ValueError(
        f"{source} holds another network: {len(missing)} names missing, {len(unknown)} unknown, "
        f"{len(reshaped)} of another shape ({'; '.join(examples)})."
    )

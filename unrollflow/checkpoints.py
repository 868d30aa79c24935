"""Read checkpoints as data: only primitives and tensors, with class names checked before anything is built."""

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
"""Allowed prefixes of class names in a checkpoint, unless the user allows more."""

MOST_WORDS = 120
"""Maximum number of characters that an error quotes from another library's error."""

UNREADABLE = (
    UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, OSError,
    AssertionError, AttributeError, TypeError, struct.error,
)  # fmt: skip
"""Errors of torch for contents that it cannot or may not load; second line: for damaged files in its older format."""

PLAIN_WORD = re.compile(r"[\w -]*")

INSTANTIATOR_KEY = "_instantiator"
INSTANTIATOR = "pytorch_lightning.cli.instantiate_module"
"""The only function that Lightning may call to build a module from a checkpoint with class paths."""

MOST_NAMES = 3
"""Maximum number of names of each kind in an error."""

MODEL_KEY = "hyper_parameters"
"""Key of the module's configuration in a Lightning checkpoint."""


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
"""Prefixes of class paths in old checkpoints whose classes have moved, and the current prefixes."""


def read_data(path: str | Path) -> object:
    """Contents of a file written by torch.save, on the CPU, without running code from the file.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if it is damaged, or holds anything but primitives and tensors.
    """
    with Path(path).open("rb") as file:  # opened here, so that an OSError of torch.load is about the contents
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except UNREADABLE as error:
            raise ValueError(
                f"{path} cannot be read as a checkpoint: it is damaged, or contains other objects than tensors and "
                f"primitives, which are never loaded ({' '.join(str(error).split())[:MOST_WORDS]})"
            ) from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Contents of a Lightning checkpoint, on the CPU, without running code from the file.

    For a safetensors file: its tensors as `state_dict`, and `model` of its card as the configuration.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is not a checkpoint of primitives and tensors, or does not match its card.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; a run prints the paths of its checkpoints at its end.")
    if path.suffix == SUFFIX:
        weights, card = read_weights(path)
        return {"state_dict": weights, MODEL_KEY: with_current_names(card["model"])}
    checkpoint = read_data(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise ValueError(f"{path} is not a Lightning checkpoint: it has no 'state_dict'.")
    if not all(isinstance(value, Tensor) for value in checkpoint["state_dict"].values()):
        raise ValueError(f"{path} is not a valid checkpoint: its 'state_dict' contains other objects than tensors.")
    if not isinstance(checkpoint.get(MODEL_KEY, {}), dict):
        raise ValueError(
            f"{path} is not a valid checkpoint: its configuration is a {type(checkpoint[MODEL_KEY]).__name__}; "
            "expected a mapping."
        )
    if MODEL_KEY in checkpoint:
        checkpoint[MODEL_KEY] = with_current_names(checkpoint[MODEL_KEY])
    return checkpoint


def with_current_names(config: Any) -> Any:
    """Nested configuration in which class paths of :data:`MOVED` are replaced by the current ones.

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


def refuse_weights_alone(path: str | Path) -> None:
    """Raise ValueError if a safetensors file is used as the checkpoint of a training."""
    if Path(path).suffix == SUFFIX:
        raise ValueError(
            f"{path} contains only weights, not the state of a training; pass it as --model.init_weights, together "
            "with --config."
        )


def names_to_import(config: object) -> Iterator[str]:
    """Yield every string of a nested configuration that may name a class, a function or a file: all but plain words.

    Checking `class_path` entries is not sufficient: jsonargparse also accepts a bare string for a class, a function or
    a file.

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
    """Whether a dotted name refers to an object that one of the packages defines, not only imports.

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
    """Arguments of a model's configuration, without the name of the Lightning function that builds it.

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
    """Raise ValueError if a checkpoint's configuration refers to names outside of `packages` and `trusted`.

    Args:
        config: value of :data:`MODEL_KEY` in the file.
        path: the file, for the message.
        trusted: additional prefixes of allowed names, such as `["mypackage."]`.
        packages: prefixes of allowed names, limited to objects that these packages define themselves.
    """
    prefixes = (*packages, *trusted)
    named = names_to_import(model_arguments(config))
    foreign = [name for name in named if not (name.startswith(tuple(trusted)) or is_own(name, packages))]
    instantiator = config.get(INSTANTIATOR_KEY, INSTANTIATOR)
    foreign += [] if instantiator == INSTANTIATOR else [str(instantiator)]  # Lightning would import and call it
    unknown = [name for name in foreign if name.startswith(TRUSTED)]
    if unknown:
        raise ValueError(
            f"{path} refers to {', '.join(unknown)}, which this version of the package does not define; use the "
            "version that wrote the file, or build the module yourself and load it with "
            "UnsupervisedFlow.load_from_checkpoint(path, backbone=..., ...)."
        )
    if foreign:
        raise ValueError(
            f"{path} refers to untrusted names: {', '.join(foreign)}; only names that begin with "
            f"{' or '.join(prefixes)} are allowed. If you trust the file, pass trusted=['package.'], or build the "
            "module yourself and load it with UnsupervisedFlow.load_from_checkpoint(path, backbone=..., ...)."
        )


def check_fits(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    """Raise ValueError if weights have other names or shapes than those of a model.

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

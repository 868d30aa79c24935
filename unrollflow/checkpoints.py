"""Reading checkpoints as data: primitives and tensors only, class names checked before anything is built."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

TRUSTED = ("unrollflow.", "torch.optim.")
"""A class that a checkpoint names must begin with one of these, unless the user allows more."""

MOST_WORDS = 120
"""Characters of another library's error that ours repeats."""

MODEL_KEY = "hyper_parameters"
"""Where Lightning keeps what the command line built the module of."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Contents of a Lightning checkpoint, on the CPU, without running any code from it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a checkpoint of primitives and tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; a run prints the paths of its checkpoints when it ends.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read as a checkpoint of tensors and primitives: it is damaged, or holds other objects, "
            f"which are never loaded ({' '.join(str(error).split())[:MOST_WORDS]})"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{path} is no Lightning checkpoint: it holds no 'state_dict'.")
    return checkpoint


def class_paths(config: object) -> Iterator[str]:
    """Every class or function that a nested configuration names.

    >>> list(class_paths({"backbone": {"class_path": "unrollflow.models.PWCLite", "init_args": {}}}))
    ['unrollflow.models.PWCLite']
    """
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key in ("class_path", "_class_path") and isinstance(value, str):
                yield value
            else:
                yield from class_paths(value)
    elif isinstance(config, (list, tuple)):
        for item in config:
            yield from class_paths(item)


def check_trusted(config: object, path: str | Path, *, trusted: Sequence[str] = ()) -> None:
    """Raise ValueError if a checkpoint's configuration names a class from outside :data:`TRUSTED` and `trusted`."""
    prefixes = (*TRUSTED, *trusted)
    foreign = [name for name in class_paths(config) if not name.startswith(prefixes)]
    if foreign:
        raise ValueError(
            f"{path} asks for {', '.join(foreign)}; a checkpoint may only build classes that begin with "
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
    examples = [f"missing {k}" for k in missing[:1]] + [f"unknown {k}" for k in unknown[:1]]
    examples += [f"{k}: {tuple(weights[k].shape)}, expected {tuple(expected[k].shape)}" for k in reshaped[:1]]
    raise ValueError(
        f"{source} holds another network: {len(missing)} names missing, {len(unknown)} unknown, "
        f"{len(reshaped)} of another shape ({'; '.join(examples)})."
    )

"""Weights as NAME.safetensors with the card NAME.json; some are shipped with the package.

The card contains the SHA-256 of the weights, the configuration of their module (`model`), and the details of their
training. Weights are read as data, because safetensors files only contain tensors.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor

SHIPPED = Path(__file__).parent
SUFFIX = ".safetensors"

FILES = (f"model{SUFFIX}", "model.json")
"""Names of weights and card in a folder that contains one network."""

DEFAULT = "small"
"""Name of the default shipped weights."""


def shipped_weights() -> list[str]:
    """Names of the weights that are shipped with the package."""
    return sorted(path.stem for path in SHIPPED.glob(f"*{SUFFIX}"))


def weights_file(name: str | Path) -> Path:
    """Path of a checkpoint or of weights, given as a path, the name of shipped weights, or a folder.

    Args: name: the name of shipped weights precedes a folder of that name ("./small" is the folder).

    Raises:
        FileNotFoundError: if there is no such file or name, or the folder does not contain :data:`FILES`.
    """
    path = Path(name)
    if path.is_file():
        return path
    if str(name) in shipped_weights():
        return SHIPPED / f"{name}{SUFFIX}"
    if not path.is_dir():
        raise FileNotFoundError(
            f"{name} is neither a file nor the name of shipped weights ({', '.join(shipped_weights())})."
        )
    if not (path / FILES[0]).is_file():
        raise FileNotFoundError(f"{path} does not contain {FILES[0]}; save_pretrained writes {' and '.join(FILES)}.")
    return path / FILES[0]


def read_card(path: Path) -> dict[str, Any]:
    """Read the card beside a file of weights.

    Raises:
        FileNotFoundError: if the card does not exist.
        ValueError: if it is not a JSON object with the required entries.
    """
    file = path.with_suffix(".json")
    if not file.is_file():
        raise FileNotFoundError(f"the card of {path} is missing: no file {file}, which describes the network.")
    try:
        card = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from None
    kinds = {"sha256": str, "model": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(card, dict) or not isinstance(card.get(key), kind)]
    if wrong:
        raise ValueError(f"{file} is not a card of weights: {' and '.join(wrong)} missing or of a wrong type.")
    return dict(card)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors, by name, and the card of a safetensors file.

    Raises:
        FileNotFoundError: if the file or its card does not exist.
        ValueError: if the file is damaged or does not match its card.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    card, content = read_card(path), path.read_bytes()
    if sha256(content).hexdigest() != card["sha256"]:
        raise ValueError(
            f"{path} does not match its card {path.with_suffix('.json')}: the SHA-256 differs, so one of the files is "
            "damaged or was replaced."
        )
    try:
        return load(content), card
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as a safetensors file: {error}") from None


def packed_weights(tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Contents of a safetensors file, and of its card with the SHA-256 of the file."""
    from safetensors.torch import save

    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    full = {**card, "sha256": sha256(content).hexdigest()}
    return content, (json.dumps(full, indent=2) + "\n").encode()

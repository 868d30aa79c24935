"""Weights as NAME.safetensors, with the card NAME.json beside them; some are shipped with the package.

The card holds the SHA-256 of the weights, the configuration of the module that they belong to (`model`), and how they
were trained. Weights are read as data: safetensors files hold tensors alone.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor

SHIPPED = Path(__file__).parent
SUFFIX = ".safetensors"

DEFAULT = "small"
"""Name of the shipped weights that are used unless others are asked for."""


def shipped_weights() -> list[str]:
    """Names of the weights that are shipped with the package."""
    return sorted(path.stem for path in SHIPPED.glob(f"*{SUFFIX}"))


def weights_file(name: str | Path) -> Path:
    """The file of a checkpoint or of weights, or of shipped weights by their name.

    Raises:
        FileNotFoundError: if there is neither such a file nor such a name.
    """
    path, shipped = Path(name), SHIPPED / f"{name}{SUFFIX}"
    if path.is_file():
        return path
    if str(name) in shipped_weights():
        return shipped
    raise FileNotFoundError(
        f"{name} is neither a file nor the name of shipped weights ({', '.join(shipped_weights())})."
    )


def read_card(path: Path) -> dict[str, Any]:
    """The card beside a file of weights.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is not a JSON object with the texts and mappings that a card needs.
    """
    file = path.with_suffix(".json")
    if not file.is_file():
        raise FileNotFoundError(f"{path} needs its card {file}, which describes the network.")
    try:
        card = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from None
    kinds = {"sha256": str, "model": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(card, dict) or not isinstance(card.get(key), kind)]
    if wrong:
        raise ValueError(f"{file} is not a card of weights: {' and '.join(wrong)} missing or of another type.")
    return dict(card)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and the card, of a safetensors file.

    Raises:
        FileNotFoundError: if the file or its card does not exist.
        ValueError: if the file is damaged or does not belong to its card.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    card, content = read_card(path), path.read_bytes()
    if sha256(content).hexdigest() != card["sha256"]:
        raise ValueError(
            f"{path} does not belong to its card {path.with_suffix('.json')}: the SHA-256 differs, so one of them is "
            "damaged or was replaced."
        )
    try:
        return load(content), card
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as a safetensors file: {error}") from None


def packed_weights(tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Contents of the safetensors file and of its card, to which the SHA-256 of the former is added."""
    from safetensors.torch import save

    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    full = {**card, "sha256": sha256(content).hexdigest()}
    return content, (json.dumps(full, indent=2) + "\n").encode()

"""`unrollflow import`: convert weights released by other projects to weights with a card, for `predict --weights`."""

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser
from torch import nn

from unrollflow.cli.checks import refuse_replacing, refuse_unwritable
from unrollflow.data.io.files import write_atomic
from unrollflow.models import RAFT, PWCLite
from unrollflow.models.released.layouts import Source
from unrollflow.models.released.weights import import_weights
from unrollflow.weights import SUFFIX, packed_weights

PARTS_OF_A_TRAINING: dict[str, Any] = {
    "photometric": {"class_path": "unrollflow.losses.Census"},
    "smoothness": {"class_path": "unrollflow.losses.NoSmoothness"},
    "objective": {
        "class_path": "unrollflow.UnsupervisedObjective",
        "init_args": {
            "visibility": {"class_path": "unrollflow.losses.AllVisible"},
            "smoothness_weight": 0.0,
            "level_weights": [1.0],
            "smoothness_level_weights": [1.0],
        },
    },
    "optimizer": {"class_path": "torch.optim.AdamW"},
}
"""Parts that a module needs, but its predictions do not depend on: released files do not contain them."""


def run(arguments: list[str], trusted: list[str]) -> None:
    """Parse the arguments of `unrollflow import` and run it.

    Raises:
        OSError, ValueError: as :func:`~unrollflow.models.import_weights`; FileExistsError if the output exists.
        ValueError: if the output is not a .safetensors file.
    """
    parser = ArgumentParser("unrollflow import", description=__doc__)
    parser.add_argument("file", type=Path, help="the released file")
    parser.add_argument("--source", type=Source, required=True, help="project that released the file")
    parser.add_subclass_arguments(
        (PWCLite, RAFT), "backbone", required=True, help="the network, such as a file in configs/backbone"
    )
    parser.add_argument("--output", type=Path, required=True, help=f"{SUFFIX} file to write, with its card beside it")
    parsed = parser.parse_args(arguments[1:])
    if parsed.output.suffix != SUFFIX:
        raise ValueError(f"--output is {parsed.output}; expected a name that ends in {SUFFIX}.")
    files = [parsed.output, parsed.output.with_suffix(".json")]
    refuse_replacing(files, remedy="remove them")
    refuse_unwritable(files)
    backbone: nn.Module = parser.instantiate(parsed).backbone
    report = import_weights(parsed.file, backbone, source=parsed.source)
    weights = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    network = yaml.safe_load(parser.dump(parsed))["backbone"]
    card = {
        "parameters": report.parameters,
        "source": f"{parsed.file.name}, released by {parsed.source}",
        "model": {"backbone": network, **PARTS_OF_A_TRAINING},
    }
    for file, content in zip(files, packed_weights(weights, card), strict=True):
        write_atomic(file, content)
    print(f"{parsed.output}: {report}")  # noqa: T201, the command's answer

"""`unrollflow import`: convert weights released by other projects to a file for `--model.init_weights`."""

import io
from pathlib import Path

import torch
from jsonargparse import ArgumentParser
from torch import nn

from unrollflow.checkpoints import WEIGHTS_ALONE
from unrollflow.cli.checks import refuse_unwritable
from unrollflow.data.io.files import write_atomic
from unrollflow.models import RAFT, PWCLite
from unrollflow.models.released.layouts import Source
from unrollflow.models.released.weights import import_weights


def run(arguments: list[str], trusted: list[str]) -> None:
    """Parse the arguments of `unrollflow import` and run it.

    Raises:
        OSError, ValueError: as :func:`~unrollflow.models.import_weights`; FileExistsError if the output exists.
    """
    parser = ArgumentParser("unrollflow import", description=__doc__)
    parser.add_argument("file", type=Path, help="the released file")
    parser.add_argument("--source", type=Source, required=True, help="project that released the file")
    parser.add_subclass_arguments(
        (PWCLite, RAFT), "backbone", required=True, help="the network, such as a file in configs/backbone"
    )
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    parsed = parser.parse_args(arguments[1:])
    if parsed.output.exists():
        raise FileExistsError(f"{parsed.output} already exists; choose another --output.")
    refuse_unwritable([parsed.output])
    backbone: nn.Module = parser.instantiate(parsed).backbone
    report = import_weights(parsed.file, backbone, source=parsed.source)
    contents = io.BytesIO()
    weights = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    torch.save({"state_dict": weights, WEIGHTS_ALONE: True}, contents)
    write_atomic(parsed.output, contents.getvalue())
    print(f"{parsed.output}: {report}")  # noqa: T201, the command's answer

"""`unrollflow export`: write a trained network as a program that runs without this package."""

from argparse import ArgumentParser
from importlib.metadata import version
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Literal, get_args

import torch
from torch.export import export

from unrollflow.cli.checks import refuse_overwriting, refuse_replacing, refuse_unwritable
from unrollflow.cli.export.program import (
    LARGEST_SIDE,
    MOST_PAIRS,
    TOLERANCE,
    PaddedFlow,
    flow_program,
    largest_difference,
    onnx_file,
    onnx_runner,
    torch_file,
    torch_runner,
)
from unrollflow.cli.networks import add_weights
from unrollflow.data.io.files import write_atomic
from unrollflow.models import PyramidMatcher
from unrollflow.training.module import UnsupervisedFlow
from unrollflow.weights import weights_file

Format = Literal["onnx", "torch"]

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
"""File suffix of each format."""

FORMATS = {"onnx": (onnx_file, onnx_runner), "torch": (torch_file, torch_runner)}
"""Functions that write a file of each format, and that run it for the check."""

EXTRA = ("onnx", "onnxscript", "onnxruntime")
"""Packages in the extra `export`."""

USUAL_SIZE = (436, 1024)
"""Height and width of the frames that determine the default number of levels: Sintel's, pixels."""

MOST_LEVELS = 9
"""Maximum number of levels; frames then need at least 1024 pixels per side."""


def run(arguments: list[str], trusted: list[str]) -> None:
    """Parse the arguments of `unrollflow export` and run it."""
    parser = ArgumentParser("unrollflow export", description=__doc__)
    add_weights(parser)
    parser.add_argument(
        "--format", dest="kind", choices=get_args(Format), default="onnx", help="file format (%(default)s)"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write: .onnx, or .pt2 for torch")
    parser.add_argument(
        "--levels",
        type=int,
        metavar="N",
        help=f"pyramid levels of the program at every image size, 1 to {MOST_LEVELS}; images need at least 2^(N + 1) "
        f"pixels per side (default: the levels that `predict` uses for {USUAL_SIZE[0]}x{USUAL_SIZE[1]})",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    export_flow(**vars(parser.parse_args(arguments[1:])), trusted=trusted)


def export_flow(
    *, weights: str, kind: Format, output: Path, levels: int | None, overwrite: bool, trusted: list[str]
) -> None:
    """Write the program of a trained network, after a check against the network at five image sizes.

    Args:
        weights: name of shipped weights, a safetensors file, or a checkpoint.
        kind: "onnx", or "torch" for torch.export.
        output: file to write, .onnx or .pt2.
        levels: number of pyramid levels at every size; None: the number that the network uses for 436x1024 pixels.
        overwrite: replace an existing file.
        trusted: prefixes of names that a checkpoint may use, in addition to those of this package.

    Raises:
        ImportError: if the extra `export`, which ONNX needs, is not installed, or torch is too old.
        FileNotFoundError, ValueError: if the weights cannot be read, the network is not a PyramidMatcher, or the number
            of levels or the suffix of the output is wrong.
        OSError: if the output already exists, or cannot be written.
    """
    if output.suffix.lower() != SUFFIXES[kind]:
        raise ValueError(f"--output {output} has a wrong suffix; --format {kind} needs a {SUFFIXES[kind]} file.")
    source = weights_file(weights)
    refuse_overwriting([source], [output])
    if not overwrite:
        refuse_replacing([output])
    refuse_unwritable([output])
    flow = fixed_flow(UnsupervisedFlow.load_from_checkpoint(source, trusted=trusted), weights, levels)
    check_packages(kind)
    write, runner = FORMATS[kind]
    contents = write(flow_program(flow), metadata(flow, source.stem))
    difference = largest_difference(runner(contents), flow)
    if not difference <= TOLERANCE:
        raise ValueError(
            f"the program differs from its network by {difference:.2g} px; at most {TOLERANCE} px are allowed. No file "
            "was written; install the versions in constraints.txt."
        )
    write_atomic(output, contents)
    print(  # noqa: T201, the command's answer
        f"{output}: {flow.network.levels} levels, images of at least {flow.minimum_size} pixels per side, maximum "
        f"difference to the network {difference:.1g} px"
    )


def check_packages(kind: Format) -> None:
    """Raise ImportError if a package that a format needs is not installed, or torch is too old."""
    missing = [name for name in EXTRA if kind == "onnx" and find_spec(name) is None]
    if missing:
        raise ImportError(f"--format onnx needs {' and '.join(missing)}: pip install 'unrollflow[export]'")
    if "prefer_deferred_runtime_asserts_over_guards" not in signature(export).parameters:
        raise ImportError(
            f"torch is too old for unrollflow export: found {torch.__version__}, whose torch.export cannot defer "
            "assertions; install the version in constraints.txt."
        )


def fixed_flow(module: UnsupervisedFlow, weights: str, levels: int | None) -> PaddedFlow:
    """Network of a module, with a fixed number of pyramid levels.

    Raises:
        ValueError: if it is not a PyramidMatcher, or the number of levels cannot be exported.
    """
    network = module.eval().backbone
    if not isinstance(network, PyramidMatcher):
        raise ValueError(
            f"--weights {weights} is a {type(network).__name__}, which cannot be exported; expected a PyramidMatcher."
        )
    chosen = network.levels_for(*USUAL_SIZE) if levels is None else levels
    if not 1 <= chosen <= MOST_LEVELS:
        raise ValueError(f"--levels is out of range: {chosen}; it must be from 1 to {MOST_LEVELS}.")
    return PaddedFlow(network, levels=chosen)


def metadata(flow: PaddedFlow, name: str) -> dict[str, object]:
    """Metadata of the exported file for its users."""
    return {
        "weights": name,
        "levels": flow.network.levels,
        "stride": flow.stride,
        "padding": "inside: images need not be multiples of the stride",
        "minimum_size": flow.minimum_size,
        "maximum_size": LARGEST_SIDE,
        "maximum_batch": MOST_PAIRS,
        "input": "image1, image2: float32 (B, 3, H, W), RGB",
        "input_range": "[0, 1]",
        "output": "flow: float32 (B, 2, H, W), (u, v) from image1 to image2, pixels",
        "unrollflow": version("unrollflow"),
    }

"""`unrollflow export`: a trained network as a program that runs without this package."""

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
"""Of the file of each format."""

FORMATS = {"onnx": (onnx_file, onnx_runner), "torch": (torch_file, torch_runner)}
"""How the file of each format is written, and run for its check."""

EXTRA = ("onnx", "onnxscript", "onnxruntime")
"""Packages of the extra `export`."""

USUAL_SIZE = (436, 1024)
"""Frames whose number of levels is the default: height and width of Sintel, pixels."""

MOST_LEVELS = 9
"""Frames of a pyramid of 9 levels have at least 1024 pixels a side."""


def run(arguments: list[str], trusted: list[str]) -> None:
    """Parse the arguments of `unrollflow export` and run it."""
    parser = ArgumentParser("unrollflow export", description=__doc__)
    add_weights(parser)
    parser.add_argument("--format", dest="kind", choices=get_args(Format), default="onnx", help="(%(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write: .onnx, or .pt2 for torch")
    parser.add_argument(
        "--levels",
        type=int,
        metavar="N",
        help=f"pyramid levels of the program at every size, 1 to {MOST_LEVELS}; images have at least 2^(N + 1) pixels "
        f"a side (as `predict` uses for {USUAL_SIZE[0]}x{USUAL_SIZE[1]})",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    export_flow(**vars(parser.parse_args(arguments[1:])), trusted=trusted)


def export_flow(
    *, weights: str, kind: Format, output: Path, levels: int | None, overwrite: bool, trusted: list[str]
) -> None:
    """Write the program of a trained network, after a check against the network at five sizes.

    Args:
        weights: name of shipped weights, a safetensors file, or a checkpoint.
        kind: "onnx", or "torch" for torch.export.
        output: file to write, .onnx or .pt2.
        levels: of the pyramid at every size; None: those that the network uses for frames of 436x1024.
        overwrite: replace a file that is there already.
        trusted: beginnings of names that a checkpoint may ask for, in addition to ours.

    Raises:
        ImportError: if the extra `export` is not installed, which ONNX needs, or torch is too old.
        FileNotFoundError, ValueError: if the weights cannot be read, the network is not a PyramidMatcher, or the number
            of levels or the name of the output is wrong.
        OSError: if the output is there already, or cannot be written.
    """
    if output.suffix.lower() != SUFFIXES[kind]:
        raise ValueError(f"--output {output}: --format {kind} is written as a {SUFFIXES[kind]} file; name one.")
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
            f"the program differs from its network by {difference:.2g} px; at most {TOLERANCE} px are allowed. Nothing "
            "was written; install the versions of constraints.txt."
        )
    write_atomic(output, contents)
    print(  # noqa: T201, the command's answer
        f"{output}: {flow.network.levels} levels, images from {flow.minimum_size} pixels a side on, within "
        f"{difference:.1g} px of the network"
    )


def check_packages(kind: Format) -> None:
    """Raise ImportError if a package that a format needs is not installed, or torch is too old."""
    missing = [name for name in EXTRA if kind == "onnx" and find_spec(name) is None]
    if missing:
        raise ImportError(f"--format onnx needs {' and '.join(missing)}: pip install 'unrollflow[export]'")
    if "prefer_deferred_runtime_asserts_over_guards" not in signature(export).parameters:
        raise ImportError(
            f"unrollflow export needs a newer torch, whose torch.export defers checks: found {torch.__version__}; "
            "install the version of constraints.txt."
        )


def fixed_flow(module: UnsupervisedFlow, weights: str, levels: int | None) -> PaddedFlow:
    """The network of a module with a fixed pyramid.

    Raises:
        ValueError: if it is not a PyramidMatcher, or for a number of levels that cannot be exported.
    """
    network = module.eval().backbone
    if not isinstance(network, PyramidMatcher):
        raise ValueError(
            f"--weights {weights} is a {type(network).__name__}, which cannot be exported; a PyramidMatcher can."
        )
    chosen = network.levels_for(*USUAL_SIZE) if levels is None else levels
    if not 1 <= chosen <= MOST_LEVELS:
        raise ValueError(f"--levels {chosen}: 1 to {MOST_LEVELS} levels can be exported.")
    return PaddedFlow(network, levels=chosen)


def metadata(flow: PaddedFlow, name: str) -> dict[str, object]:
    """What a user of the file needs to know."""
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

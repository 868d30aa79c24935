"""`unrollflow estimate`: compute the flow between two images without a network, and write it to a file."""

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import get_args

from torch import Tensor

from unrollflow.cli.checks import refuse_overwriting, refuse_replacing, refuse_unwritable
from unrollflow.data.datasets.frames import read_pair
from unrollflow.data.io.flow import read_flo, write_flo
from unrollflow.variational import Preset, preset_flow, refine_flow

NETWORK = "network"
"""Value of --initial for the flow of the shipped weights."""


def run(arguments: list[str], trusted: list[str]) -> None:
    """Parse the arguments of `unrollflow estimate` and run it."""
    parser = ArgumentParser("unrollflow estimate", description=__doc__)
    parser.add_argument("image1", type=Path, help="the first image")
    parser.add_argument("image2", type=Path, help="the second image, of the same size")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write, .flo")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--preset", choices=get_args(Preset), default="default", help="solver preset (%(default)s)")
    start.add_argument(
        "--initial",
        metavar=f"FILE|{NETWORK}",
        help=f"refine this flow instead: a .flo file, or `{NETWORK}` for the flow of the shipped weights",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing result")
    estimate(**vars(parser.parse_args(arguments[1:])))


def estimate(image1: Path, image2: Path, *, output: Path, preset: Preset, initial: str | None, overwrite: bool) -> None:
    """Write the flow from one image to another.

    Args:
        image1, image2: image files of equal size.
        output: .flo file to write.
        preset: see :func:`~unrollflow.variational.preset_flow`.
        initial: flow to refine instead of using the preset, see :func:`~unrollflow.variational.refine_flow`: a .flo
            file, or "network" for the flow of the shipped weights.
        overwrite: replace an existing result.

    Raises:
        FileNotFoundError, ValueError: if an image cannot be read, naming it, the images or the flow differ in size, or
            the result would overwrite an input or is not a .flo file.
        OSError: if the result already exists, or cannot be written.
    """
    if output.suffix.lower() != ".flo":
        raise ValueError(f"--output {output} is not a .flo file; choose a name such as flow.flo.")
    refuse_overwriting([image1, image2, *([Path(initial)] if initial else [])], [output])
    if not overwrite:
        refuse_replacing([output])
    refuse_unwritable([output])
    first, second = (image.unsqueeze(0) for image in read_pair(image1, image2))
    begun = time.perf_counter()
    if initial is None:
        flow = preset_flow(first, second, preset=preset)
    else:
        flow = refine_flow(first, second, initial_flow(initial, first, second))
    write_flo(output, flow[0])
    print(f"{output}: {flow.shape[-2]}x{flow.shape[-1]}, {time.perf_counter() - begun:.1f} s")  # noqa: T201


def initial_flow(initial: str, image1: Tensor, image2: Tensor) -> Tensor:
    """Flow (1, 2, H, W) of a .flo file or of the shipped weights, for images (1, 3, H, W)."""
    if initial != NETWORK:
        return read_flo(initial).unsqueeze(0)
    from unrollflow.inference import flow  # imports Lightning, which is not needed otherwise

    return flow(image1, image2)

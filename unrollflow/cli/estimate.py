"""`unrollflow estimate`: flow of two images without a network, as a file."""

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
"""In place of a .flo file: the flow of the shipped weights."""


def run(arguments: list[str], trusted: list[str]) -> None:
    """Parse the arguments of `unrollflow estimate` and run it."""
    parser = ArgumentParser("unrollflow estimate", description=__doc__)
    parser.add_argument("image1", type=Path, help="the first image")
    parser.add_argument("image2", type=Path, help="the second image, of the same size")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write, .flo")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--preset", choices=get_args(Preset), default="default", help="(%(default)s)")
    start.add_argument(
        "--initial",
        metavar=f"FILE|{NETWORK}",
        help=f"refine a flow instead: that of a .flo file, or, with `{NETWORK}`, that of the shipped weights",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a result that is there already")
    estimate(**vars(parser.parse_args(arguments[1:])))


def estimate(image1: Path, image2: Path, *, output: Path, preset: Preset, initial: str | None, overwrite: bool) -> None:
    """Write the flow from one image to another one.

    Args:
        image1, image2: of one size.
        output: file to write, .flo.
        preset: see :func:`~unrollflow.variational.preset_flow`.
        initial: flow to refine in the preset's place, see :func:`~unrollflow.variational.refine_flow`: a .flo file, or
            "network", the flow of the shipped weights.
        overwrite: replace a result that is there already.

    Raises:
        FileNotFoundError, ValueError: if an image cannot be read, naming it, or the images or the flow do not belong
            together, or the result would overwrite what is read, or is not a .flo file.
        OSError: if the result is there already, or cannot be written.
    """
    if output.suffix.lower() != ".flo":
        raise ValueError(f"--output {output}: flow is written as a .flo file; name one, such as flow.flo.")
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
    """The flow (1, 2, H, W) of a .flo file or of the shipped weights, for images (1, 3, H, W)."""
    if initial != NETWORK:
        return read_flo(initial).unsqueeze(0)
    from unrollflow.inference import flow  # imports Lightning, which nothing else here needs

    return flow(image1, image2)

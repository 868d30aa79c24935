"""Compare networks with classical methods on a pair of Sintel's size: speed and accuracy.

    python -m benchmarks.inference --checkpoint best.ckpt --root DATA

`make bench` prints the times of the networks. This command adds, for every method, frames per second, the rise of the
peak memory and the end-point error on the samples of Sintel clean below the root (only of the checkpoint's network).
"""

import argparse
import os
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.registration import optical_flow_tvl1
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.measuring import Row, in_turn, machine, peak_rise
from unrollflow import RAFT, PWCLite, UnsupervisedFlow
from unrollflow.data import Sintel
from unrollflow.metrics import endpoint_error
from unrollflow.models import PyramidMatcher
from unrollflow.ops import crop_centre, pad_to_multiple

SIZE = (436, 1024)
RAFT_ITERATIONS = 12
DEFAULT_ROOT = os.environ.get("UNROLLFLOW_DATA_DIR", ".")
Method = Callable[[Tensor, Tensor], Tensor]


def by_network(network: nn.Module) -> Method:
    """Return the forward flow of frames of any size."""

    @torch.inference_mode()
    def flow(image1: Tensor, image2: Tensor) -> Tensor:
        padded = (pad_to_multiple(image, network.stride) for image in (image1, image2))
        return crop_centre(network(*padded)[-1].flow, (image1.shape[-2], image1.shape[-1]))

    network.eval()
    return flow


def by_dis(image1: Tensor, image2: Tensor) -> Tensor:
    """Return the flow of OpenCV's dense inverse search, medium preset."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first, second = ((255 * grey(image)).astype(np.uint8) for image in (image1, image2))
    return torch.from_numpy(search.calc(first, second, None)).permute(2, 0, 1)[None]


def by_tvl1(image1: Tensor, image2: Tensor) -> Tensor:
    """Return the flow of scikit-image's TV-L1 with its defaults."""
    v, u = optical_flow_tvl1(grey(image1), grey(image2), dtype=np.float32)
    return torch.from_numpy(np.stack([u, v]))[None]


def grey(image: Tensor) -> np.ndarray:
    """Convert (1, 3, H, W) to grey (H, W), in [0, 1]."""
    return cv2.cvtColor(image[0].permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY)


METHODS: dict[str, Callable[[], Method]] = {
    "PyramidMatcher": lambda: by_network(PyramidMatcher()),
    "PWC-Lite": lambda: by_network(PWCLite()),
    "RAFT": lambda: by_network(RAFT(upsampling="convex", evaluation_iterations=RAFT_ITERATIONS)),
    "RAFT on demand": lambda: by_network(
        RAFT(upsampling="convex", correlation="on_demand", evaluation_iterations=RAFT_ITERATIONS)
    ),
    "OpenCV DIS medium": lambda: by_dis,
    "scikit-image TV-L1": lambda: by_tvl1,
}
UNTRAINED = list(METHODS)[:4]


def method(name: str) -> Method:
    """Return a method of the table, or the network of the checkpoint of this name."""
    return METHODS[name]() if name in METHODS else by_network(UnsupervisedFlow.load_from_checkpoint(name).backbone)


def pair_step(name: str, size: tuple[int, int]) -> Callable[[], object]:
    """Return a function that computes the flow of a pair of smooth noise by a method."""
    small = torch.rand(2, 3, size[0] // 16, size[1] // 16, generator=torch.Generator().manual_seed(0))
    image1, image2 = nn.functional.interpolate(small, size, mode="bicubic").clamp(0, 1).split(1)
    return partial(method(name), image1, image2)


def rows(*, short: bool) -> list[Row]:
    """Return the times of the networks against that of TV-L1."""
    size, names = ((128, 192), UNTRAINED[:1]) if short else (SIZE, UNTRAINED)
    found = []
    for name in names:
        times = in_turn([pair_step(n, size) for n in (name, "scikit-image TV-L1")], repeats=1 if short else 3)
        found.append(Row(f"flow of a pair of {size[0]}x{size[1]}, {name} / scikit-image TV-L1", "ms", *times))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each method."""
    options = parser().parse_args(arguments)
    samples = Sintel(root=options.root / "sintel", passes=["clean"], split="all")
    print("| method | frames/s | peak memory, MB | EPE on Sintel clean, px |\n|---|---|---|---|")
    for name in [*METHODS, *options.checkpoint]:
        (milliseconds,) = in_turn([pair_step(name, SIZE)], repeats=options.repeats)
        error = "-" if name in UNTRAINED else f"{mean_error(method(name), samples):.3f}"
        print(f"| {name} | {1000 / milliseconds:.2f} | {peak_rise(pair_step, name, SIZE):.0f} | {error} |", flush=True)
    print(f"\n{len(samples)} pairs; RAFT with {RAFT_ITERATIONS} iterations; {machine()}")


def mean_error(flow: Method, samples: Sintel) -> float:
    """Return the end-point error of a method, mean of images, all pixels."""
    errors = [
        endpoint_error(flow(sample["image1"][None], sample["image2"][None]), sample["flow"][None]).mean().item()
        for sample in tqdm([samples[i] for i in range(len(samples))], desc="pairs", leave=False)
    ]
    return statistics.mean(errors)


def parser() -> argparse.ArgumentParser:
    """Parse the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--root", type=Path, default=Path(DEFAULT_ROOT), help="folder that contains sintel (default: %(default)s)"
    )
    made.add_argument(
        "--checkpoint", nargs="*", default=[], help="checkpoint of a trained network, to measure its error as well"
    )
    made.add_argument("--repeats", type=int, default=5, help="repeats of each method (default: %(default)s)")
    return made


if __name__ == "__main__":
    main()

"""Flow methods that experiment 07 compares: those of this package, and those of other packages."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from skimage.registration import optical_flow_ilk, optical_flow_tvl1
from torch import Tensor

from unrollflow import inference
from unrollflow.data import write_image
from unrollflow.variational import preset_flow, refine_flow
from unrollflow.variational.search import inverse_search

CONTRIB = "UNROLLFLOW_CONTRIB_PYTHON"
"""Environment variable with the Python of an environment that has opencv-contrib-python-headless."""


class Timed(NamedTuple):
    """Flow (1, 2, H, W) in pixels, and the CPU seconds of all threads."""

    flow: Tensor
    seconds: float


Method = Callable[[Tensor, Tensor], Timed]


def timed(flow_of: Callable[[Tensor, Tensor], Tensor]) -> Method:
    """A method of this process, with its CPU seconds."""

    def _run(first: Tensor, second: Tensor) -> Timed:
        begun = time.process_time()
        flow = flow_of(first, second)
        return Timed(flow, time.process_time() - begun)

    return _run


def grey(image: Tensor) -> np.ndarray:
    """A single image (1, 3, H, W) as (H, W) in [0, 1]."""
    return cv2.cvtColor(image[0].movedim(0, -1).numpy(), cv2.COLOR_RGB2GRAY)


def scikit_image(solve: Callable[..., np.ndarray]) -> Callable[[Tensor, Tensor], Tensor]:
    """A method of scikit-image with its own parameters, on grey images."""

    def _run(first: Tensor, second: Tensor) -> Tensor:
        rows, columns = solve(grey(first), grey(second))
        return torch.from_numpy(np.stack([columns, rows])).unsqueeze(0)

    return _run


def contrib(name: str) -> Method:
    """A method of opencv-contrib, run by the Python that `CONTRIB` names."""

    def _run(first: Tensor, second: Tensor) -> Timed:
        script = Path(__file__).with_name("contrib.py")
        with tempfile.TemporaryDirectory() as folder:
            images, output = [Path(folder) / f"{i}.png" for i in (1, 2)], Path(folder) / "flow.npy"
            for path, image in zip(images, (first, second), strict=True):
                write_image(path, image[0])
            command = [os.environ[CONTRIB], str(script), name, *map(str, images), str(output)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            flow = torch.from_numpy(np.load(output)).movedim(-1, 0).unsqueeze(0)
        return Timed(flow.float(), float(done.stdout))

    return _run


METHODS: dict[str, Method] = {
    "OpenCV DIS (ultrafast)": timed(partial(inverse_search, preset=cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)),
    "OpenCV DIS (fast)": timed(partial(inverse_search, preset=cv2.DISOPTICAL_FLOW_PRESET_FAST)),
    "OpenCV DIS (medium)": timed(inverse_search),
    "scikit-image TV-L1": timed(scikit_image(optical_flow_tvl1)),
    "scikit-image ILK": timed(scikit_image(optical_flow_ilk)),
    "fast": timed(lambda first, second: preset_flow(first, second, preset="fast")),
    "default": timed(lambda first, second: preset_flow(first, second, preset="default")),
    "network": timed(inference.flow),
    "network, refined": timed(lambda first, second: refine_flow(first, second, inference.flow(first, second))),
}

CONTRIB_METHODS: dict[str, Method] = {
    f"opencv-contrib {name}": contrib(name) for name in ("DeepFlow", "DualTVL1", "PCAFlow", "DenseRLOF", "SimpleFlow")
}

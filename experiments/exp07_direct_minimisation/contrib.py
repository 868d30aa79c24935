"""Flow of two image files by a method of opencv-contrib, as .npy; prints the CPU seconds of all threads.

    python contrib.py DeepFlow a.png b.png flow.npy

Runs in an environment of its own, with opencv-contrib-python-headless and numpy alone: both OpenCV packages have the
same module name, so that they cannot be installed together. It therefore imports nothing from this repository.
"""

import sys
import time

import cv2
import numpy as np

METHODS = {
    "DeepFlow": cv2.IMREAD_GRAYSCALE,
    "DualTVL1": cv2.IMREAD_GRAYSCALE,
    "PCAFlow": cv2.IMREAD_GRAYSCALE,
    "DenseRLOF": cv2.IMREAD_COLOR,
    "SimpleFlow": cv2.IMREAD_COLOR,
}
"""How each method takes images; all parameters are OpenCV's defaults."""


def main(method: str, first: str, second: str, output: str) -> None:
    """Compute the flow and write it to the output file."""
    images = [cv2.imread(path, METHODS[method]) for path in (first, second)]
    create = getattr(cv2.optflow, f"createOptFlow_{method}")
    begun = time.process_time()
    flow = create().calc(*images, None)
    print(time.process_time() - begun)
    np.save(output, flow)


if __name__ == "__main__":
    main(*sys.argv[1:])

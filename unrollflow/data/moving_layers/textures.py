"""Textures of the moving layers: photographs bundled with scikit-image and noise, or the user's photographs."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import skimage
from numpy.typing import NDArray

from unrollflow.data.datasets.frames import visible
from unrollflow.data.io.flow import IMAGE_SUFFIXES

Split = Literal["train", "validation", "test"]
Photograph = tuple[NDArray[np.uint8], ...]
"""One photograph at repeatedly halved sizes, each (3, h, w) RGB, 0 to 255, largest first."""

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
BUNDLED: dict[Split, tuple[str, ...]] = {
    "train": (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "coffee.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "rocket.jpg",
    ),
    "validation": ("chelsea.png", "coins.png", "grass.png"),
    "test": ("clock_motion.png", "gravel.png", "moon.png"),
}
"""Files in scikit-image's wheel (0.24 or newer), by split; the motorcycle pair is reserved for evaluation."""

_PHOTOGRAPHS_PER_NOISE = 3
_LARGEST_SIDE = 1024
_SMALLEST_SIDE = 96
# Bilinear sampling blurs depending on the sub-pixel phase, which differs between the two frames and violates
# brightness constancy. Without the highest frequencies in the textures, this effect is small.
_SIGMA = 0.7


def texture_files(folder: Path | None, split: Split) -> list[Path]:
    """Photographs of one split; of each five sorted user files, the fourth is for validation, the fifth for test.

    Args:
        folder: the user's photographs (read recursively), or None for the bundled ones.
        split: the split; fewer than five photographs are shared by all splits.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if the folder contains no images.
    """
    if folder is None:
        return [Path(skimage.__file__).parent / "data" / name for name in BUNDLED[split]]
    if not folder.is_dir():
        raise FileNotFoundError(f"texture folder {folder} does not exist; give a folder of photographs, or None.")
    files = sorted(path for path in visible(folder) if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f"texture folder {folder} contains no images; supported suffixes: {endings}.")
    if len(files) < 5:
        return files
    turn = {3: "validation", 4: "test"}
    return [path for index, path in enumerate(files) if turn.get(index % 5, "train") == split]


@lru_cache(maxsize=8)
def load_textures(folder: Path | None, split: Split) -> tuple[Photograph, ...]:
    """Photographs of a split, read once per process; procedural noise is added to the bundled ones."""
    textures = [photograph(_read(path)) for path in texture_files(folder, split)]
    if folder is None:
        generator = np.random.default_rng(SPLITS.index(split))
        textures += [photograph(noise(generator)) for _ in range(len(textures) // _PHOTOGRAPHS_PER_NOISE)]
    return tuple(textures)


def photograph(image: NDArray[np.uint8]) -> Photograph:
    """Halved sizes of an RGB image (h, w, 3), 0 to 255, without those that are too large or too small."""
    sizes = [image]
    while min(sizes[-1].shape[:2]) >= 2 * _SMALLEST_SIDE:
        sizes.append(_halve(sizes[-1]))
    while len(sizes) > 1 and max(sizes[0].shape[:2]) > _LARGEST_SIDE:
        sizes.pop(0)
    return tuple(np.ascontiguousarray(_smooth(size).transpose(2, 0, 1)) for size in sizes)


def noise(generator: np.random.Generator, size: int = 512) -> NDArray[np.uint8]:
    """Coloured fractal noise (size, size, 3), 0 to 255: octaves whose amplitude decreases with frequency."""
    image = np.zeros((size, size, 3), np.float32)
    for cells in (4, 8, 16, 32, 64, 128, 256):
        octave: NDArray[np.float32] = generator.normal(size=(cells, cells, 3)).astype(np.float32)
        octave = octave + 2 * octave.mean(axis=-1, keepdims=True)  # correlate the channels, as in photographs
        octave = cv2.resize(octave, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.float32, copy=False)
        image += octave / cells**0.5
    image = (image - image.mean()) / image.std()
    pixels: NDArray[np.uint8] = (255 * np.clip(0.5 + 0.2 * image, 0, 1)).astype(np.uint8)
    return pixels


def crop(texture: Photograph, height: int, width: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Random part (3, height, width) of a random size of a photograph, randomly mirrored; small ones are tiled."""
    fitting = [size for size in texture if size.shape[1] >= height and size.shape[2] >= width] or [
        _tile(texture[0], height, width)
    ]
    size = fitting[generator.integers(len(fitting))]
    top = generator.integers(size.shape[1] - height + 1)
    left = generator.integers(size.shape[2] - width + 1)
    part = size[:, top : top + height, left : left + width]
    return np.ascontiguousarray(part[:, :, ::-1]) if generator.random() < 0.5 else part


def _tile(size: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    missing = (max(0, height - size.shape[1]), max(0, width - size.shape[2]))
    return np.pad(size, ((0, 0), (0, missing[0]), (0, missing[1])), mode="symmetric")


def _read(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError(f"texture {path} is not a readable image; remove it from the folder or convert it to PNG.")
    return image.astype(np.uint8, copy=False)


def _halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    return cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _smooth(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.GaussianBlur(image, (0, 0), _SIGMA).astype(np.uint8, copy=False)

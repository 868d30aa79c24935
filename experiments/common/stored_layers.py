"""MovingLayers samples that are stored in a file, so that a grid of short trainings renders them only once."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unrollflow.contracts import FlowSample
from unrollflow.data import MovingLayers, moving_layers
from unrollflow.data.io.files import atomic_file
from unrollflow.data.moving_layers.textures import Split
from unrollflow.data.transforms import motion_boundaries

CACHE = Path("runs/moving_layers")
SIZE = (64, 64)
SOURCES = (*sorted(Path(moving_layers.__path__[0]).glob("*.py")), Path(motion_boundaries.__file__), Path(__file__))
"""Source files of the code that draws the samples."""


class StoredLayers(Dataset[FlowSample]):
    """First `length` samples of a split of MovingLayers, 64x64, motions up to 6 px, images rounded to 8 bits.

    The motions are those of configs/data/moving_layers.yaml. The file is created at first use, and again after a change
    of the code that draws the samples.

    Args:
        split: "train", "validation" or "test"; splits share neither random numbers nor photographs.
        length: number of samples.
        seed: seed of the samples; other seeds give other samples of the same photographs.
        folder: folder of the files: one for each split, length, seed and version of :data:`SOURCES`.
    """

    def __init__(self, *, split: Split, length: int, seed: int = 0, folder: Path = CACHE) -> None:
        path = folder / f"{split}_{length}_{seed}_{version(SOURCES)}.pt"
        if not path.is_file():
            store(path, split, length, seed)
        self.split = split
        self.maps: dict[str, Tensor] = torch.load(path, mmap=True, weights_only=True)

    def __len__(self) -> int:
        return len(self.maps["flow"])

    def __getitem__(self, index: int) -> FlowSample:
        image1, image2 = (self.maps[name][index].float() / 255 for name in ("image1", "image2"))
        flow, occluded, distance = (self.maps[name][index] for name in ("flow", "occluded", "boundary_distance"))
        return FlowSample(
            image1=image1,
            image2=image2,
            name=f"{self.split}-{index:06d}",
            flow=flow,
            valid=torch.ones_like(occluded),
            occluded=occluded,
            boundary_distance=distance,
        )


def version(sources: Sequence[Path]) -> str:
    """Return eight hexadecimal digits that depend on the content of files."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def store(path: Path, split: Split, length: int, seed: int) -> None:
    """Draw samples and write them atomically. If another process writes the same file, the content is the same."""
    layers = MovingLayers(
        split=split, length=length, seed=seed, size=SIZE, background_translation=3.0, foreground_translation=6.0,
        foreground_rotation=4.0,
    )  # fmt: skip
    samples = list(layers)
    maps = {name: torch.stack([s[name] for s in samples]) for name in ("flow", "occluded", "boundary_distance")}
    maps |= {
        name: (255 * torch.stack([s[name] for s in samples])).round().to(torch.uint8) for name in ("image1", "image2")
    }
    with atomic_file(path) as file:
        torch.save(maps, file)

"""MovingLayers samples made once and kept in a file: a grid of short trainings must not spend its time drawing them."""

import os
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unrollflow.contracts import FlowSample
from unrollflow.data import MovingLayers
from unrollflow.data.moving_layers.textures import Split

CACHE = Path("runs/moving_layers")
SIZE = (64, 64)


class StoredLayers(Dataset[FlowSample]):
    """The first `length` samples of a split of MovingLayers, 64x64, motions up to 6 px, images rounded to 8 bits.

    The motions are those of configs/data/moving_layers.yaml. The file is made on first use.

    Args:
        split: "train", "validation" or "test"; they share neither random numbers nor photographs.
        length: how many samples.
        seed: of the samples; another one gives others of the same photographs.
        folder: of the files, one for each split, length and seed.
    """

    def __init__(self, *, split: Split, length: int, seed: int = 0, folder: Path = CACHE) -> None:
        path = folder / f"{split}_{length}_{seed}.pt"
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


def store(path: Path, split: Split, length: int, seed: int) -> None:
    """Draw samples and write them whole: a file that another process wrote meanwhile holds the same."""
    layers = MovingLayers(
        split=split, length=length, seed=seed, size=SIZE, background_translation=3.0, foreground_translation=6.0,
        foreground_rotation=4.0,
    )  # fmt: skip
    samples = list(layers)
    maps = {name: torch.stack([s[name] for s in samples]) for name in ("flow", "occluded", "boundary_distance")}
    maps |= {
        name: (255 * torch.stack([s[name] for s in samples])).round().to(torch.uint8) for name in ("image1", "image2")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    torch.save(maps, unfinished)
    unfinished.replace(path)

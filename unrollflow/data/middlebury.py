"""The Middlebury flow sequences with public ground truth."""

from pathlib import Path

import torch
from torch.utils.data import Dataset

from unrollflow.contracts import FlowSample
from unrollflow.data.codecs import read_flo
from unrollflow.data.frames import read_pair

FRAMES = ("frame10.png", "frame11.png")
UNKNOWN_FLOW = 1e9
"""A component beyond this marks unknown flow."""


class Middlebury(Dataset[FlowSample]):
    """Sequences of a folder, by name: <sequence>/frame10.png, frame11.png and, where known, flow10.flo.

    Args:
        root: the folder.

    Raises:
        FileNotFoundError: if there is no such folder, or no sequence in it, or a sequence lacks one of its frames.

    Source: Baker et al., A Database and Evaluation Methodology for Optical Flow, IJCV 2011.
    """

    def __init__(self, *, root: Path) -> None:
        self.folders = sorted({frame.parent for name in FRAMES for frame in Path(root).glob(f"*/{name}")})
        if not self.folders:
            raise FileNotFoundError(
                f"no Middlebury sequence in {Path(root).absolute()}: "
                "folders with frame10.png, frame11.png and flow10.flo are expected, such as RubberWhale/frame10.png."
            )
        for frame in (folder / name for folder in self.folders for name in FRAMES):
            if not frame.is_file():
                raise FileNotFoundError(f"no file {frame}: a sequence needs both {' and '.join(FRAMES)}.")

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, index: int) -> FlowSample:
        folder = self.folders[index]
        image1, image2 = read_pair(folder / FRAMES[0], folder / FRAMES[1])
        sample = FlowSample(image1=image1, image2=image2, name=folder.name)
        if not (folder / "flow10.flo").is_file():
            return sample
        flow = read_flo(folder / "flow10.flo")
        if flow.shape[-2:] != image1.shape[-2:]:
            raise ValueError(
                f"{folder / 'flow10.flo'} is {tuple(flow.shape[-2:])} pixels, its frames {tuple(image1.shape[-2:])}."
            )
        valid = (flow.abs() <= UNKNOWN_FLOW).all(dim=0)  # False for NaN
        return sample | {"flow": torch.where(valid, flow, 0.0), "valid": valid}

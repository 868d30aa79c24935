"""Spring: high-resolution scenes of a film, with ground truth at twice the resolution of the frames."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from unrollflow.contracts import known_flow
from unrollflow.data.datasets.benchmark import (
    BenchmarkPairs,
    GroundTruth,
    Pair,
    check_choices,
    fitting,
    known,
    neighbours,
    require_folder,
    subfolders,
)
from unrollflow.data.io.flo5 import read_flo5
from unrollflow.data.io.flow import read_image

SpringSplit = Literal["train", "test"]
Camera = Literal["left", "right"]
Direction = Literal["FW", "BW"]

LAYOUT = (
    "{train,test}/0001/frame_left/frame_left_0001.png with train/0001/flow_FW_left/flow_FW_left_0001.flo5 and "
    "train/0001/maps/matchmap_flow_FW_left/matchmap_flow_FW_left_0001.png (and right for left, BW for FW)"
)


class Spring(BenchmarkPairs):
    """Neighbouring frames of Spring, named after scene and flow, such as "0001/flow_FW_left_0001".

    The ground truth has twice the rows and columns of the frames, with values in pixels of the frames. The flow is the
    upper left value of each 2x2 block, as in the official loader; a mean would mix motions at boundaries. The server
    compares a pixel with the closest of its four values; `every_value` yields all of them for an evaluation. Unknown
    flow (not finite, or over 1e9 px) is not valid. If maps/ exists, pixels without a match are occluded.

    Args:
        root: folder that contains train/ and test/.
        split: "train", which has ground truth, or "test".
        cameras: "left", "right" or both.
        directions: "FW" (to the next frame), "BW" (to the previous frame), or both.
        labels: False: ground truth is neither needed nor read.
        every_value: yield the four values of each pixel as `flow_candidates`. A pixel is valid if at least one value is
            known; unknown values are replaced by the first known one.

    Raises:
        FileNotFoundError: if a folder is missing, or no pair is complete.

    Source: Mehl et al., Spring, CVPR 2023 (spring_utils, dataloader.py).
    """

    def __init__(
        self,
        *,
        root: Path,
        split: SpringSplit = "train",
        cameras: tuple[Camera, ...] = ("left",),
        directions: tuple[Direction, ...] = ("FW",),
        labels: bool = True,
        every_value: bool = False,
    ) -> None:
        self.every_value = every_value
        check_choices("split", [split], SpringSplit)
        check_choices("cameras", cameras, Camera)
        check_choices("directions", directions, Direction)
        folder = Path(root) / split
        require_folder(folder, layout=LAYOUT)
        scenes = subfolders(folder)
        for camera in cameras:
            views = (scene / f"frame_{camera}" for scene in scenes if (scene / f"frame_{camera}").is_dir())
            require_folder(next(views, folder / "0001" / f"frame_{camera}"), layout=LAYOUT)
        candidates = (
            pair
            for scene, camera, direction in product(scenes, cameras, directions)
            for pair in scene_pairs(scene, camera, direction, labels and split == "train")
        )
        super().__init__(candidates, root=Path(root), layout=LAYOUT)

    def read_truth(self, files: dict[str, Path], size: tuple[int, int]) -> GroundTruth:
        """Ground truth at the size of the frames, from a .flo5 file "flow" and a coloured image "occluded"."""
        stored = read_flo5(files["flow"])
        flow = at_frame_size(stored, files["flow"], size)
        if self.every_value and stored.shape != flow.shape:
            candidates, valid = filled(rearrange(stored, "c (h y) (w x) -> (y x) c h w", y=2, x=2))
            truth: GroundTruth = {"flow": candidates[0], "valid": valid, "flow_candidates": candidates}
        else:
            truth = known(flow, known_flow(flow))
        if "occluded" in files:
            unmatched = (read_image(files["occluded"]) > 0.5).any(dim=0)  # red: hidden, green: outside the frame
            truth["occluded"] = at_frame_size(unmatched, files["occluded"], size)
        return truth


def filled(candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Flows (K, 2, H, W) with unknown values replaced by the first known one of the pixel, and the valid mask (H, W).

    Pixels without a known value are 0.

    >>> flows, valid = filled(torch.tensor([[torch.nan, torch.nan], [1.0, 2.0]]).view(2, 2, 1, 1))
    >>> flows.flatten().tolist(), valid.item()
    ([1.0, 2.0, 1.0, 2.0], True)
    """
    known_ones = known_flow(candidates)  # (K, H, W)
    first = known_ones.to(torch.uint8).argmax(dim=0)  # index of the first known value
    substitute = candidates.gather(0, first.expand(1, 2, *first.shape))
    valid = known_ones.any(dim=0)
    return torch.where(known_ones.unsqueeze(1), candidates, substitute).where(valid, 0.0), valid


def scene_pairs(scene: Path, camera: Camera, direction: Direction, labels: bool) -> Iterator[Pair]:
    """Yield the pairs that a scene should contain for one camera and direction."""
    for earlier, later in neighbours(scene / f"frame_{camera}"):
        image1, image2 = (earlier, later) if direction == "FW" else (later, earlier)
        flow = image1.stem.replace("frame", f"flow_{direction}")
        truth = {"flow": scene / f"flow_{direction}_{camera}" / f"{flow}.flo5"}
        if (scene / "maps").is_dir():
            truth["occluded"] = scene / "maps" / f"matchmap_flow_{direction}_{camera}" / f"matchmap_{flow}.png"
        yield Pair(f"{scene.name}/{flow}", image1, image2, truth if labels else {})


def at_frame_size(field: Tensor, path: Path, size: tuple[int, int]) -> Tensor:
    """Every second row and column of the field (..., 2 H, 2 W) of a file, for frames of size (H, W).

    A field of the same size as the frames is returned unchanged; other sizes raise ValueError.
    """
    twice = field.shape[-2:] == (2 * size[0], 2 * size[1])
    return field[..., ::2, ::2].contiguous() if twice else fitting(field, path, size)

"""FlyingThings3D, in the layout of its subset."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Literal

from unrollflow.data.datasets.benchmark import BenchmarkPairs, Pair, check_choices, following, numbered, require_folder

ThingsSplit = Literal["train", "validation"]
ThingsPass = Literal["clean", "final"]
Camera = Literal["left", "right"]
Direction = Literal["into_future", "into_past"]

FOLDERS = {"train": "train", "validation": "val"}
STEPS = {"into_future": 1, "into_past": -1}
"""From the number of the first frame to that of the second."""

LAYOUT = (
    "{train,val}/{image_clean,image_final}/{left,right}/0000000.png with "
    "{train,val}/{flow,flow_occlusions}/{left,right}/{into_future,into_past}/0000000.flo (.png)"
)


class FlyingThings(BenchmarkPairs):
    """A pair for each flow of FlyingThings3D's subset, named such as "clean/left/into_future/0000012".

    Flow that is not a number, which some files hold, is not valid. Samples have `occluded` where flow_occlusions/ is.

    Args:
        root: folder that holds train/ and val/ (FlyingThings3D_subset).
        split: "train" or "validation".
        passes: "clean", "final" or both.
        cameras: "left", "right" or both.
        directions: "into_future", "into_past" or both.
        labels: False: ground truth is not read. The flow's files are still needed: their names alone tell which
            frames follow each other in a sequence.

    Raises:
        FileNotFoundError: if a folder is missing, or no pair is complete.

    Source: Mayer et al., A Large Dataset to Train Convolutional Networks for Disparity, Optical Flow, and Scene Flow
    Estimation, CVPR 2016.
    """

    def __init__(
        self,
        *,
        root: Path,
        split: ThingsSplit = "train",
        passes: tuple[ThingsPass, ...] = ("clean",),
        cameras: tuple[Camera, ...] = ("left", "right"),
        directions: tuple[Direction, ...] = ("into_future", "into_past"),
        labels: bool = True,
    ) -> None:
        check_choices("split", [split], ThingsSplit)
        check_choices("passes", passes, ThingsPass)
        check_choices("cameras", cameras, Camera)
        check_choices("directions", directions, Direction)
        folder = Path(root) / FOLDERS[split]
        needed = [folder / f"image_{name}" / camera for name, camera in product(passes, cameras)]
        needed += [folder / "flow" / camera / direction for camera, direction in product(cameras, directions)]
        for there in needed:
            require_folder(there, layout=LAYOUT)
        candidates = (
            pair
            for name, camera, direction in product(passes, cameras, directions)
            for pair in flow_pairs(folder, name, camera, direction, labels)
        )
        super().__init__(candidates, root=Path(root), layout=LAYOUT)


def flow_pairs(folder: Path, name: ThingsPass, camera: Camera, direction: Direction, labels: bool) -> Iterator[Pair]:
    """The pairs of one pass, camera and direction."""
    has_occlusions = (folder / "flow_occlusions").is_dir()
    for flow in numbered(folder / "flow" / camera / direction, ".flo"):
        image1 = folder / f"image_{name}" / camera / f"{flow.stem}.png"
        image2 = following(image1, STEPS[direction])
        maps = {"occluded": folder / "flow_occlusions" / camera / direction / image1.name} if has_occlusions else {}
        truth = {"flow": flow, **maps} if labels else {}
        yield Pair(f"{name}/{camera}/{direction}/{flow.stem}", image1, image2, truth)

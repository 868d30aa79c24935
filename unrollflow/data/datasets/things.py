"""FlyingThings3D, in the full layout or in that of its subset."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Literal

from unrollflow.contracts import known_flow
from unrollflow.data.datasets.benchmark import (
    BenchmarkPairs,
    GroundTruth,
    Pair,
    check_choices,
    fitting,
    following,
    known,
    neighbours,
    numbered,
    require_folder,
    subfolders,
)
from unrollflow.data.io.pfm import read_pfm

ThingsSplit = Literal["train", "validation"]
ThingsPass = Literal["clean", "final"]
Camera = Literal["left", "right"]
Direction = Literal["into_future", "into_past"]

FOLDERS = {"train": "train", "validation": "val"}
STEPS = {"into_future": 1, "into_past": -1}
"""Difference between the numbers of the second and the first frame."""

FULL_FOLDERS = {"train": "TRAIN", "validation": "TEST"}
FULL_FLOW = {"into_future": "OpticalFlowIntoFuture", "into_past": "OpticalFlowIntoPast"}
"""Folders and prefixes of the flow files in the full layout."""

LAYOUT = (
    "{train,val}/{image_clean,image_final}/{left,right}/0000000.png with "
    "{train,val}/{flow,flow_occlusions}/{left,right}/{into_future,into_past}/0000000.flo (.png), or "
    "{frames_cleanpass,frames_finalpass}/{TRAIN,TEST}/A/0000/{left,right}/0006.png with "
    "optical_flow/{TRAIN,TEST}/A/0000/{into_future,into_past}/{left,right}/OpticalFlowIntoFuture_0006_L.pfm"
)


class FlyingThings(BenchmarkPairs):
    """Pairs of FlyingThings3D, such as "clean/left/into_future/0000012" or "clean/A/0000/left/into_future/0006".

    The subset has one pair per flow, and `occluded` if flow_occlusions/ exists. In the full layout, frames of a folder
    with consecutive numbers are pairs; it has no occlusion maps. NaN flow, which some files contain, is not valid.

    Args:
        root: folder that contains train/ and val/ (FlyingThings3D_subset), or frames_cleanpass/ or frames_finalpass/,
            and optical_flow/.
        split: "train" or "validation" (TEST in the full layout).
        passes: "clean", "final" or both.
        cameras: "left", "right" or both.
        directions: "into_future", "into_past" or both.
        labels: False: ground truth is not read. The subset still needs the flow files, because only their names define
            which frames are consecutive.

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
        parts = list(product(passes, cameras, directions))
        full = any((Path(root) / name).is_dir() for name in ("frames_cleanpass", "frames_finalpass"))
        pairs = (sequence_pairs if full else subset_pairs)(Path(root), split, parts, labels)
        super().__init__(pairs, root=Path(root), layout=LAYOUT)

    def read_truth(self, files: dict[str, Path], size: tuple[int, int]) -> GroundTruth:
        """Ground truth of the subset's files, or of a .pfm file "flow", whose third channel is unused."""
        path = files["flow"]
        if path.suffix != ".pfm":
            return super().read_truth(files, size)
        field = fitting(read_pfm(path), path, size)
        if len(field) != 3:
            raise ValueError(f"{path} has {len(field)} channel; expected 3, as in flow files of FlyingThings3D.")
        return known(field[:2], known_flow(field[:2]))


Part = tuple[ThingsPass, Camera, Direction]


def subset_pairs(root: Path, split: ThingsSplit, parts: Sequence[Part], labels: bool) -> Iterator[Pair]:
    """Yield the pairs in the layout of the subset.

    Raises:
        FileNotFoundError: if a folder is missing.
    """
    folder = root / FOLDERS[split]
    needed = [folder / f"image_{name}" / camera for name, camera, _ in parts]
    needed += [folder / "flow" / camera / direction for _, camera, direction in parts]
    for required in needed:
        require_folder(required, layout=LAYOUT)
    for part in parts:
        yield from flow_pairs(folder, *part, labels)


def flow_pairs(folder: Path, name: ThingsPass, camera: Camera, direction: Direction, labels: bool) -> Iterator[Pair]:
    """Yield the pairs of one pass, camera and direction of the subset."""
    has_occlusions = (folder / "flow_occlusions").is_dir()
    for flow in numbered(folder / "flow" / camera / direction, ".flo"):
        image1 = folder / f"image_{name}" / camera / f"{flow.stem}.png"
        image2 = following(image1, STEPS[direction])
        maps = {"occluded": folder / "flow_occlusions" / camera / direction / image1.name} if has_occlusions else {}
        truth = {"flow": flow, **maps} if labels else {}
        yield Pair(f"{name}/{camera}/{direction}/{flow.stem}", image1, image2, truth)


def sequence_pairs(root: Path, split: ThingsSplit, parts: Sequence[Part], labels: bool) -> Iterator[Pair]:
    """Yield the pairs of the full layout.

    Raises:
        FileNotFoundError: if a pass is missing, or no sequence has frames of a camera.
    """
    for name, camera, direction in parts:
        frames = root / f"frames_{name}pass" / FULL_FOLDERS[split]
        require_folder(frames, layout=LAYOUT)
        sequences = [sequence for letter in subfolders(frames) for sequence in subfolders(letter)]
        cameras = (sequence / camera for sequence in sequences if (sequence / camera).is_dir())
        require_folder(next(cameras, frames / "A" / "0000" / camera), layout=LAYOUT)
        for sequence in sequences:
            place = sequence.relative_to(frames)
            flows = root / "optical_flow" / FULL_FOLDERS[split] / place / direction / camera
            for earlier, later in neighbours(sequence / camera):
                image1, image2 = (earlier, later) if STEPS[direction] > 0 else (later, earlier)
                flow = flows / f"{FULL_FLOW[direction]}_{image1.stem}_{camera[0].upper()}.pfm"
                pair = f"{name}/{place.as_posix()}/{camera}/{direction}/{image1.stem}"
                yield Pair(pair, image1, image2, {"flow": flow} if labels else {})

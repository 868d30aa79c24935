"""KITTI 2012 and 2015, their multi-view extension, and pairs of the raw recordings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from unrollflow.data.datasets.benchmark import (
    BenchmarkPairs,
    GroundTruth,
    Pair,
    check_choices,
    fitting,
    following,
    neighbours,
    require_folder,
)
from unrollflow.data.io.flow import read_kitti_flow
from unrollflow.data.io.images import read_label_map

KittiSplit = Literal["train", "test"]
Frames = Literal["image_0", "colored_0", "image_2"]
Camera = Literal["image_0", "image_1", "colored_0", "colored_1", "image_2", "image_3"]

FOLDERS: dict[KittiSplit, str] = {"train": "training", "test": "testing"}
EVALUATED = range(9, 13)
"""Numbers of the evaluated frames (10 and 11) and their neighbours."""

LAYOUT = (
    "training/<frames>/000000_10.png and 000000_11.png with training/{flow_occ,flow_noc}/000000_10.png and, in 2015, "
    "training/obj_map/000000_10.png; testing/<frames>/000000_10.png; <frames> are image_0 (2012, grey), colored_0 "
    "(2012) or image_2 (2015)"
)
MULTIVIEW_LAYOUT = "{training,testing}/<camera>/000000_00.png to 000000_20.png, with a camera such as image_2"
RAW_LAYOUT = "a text file with two paths per line, relative to the root"


class Kitti(BenchmarkPairs):
    """Frames 10 and 11 of each scene of KITTI 2012 or 2015, named after the first, such as "000027_10".

    Pixels are valid if flow_occ has a flow there, and occluded if flow_noc does not. If a scene has only flow_noc,
    no pixels are occluded; if the set has only flow_occ, samples have no `occluded`.

    Args:
        root: folder that contains training/ and testing/.
        frames: folder of the frames, which selects the edition: "image_0" (2012, grey), "colored_0" (2012) or "image_2"
            (2015; samples have `foreground` if there is an obj_map).
        split: "train", which has ground truth, or "test".
        labels: False: ground truth is neither needed nor read.

    Raises:
        FileNotFoundError: if a folder is missing, or no pair is complete.

    Source: Geiger et al., Are We Ready for Autonomous Driving?, CVPR 2012; Menze and Geiger, Object Scene Flow for
    Autonomous Vehicles, CVPR 2015.
    """

    def __init__(
        self,
        *,
        root: Path,
        frames: Frames = "image_2",
        split: KittiSplit = "train",
        labels: bool = True,
    ) -> None:
        check_choices("frames", [frames], Frames)
        check_choices("split", [split], KittiSplit)
        folder = Path(root) / FOLDERS[split]
        labels = labels and split == "train"
        require_folder(folder / frames, layout=LAYOUT)
        flows = [folder / "flow_occ", folder / "flow_noc"]
        if labels:
            require_folder(*flows, layout=LAYOUT)
        listed = [folder / frames, *flows] if labels else [folder / frames]
        stems = sorted({file.stem for part in listed for file in part.glob("[0-9]*_10.png")})
        images = {stem: folder / frames / f"{stem}.png" for stem in stems}
        candidates = [
            Pair(stem, image, following(image), truth_files(folder, stem) if labels else {})
            for stem, image in images.items()
        ]
        super().__init__(candidates, root=Path(root), layout=LAYOUT)

    def read_truth(self, files: dict[str, Path], size: tuple[int, int]) -> GroundTruth:
        """Ground truth of KITTI's images: "flow", "noc" (the flow of non-occluded pixels) and "foreground"."""
        truth = read_kitti_truth(files["flow"], size)
        if "noc" in files:
            truth["occluded"] = truth["valid"] & ~fitting(read_kitti_flow(files["noc"])[1], files["noc"], size)
        if "foreground" in files:
            truth["foreground"] = fitting(read_label_map(files["foreground"]), files["foreground"], size)
        return truth


class KittiMultiview(BenchmarkPairs):
    """Neighbouring frames of the multi-view extension, without the evaluated frames and their neighbours (9 to 12).

    There is no ground truth; a sample is named camera/frame, such as "image_2/000000_03".

    Args:
        root: folder that contains training/ and testing/.
        cameras: folders of frames, used in this order.
        split: "train" or "test" scenes.

    Raises:
        FileNotFoundError: if a folder is missing, or there are no pairs.

    Source: pairs as in Liu et al., Learning by Analogy, CVPR 2020, and Jonschkowski et al., What Matters in
    Unsupervised Optical Flow, ECCV 2020 (their released code).
    """

    def __init__(
        self, *, root: Path, cameras: tuple[Camera, ...] = ("image_2", "image_3"), split: KittiSplit = "train"
    ) -> None:
        check_choices("cameras", cameras, Camera)
        check_choices("split", [split], KittiSplit)
        folders = [Path(root) / FOLDERS[split] / camera for camera in cameras]
        for folder in folders:
            require_folder(folder, layout=MULTIVIEW_LAYOUT)
        candidates = [
            Pair(f"{folder.name}/{image1.stem}", image1, image2, {})
            for folder in folders
            for image1, image2 in neighbours(folder)
            if number(image1) not in EVALUATED and number(image2) not in EVALUATED
        ]
        super().__init__(candidates, root=Path(root), layout=MULTIVIEW_LAYOUT)


class KittiRaw(BenchmarkPairs):
    """Pairs of frames of KITTI's raw recordings, listed in a text file, without ground truth.

    Args:
        root: folder of the recordings; a sample is named after the path of its first frame below the root.
        pairs: text file with two paths per line, relative to the root; empty lines are ignored.

    Raises:
        FileNotFoundError: if the folder or the text file is missing, or no pair is complete.
        ValueError: if a line does not contain two paths.
    """

    def __init__(self, *, root: Path, pairs: Path) -> None:
        require_folder(Path(root), layout=RAW_LAYOUT)
        super().__init__(listed_pairs(Path(root), Path(pairs)), root=Path(root), layout=RAW_LAYOUT)


def listed_pairs(root: Path, listing: Path) -> Iterator[Pair]:
    """Pairs of a text file."""
    for line, words in enumerate(map(str.split, listing.read_text().splitlines()), start=1):
        if words and len(words) != 2:
            raise ValueError(f"{listing}, line {line}, has {len(words)} words; expected two paths.")
        if words:
            yield Pair(str(Path(words[0]).with_suffix("")), root / words[0], root / words[1], {})


def truth_files(folder: Path, stem: str) -> dict[str, Path]:
    """Files of a scene's ground truth, without kinds whose folder is missing."""
    occ, noc, objects = (folder / kind / f"{stem}.png" for kind in ("flow_occ", "flow_noc", "obj_map"))
    maps = {kind: file for kind, file in {"noc": noc, "foreground": objects}.items() if file.parent.is_dir()}
    return {"flow": occ if occ.is_file() else noc, **maps}


def read_kitti_truth(path: Path, size: tuple[int, int]) -> GroundTruth:
    """Flow and validity of a KITTI image, checked against the size (H, W) of the frames."""
    flow, valid = read_kitti_flow(path)
    return GroundTruth(flow=fitting(flow, path, size), valid=valid)


def number(frame: Path) -> int:
    """Number of a frame in its scene: 10 for 000027_10.png."""
    return int(frame.stem.rpartition("_")[2])

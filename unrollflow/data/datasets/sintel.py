"""MPI Sintel, and raw frames of the movie."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from unrollflow.data.datasets.benchmark import (
    BenchmarkPairs,
    Pair,
    check_choices,
    following,
    neighbours,
    numbered,
    require_folder,
    subfolders,
)
from unrollflow.data.datasets.frames import consecutive_pairs, natural_key
from unrollflow.data.io.flow import IMAGE_SUFFIXES

Pass = Literal["clean", "final"]
SintelSplit = Literal["all", "train", "validation", "test"]
Invalid = Literal["count", "exclude"]

LAYOUT = (
    "training/{clean,final}/<scene>/frame_0001.png with training/flow/<scene>/frame_0001.flo "
    "and training/{occlusions,invalid}/<scene>/frame_0001.png; test/{clean,final}/<scene>/frame_0001.png"
)
RAW_LAYOUT = "<scene>/<frame>.png, one folder per shot of the movie"

TRAIN_SCENES = frozenset(
    {
        *("alley_1", "ambush_4", "ambush_6", "ambush_7", "bamboo_2", "bandage_2"),
        *("cave_2", "market_2", "market_5", "shaman_2", "sleeping_2", "temple_3"),
    }
)
"""Scenes of the usual training split; the other 11 of the 23 scenes are for validation.

Source: Liu et al., Learning by Analogy, CVPR 2020 (the released code of ARFlow, datasets/flow_datasets.py).
"""


class Sintel(BenchmarkPairs):
    """Neighbouring frames of MPI Sintel; a sample is named pass/scene/frame, such as "clean/alley_1/frame_0001".

    By default, all pixels with known flow are valid, including those that the invalid map marks, because published
    figures include them (the evaluations of RAFT, ARFlow and SMURF do not read this map). A pair is partial if a map
    that is read is missing: without an invalid map, all pixels are valid; without an occlusion map, there is no
    `occluded`.

    Args:
        root: folder that contains training/ and test/.
        split: "all" scenes with public ground truth, the usual, unofficial "train" or "validation" split
            (see :data:`TRAIN_SCENES`), or the "test" scenes, which have no ground truth.
        passes: "clean", "final", or both, used in this order.
        labels: False: ground truth is neither needed nor read, for unsupervised training.
        invalid: "count" pixels that the invalid map marks as valid, or "exclude" them.

    Raises:
        FileNotFoundError: if a folder is missing, or no pair is complete.

    Source: Butler et al., A Naturalistic Open Source Movie for Optical Flow Evaluation, ECCV 2012.
    """

    def __init__(
        self,
        *,
        root: Path,
        split: SintelSplit = "all",
        passes: tuple[Pass, ...] = ("clean", "final"),
        labels: bool = True,
        invalid: Invalid = "count",
    ) -> None:
        check_choices("split", [split], SintelSplit)
        check_choices("passes", passes, Pass)
        check_choices("invalid", [invalid], Invalid)
        folder = Path(root) / ("test" if split == "test" else "training")
        labels = labels and split != "test"
        for needed in (*passes, "flow") if labels else passes:
            require_folder(folder / needed, layout=LAYOUT)
        pairs = (pair for name in passes for pair in scene_pairs(folder, name, split, labels))
        candidates = pairs if invalid == "exclude" else map(counting_invalid, pairs)
        super().__init__(candidates, root=Path(root), layout=LAYOUT)


class SintelRaw(BenchmarkPairs):
    """Neighbouring frames of the movie, without ground truth: one folder of images, in natural order, per shot.

    The movie includes the scenes of the benchmark. For a fair comparison, the user must omit these shots.

    Args:
        root: folder that contains the folders of the shots; a sample is named folder/frame.

    Raises:
        FileNotFoundError: if the folder does not exist, or no shot has two frames.
    """

    def __init__(self, *, root: Path) -> None:
        require_folder(Path(root), layout=RAW_LAYOUT)
        candidates = [
            Pair(f"{image1.parent.name}/{image1.stem}", image1, image2, {})
            for image1, image2 in consecutive_pairs(
                sorted(images(scene), key=natural_key) for scene in subfolders(Path(root))
            )
        ]
        super().__init__(candidates, root=Path(root), layout=RAW_LAYOUT)


def images(folder: Path) -> list[Path]:
    """Images of a folder, without hidden ones."""
    return [f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith(".")]


def scene_pairs(folder: Path, name: Pass, split: SintelSplit, labels: bool) -> Iterator[Pair]:
    """Yield the pairs that one pass should contain: one for each frame except the last of a scene, and for each flow.

    Args: folder: training or test.   name: the pass.   labels: whether pairs have ground truth.
    """
    listed = (folder / name, folder / "flow") if labels else (folder / name,)
    for scene in sorted({scene.name for part in listed for scene in subfolders(part) if chosen(scene.name, split)}):
        stems = {frame.stem for frame, _ in neighbours(folder / name / scene)}
        if labels:
            stems |= {flow.stem for flow in numbered(folder / "flow" / scene, ".flo")}
        for stem in sorted(stems):
            frame = folder / name / scene / f"{stem}.png"
            truth = truth_files(folder, scene, stem) if labels else {}
            yield Pair(f"{name}/{scene}/{stem}", frame, following(frame), truth)


def truth_files(folder: Path, scene: str, stem: str) -> dict[str, Path]:
    """Files of a frame's ground truth."""
    return {
        "flow": folder / "flow" / scene / f"{stem}.flo",
        "occluded": folder / "occlusions" / scene / f"{stem}.png",
        "invalid": folder / "invalid" / scene / f"{stem}.png",
    }


def counting_invalid(pair: Pair) -> Pair:
    """Pair without its map of invalid pixels."""
    return pair._replace(truth={kind: file for kind, file in pair.truth.items() if kind != "invalid"})


def chosen(scene: str, split: SintelSplit) -> bool:
    """Whether a scene belongs to a split of its folder."""
    return split in ("all", "test") or (scene in TRAIN_SCENES) == (split == "train")

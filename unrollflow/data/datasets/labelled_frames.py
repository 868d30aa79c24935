"""Folders of frames with labels written by `unrollflow label`."""

from pathlib import Path

from unrollflow.data.datasets.benchmark import BenchmarkPairs, Pair, require_folder
from unrollflow.data.datasets.frames import consecutive_pairs, find_frame_folders, list_frames

LAYOUT = "frames such as clip/0001.png below the root, and labels of the same name, clip/0001.flo, below labels"


class LabelledFrames(BenchmarkPairs):
    """Neighbouring frames of every folder at or below a root, with the label of the first frame as flow.

    Pixels with unknown flow are not valid; pairs without a label are skipped and counted.

    Args:
        root: a folder of frames, or of such folders at any depth.
        labels: folder with a .flo file for each frame, in the same tree.

    Raises:
        FileNotFoundError: if a folder is missing, or no frame has a label.
    """

    def __init__(self, *, root: Path, labels: Path) -> None:
        root, labels = Path(root), Path(labels)
        require_folder(root, layout=LAYOUT)
        require_folder(labels, layout=LAYOUT)
        candidates = [
            Pair(str(first.relative_to(root).with_suffix("")), first, second, {"flow": label_path(first, root, labels)})
            for first, second in consecutive_pairs(map(list_frames, find_frame_folders(root)))
        ]
        super().__init__(candidates, root=root, layout=LAYOUT)


def label_path(frame: Path, root: Path, labels: Path) -> Path:
    """Path of a frame's label."""
    return labels / frame.relative_to(root).with_suffix(".flo")

"""The Middlebury flow sequences with public ground truth."""

from pathlib import Path

from unrollflow.data.pairs import BenchmarkPairs, Pair, require_folder

FRAMES = ("frame10.png", "frame11.png")
LAYOUT = "folders with frame10.png, frame11.png and flow10.flo, such as RubberWhale/frame10.png"


class Middlebury(BenchmarkPairs):
    """Sequences of a folder, by name, such as "RubberWhale"; unknown flow is not valid, occlusions are not known.

    Args:
        root: folder of the sequences' folders.
        labels: False: ground truth is neither needed nor read.

    Raises:
        FileNotFoundError: if there is no such folder, or no sequence is complete.

    Source: Baker et al., A Database and Evaluation Methodology for Optical Flow, IJCV 2011.
    """

    def __init__(self, *, root: Path, labels: bool = True) -> None:
        require_folder(Path(root), layout=LAYOUT)
        folders = sorted({frame.parent for name in FRAMES for frame in Path(root).glob(f"*/{name}")})
        candidates = [
            Pair(
                folder.name,
                folder / FRAMES[0],
                folder / FRAMES[1],
                {"flow": folder / "flow10.flo"} if labels else {},
            )
            for folder in folders
        ]
        super().__init__(candidates, root=Path(root), layout=LAYOUT)

"""The Middlebury flow sequences with public ground truth."""

from pathlib import Path

from unrollflow.data.datasets.benchmark import BenchmarkPairs, Pair, require_folder

FRAMES = ("frame10.png", "frame11.png")
FLOW = "flow10.flo"
IMAGES_FOLDER, FLOW_FOLDER = "other-data", "other-gt-flow"
"""Folders of the published archives, side by side."""

LAYOUT = (
    "other-data/RubberWhale/frame10.png and frame11.png with other-gt-flow/RubberWhale/flow10.flo, as published, or a "
    "folder for each sequence, such as RubberWhale, with frame10.png, frame11.png and flow10.flo"
)


class Middlebury(BenchmarkPairs):
    """Sequences of Middlebury by name, such as "RubberWhale"; unknown flow is not valid, occlusions are unknown.

    Args:
        root: folder that contains other-data/ and other-gt-flow/, as published, or one folder per sequence with its
            frames and flow.
        labels: False: ground truth is neither needed nor read. True: the four of the twelve published sequences without
            ground truth are omitted.

    Raises:
        FileNotFoundError: if the folder does not exist, or no sequence is complete.

    Source: Baker et al., A Database and Evaluation Methodology for Optical Flow, IJCV 2011.
    """

    def __init__(self, *, root: Path, labels: bool = True) -> None:
        require_folder(Path(root), layout=LAYOUT)
        published = (Path(root) / IMAGES_FOLDER).is_dir()
        images, flows = (Path(root) / f if published else Path(root) for f in (IMAGES_FOLDER, FLOW_FOLDER))
        # in the published layout, the flow folders define which sequences should be complete
        sequences, files = (flows, [FLOW]) if published and labels else (images, FRAMES)
        names = sorted({file.parent.name for name in files for file in sequences.glob(f"*/{name}")})
        candidates = [
            Pair(
                name,
                images / name / FRAMES[0],
                images / name / FRAMES[1],
                {"flow": flows / name / FLOW} if labels else {},
            )
            for name in names
        ]
        super().__init__(candidates, root=Path(root), layout=LAYOUT)

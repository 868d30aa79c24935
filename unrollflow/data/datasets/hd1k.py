"""HD1K: driving scenes at high resolution."""

from pathlib import Path

from unrollflow.data.datasets.benchmark import BenchmarkPairs, GroundTruth, Pair, neighbours, require_folder
from unrollflow.data.datasets.kitti import read_kitti_truth

LAYOUT = "hd1k_input/image_2/000000_0000.png with hd1k_flow_gt/flow_occ/000000_0000.png"


class Hd1k(BenchmarkPairs):
    """Neighbouring frames of HD1K's training sequences, with names such as "000000_0010"; occlusions are unknown.

    Args:
        root: folder that contains hd1k_input/ and hd1k_flow_gt/.
        labels: False: ground truth is neither needed nor read.

    Raises:
        FileNotFoundError: if a folder is missing, or no pair is complete.

    Source: Kondermann et al., The HCI Benchmark Suite, CVPR workshops 2016.
    """

    def __init__(self, *, root: Path, labels: bool = True) -> None:
        frames, flows = Path(root) / "hd1k_input" / "image_2", Path(root) / "hd1k_flow_gt" / "flow_occ"
        for folder in (frames, flows) if labels else (frames,):
            require_folder(folder, layout=LAYOUT)
        candidates = [
            Pair(image1.stem, image1, image2, {"flow": flows / image1.name} if labels else {})
            for image1, image2 in neighbours(frames)
        ]
        super().__init__(candidates, root=Path(root), layout=LAYOUT)

    def read_truth(self, files: dict[str, Path], size: tuple[int, int]) -> GroundTruth:
        """Ground truth of an image in KITTI's format."""
        return read_kitti_truth(files["flow"], size)

"""Predictions as the benchmarks' servers take them."""

from pathlib import Path

from torch import Tensor

from unrollflow.callbacks.flow_writers import FlowWriter
from unrollflow.data.io.flo5 import import_h5py, write_flo5


class SintelSubmission(FlowWriter):
    """Writes PASS/SCENE/frame_NNNN.flo, the tree that Sintel's `bundler` packs; names are those of data.Sintel.

    Source: Butler et al., A Naturalistic Open Source Movie for Optical Flow Evaluation, ECCV 2012, and its website.
    """

    both_ways = False
    pictures = ()


class KittiSubmission(FlowWriter):
    """Writes NNNNNN_10.png, 16 bits and valid everywhere: what KITTI takes, packed as a zip.

    Args:
        output: folder to pack; KITTI 2012 wants the pictures in it, KITTI 2015 in its folder flow/.
        folder: where below it the pictures are.

    Source: development kits of KITTI 2012 and 2015.
    """

    both_ways = False
    pictures = ()

    def __init__(self, output: Path, *, folder: str) -> None:
        super().__init__(Path(output) / folder, flow="png")
        self.endings = (".png",)


class SpringSubmission(FlowWriter):
    """Writes SCENE/flow_FW_left/flow_FW_left_NNNN.flo5, the tree that Spring's `flow_subsampling` reduces to one file.

    Names are those of data.Spring. The flow has the size of the frames. The server takes both cameras (left, right)
    and both directions (FW, BW).

    Args:
        output: folder that the executable of the benchmark is called with.

    Raises:
        ImportError: if h5py is not installed.

    Source: Mehl et al., Spring, CVPR 2023, and the questions and answers of the benchmark's website.
    """

    both_ways = False
    pictures = ()

    def __init__(self, output: Path) -> None:
        super().__init__(output)
        import_h5py()  # before anything is computed
        self.endings = (".flo5",)

    def files(self, name: str) -> list[Path]:
        """The file that a sample becomes."""
        scene, _, flow = name.rpartition("/")
        return super().files(f"{scene}/{flow.rpartition('_')[0]}/{flow}")

    def write(self, files: list[Path], flow: Tensor, visible: Tensor | None) -> None:
        """Write the flow of one sample."""
        write_flo5(files[0], flow)

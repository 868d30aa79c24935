"""Writers of predictions in the formats of the benchmark servers."""

from pathlib import Path

from torch import Tensor

from unrollflow.callbacks.flow_writers import FlowWriter
from unrollflow.data.io.flo5 import import_h5py, write_flo5


class SintelSubmission(FlowWriter):
    """Writes PASS/SCENE/frame_NNNN.flo, the input of Sintel's `bundler`; sample names are those of data.Sintel.

    Source: Butler et al., A Naturalistic Open Source Movie for Optical Flow Evaluation, ECCV 2012, and its website.
    """

    both_ways = False
    pictures = ()


class KittiSubmission(FlowWriter):
    """Writes NNNNNN_10.png (16 bits, all pixels valid), to be packed as a zip file for KITTI.

    Args:
        output: folder to pack; KITTI 2012 expects the images in it, KITTI 2015 in its subfolder flow/.
        folder: subfolder of the images.

    Source: development kits of KITTI 2012 and 2015.
    """

    both_ways = False
    pictures = ()

    def __init__(self, output: Path, *, folder: str) -> None:
        super().__init__(Path(output) / folder, flow="png")
        self.endings = (".png",)


class SpringSubmission(FlowWriter):
    """Writes SCENE/flow_FW_left/flow_FW_left_NNNN.flo5, the input of Spring's `flow_subsampling`.

    Sample names are those of data.Spring. The flow has the size of the frames. The server expects both cameras (left,
    right) and both directions (FW, BW).

    Args:
        output: folder to pass to the executable of the benchmark.

    Raises:
        ImportError: if h5py is not installed.

    Source: Mehl et al., Spring, CVPR 2023, and the questions and answers of the benchmark's website.
    """

    both_ways = False
    pictures = ()

    def __init__(self, output: Path) -> None:
        super().__init__(output)
        import_h5py()  # fail before anything is computed
        self.endings = (".flo5",)

    def files(self, name: str) -> list[Path]:
        """Path of the file of a sample."""
        scene, _, flow = name.rpartition("/")
        return super().files(f"{scene}/{flow.rpartition('_')[0]}/{flow}")

    def write(self, files: list[Path], flow: Tensor, visible: Tensor | None) -> None:
        """Write the flow of one sample."""
        write_flo5(files[0], flow)

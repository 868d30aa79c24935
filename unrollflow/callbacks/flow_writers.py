"""Predictions as files: flow and pictures, submissions as the benchmarks' servers want them, videos."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BasePredictionWriter
from torch import Tensor

from unrollflow.contracts import FlowSample, Prediction, known_flow
from unrollflow.data.io.flow import write_flo, write_image, write_kitti_flow, write_npy
from unrollflow.data.video.writer import VideoWriter
from unrollflow.ops.choice import check_choice
from unrollflow.visualization.flow import flow_arrows, flow_to_rgb

BRIGHT_QUANTILE = 0.99
"""Of a frame's flow lengths: a few wild pixels shall not make a whole video pale."""


Format = Literal["flo", "png", "npy"]
"""Of a flow: Middlebury's .flo, KITTI's PNG of 16 bits, or a float32 array (H, W, 2)."""

ENDINGS: dict[Format, str] = {"flo": ".flo", "png": "_flow.png", "npy": ".npy"}
WRITERS: dict[Format, Callable[[Path, Tensor], None]] = {"flo": write_flo, "png": write_kitti_flow, "npy": write_npy}


class FlowWriter(BasePredictionWriter):
    """Writes each prediction as NAME.flo, NAME.png (colours) and NAME_visible.png (white = seen in the other frame).

    Args:
        output: folder to write to; names with folders are kept below it.
        flow: format of the flow: NAME.flo, NAME_flow.png (KITTI's) or NAME.npy.
        max_flow: length of full saturation of the colours, pixels; None: the longest of each flow.

    Attributes:
        both_ways: whether visibility is written, which needs the flow of both directions.
        written: how many predictions so far.

    Raises:
        ValueError: if a sample's name leads out of the folder.
    """

    both_ways = True
    pictures: tuple[str, ...] = (".png", "_visible.png")

    def __init__(self, output: Path, *, flow: Format = "flo", max_flow: float | None = None) -> None:
        super().__init__(write_interval="batch")
        check_choice("flow", flow, Format)
        self.output = Path(output)
        self.flow, self.max_flow = flow, max_flow
        self.endings: tuple[str, ...] = (ENDINGS[flow], *self.pictures)
        self.written = 0

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: Prediction | Tensor,
        batch_indices: Sequence[int] | None,
        batch: FlowSample,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the files of every sample of a batch."""
        seen = None if isinstance(prediction, Tensor) else prediction.visible.float().cpu()
        for i, (name, flow) in enumerate(zip(batch["name"], flow_of(prediction), strict=True)):
            self.write(self.files(name), flow, None if seen is None else seen[i])
            self.written += 1

    def files(self, name: str) -> list[Path]:
        """The files that a sample becomes."""
        target = (self.output / name).resolve()
        if self.output.resolve() not in target.parents:
            raise ValueError(f"sample {name!r} would be written outside {self.output}.")
        return [target.with_name(f"{target.name}{ending}") for ending in self.endings]

    def write(self, files: list[Path], flow: Tensor, visible: Tensor | None) -> None:
        """Write flow (2, H, W), pixels, and visibility (1, H, W), where it was predicted, of a sample."""
        numbers, *pictures = files
        WRITERS[self.flow](numbers, flow)
        if not pictures:
            return
        colours, seen = pictures
        write_image(colours, flow_to_rgb(flow, max_flow=self.max_flow))
        if visible is not None:
            write_image(seen, visible)


class FlowNumbers(FlowWriter):
    """Writes the flow alone, named after the last part of a sample's name: the numbers beside a :class:`FlowVideo`."""

    both_ways = False
    pictures = ()

    def files(self, name: str) -> list[Path]:
        """The file that a sample becomes."""
        return super().files(Path(name).name)


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


class FlowVideo(BasePredictionWriter):
    """Writes a video of each frame beside the colours of its flow.

    Args:
        path: the .mp4 to write; it appears when it is complete.
        rate: frames a second.
        arrows: draw the flow as arrows over the frame, too.
        max_flow: length of full saturation of the colours, pixels; None: the longest flow (99th percentile of a frame)
            up to the frame, so that colours do not flicker.

    Attributes:
        both_ways: as of :class:`FlowWriter`; a video shows no visibility.
        written: how many frames it holds so far.
    """

    both_ways = False

    def __init__(
        self, path: Path, *, rate: float | Fraction, arrows: bool = False, max_flow: float | None = None
    ) -> None:
        super().__init__(write_interval="batch")
        self.arrows, self.max_flow = arrows, max_flow
        self.writer, self.opened = VideoWriter(path, rate), ExitStack()
        self.longest = 0.0
        self.written = 0

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the video."""
        self.opened.enter_context(self.writer)

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: Prediction | Tensor,
        batch_indices: Sequence[int] | None,
        batch: FlowSample,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Append the frames of a batch."""
        for frame, flow in zip(batch["image1"].float().cpu(), flow_of(prediction), strict=True):
            self.longest = max(self.longest, bright_length(flow))
            colours = flow_to_rgb(flow, max_flow=self.max_flow or self.longest or None)
            left = flow_arrows(frame, flow) if self.arrows else frame
            self.writer.write(torch.cat([left, colours], dim=-1))
            self.written += 1

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the video."""
        self.opened.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave no half video behind."""
        self.opened.__exit__(type(exception), exception, exception.__traceback__)


def flow_of(prediction: Prediction | Tensor) -> Tensor:
    """Flow (B, 2, H, W) of a prediction of both directions, or of one, in main memory and full precision."""
    return (prediction if isinstance(prediction, Tensor) else prediction.flow).float().cpu()


def bright_length(flow: Tensor) -> float:
    """The length, pixels, under which 99 % of a flow (2, H, W) lie, where it is known; 0 where nothing is.

    >>> bright_length(torch.tensor([[3.0, 1e10], [4.0, 1e10]]).view(2, 1, 2))
    5.0
    """
    length = torch.linalg.vector_norm(flow[:, known_flow(flow)], dim=0)
    if not len(length):
        return 0.0
    # the k-th value, because torch.quantile refuses more than 16 million pixels
    return float(length.kthvalue(max(1, round(BRIGHT_QUANTILE * length.numel()))).values)

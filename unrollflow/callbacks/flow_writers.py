"""Writers of predictions as files: flow, images, confidence maps and videos."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
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
from unrollflow.ops import Calibration, flow_confidence
from unrollflow.ops.choice import check_choice
from unrollflow.ops.occlusion import CALIBRATION
from unrollflow.visualization.flow import flow_arrows, flow_to_rgb

BRIGHT_QUANTILE = 0.99
"""Quantile of flow lengths with full saturation, so that a few extreme vectors do not make a whole video pale."""

BACKWARD = "_backward"
"""Suffix of the file names of the flow from the second image to the first."""

Format = Literal["flo", "png", "npy"]
"""File format of a flow: Middlebury .flo, KITTI 16-bit PNG, or a float32 array (H, W, 2)."""

ENDINGS: dict[Format, str] = {"flo": ".flo", "png": "_flow.png", "npy": ".npy"}
WRITERS: dict[Format, Callable[[Path, Tensor], None]] = {"flo": write_flo, "png": write_kitti_flow, "npy": write_npy}


class PredictionWriter(BasePredictionWriter, ABC):
    """Base class of writers of predictions; writes after each batch.

    Attributes:
        both_ways: whether the flow in both directions is needed, as it is for visibility.
        written: number of predictions written so far.
    """

    both_ways = False

    def __init__(self) -> None:
        super().__init__(write_interval="batch")
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
        """Write a batch and count its samples."""
        self.write_batch(batch, prediction)
        self.written += len(batch["name"])

    @abstractmethod
    def write_batch(self, batch: FlowSample, prediction: Prediction | Tensor) -> None:
        """Write every sample of a batch."""


class FlowWriter(PredictionWriter):
    """Writes each prediction as NAME.flo, NAME.png (colours) and NAME_visible.png (white: visible in the other frame).

    Args:
        output: folder to write to; folders in a sample name become subfolders.
        flow: format of the flow: NAME.flo, NAME_flow.png (KITTI) or NAME.npy.
        max_flow: flow length with full colour saturation, pixels; None: the longest vector of each flow.
        backward: also write the flow from the second image to the first: NAME_backward.flo and NAME_backward.png.

    Raises:
        ValueError: if a sample's name leads out of the folder.
    """

    both_ways = True
    pictures: tuple[str, ...] = (".png", "_visible.png")

    def __init__(
        self, output: Path, *, flow: Format = "flo", max_flow: float | None = None, backward: bool = False
    ) -> None:
        super().__init__()
        check_choice("flow", flow, Format)
        self.output = Path(output)
        self.flow, self.max_flow, self.backward = flow, max_flow, backward
        self.both_ways = self.both_ways or backward
        self.endings: tuple[str, ...] = (ENDINGS[flow], *self.pictures)

    def write_batch(self, batch: FlowSample, prediction: Prediction | Tensor) -> None:
        """Write the files of every sample of a batch."""
        seen = None if isinstance(prediction, Tensor) else prediction.visible.float().cpu()
        back = prediction.flow_backward.float().cpu() if self.backward and isinstance(prediction, Prediction) else None
        for i, (name, flow) in enumerate(zip(batch["name"], flow_of(prediction), strict=True)):
            files = self.files(name)
            self.write(files, flow, None if seen is None else seen[i])
            if back is not None:
                self.write(files[len(self.endings) :], back[i], None)

    def files(self, name: str) -> list[Path]:
        """Paths of the files of a sample; the files of the backward flow come last."""
        target = (self.output / name).resolve()
        if self.output.resolve() not in target.parents:
            raise ValueError(f"sample {name!r} would be written outside {self.output}; rename the sample.")
        endings = list(self.endings)
        if self.backward:
            endings += [f"{BACKWARD}{ending}" for ending in self.endings[:2]]
        return [target.with_name(f"{target.name}{ending}") for ending in endings]

    def write(self, files: list[Path], flow: Tensor, visible: Tensor | None) -> None:
        """Write flow (2, H, W), pixels, and visibility (1, H, W), if it was predicted, to files."""
        WRITERS[self.flow](files[0], flow)
        if not self.pictures:
            return
        write_image(files[1], flow_to_rgb(flow, max_flow=self.max_flow))
        if visible is not None:
            write_image(files[2], visible)


class FlowNumbers(FlowWriter):
    """Writes only the flow, beside a :class:`FlowVideo`; files have the last part of a sample's name."""

    both_ways = False
    pictures = ()

    def files(self, name: str) -> list[Path]:
        """Path of the file of a sample."""
        return super().files(Path(name).name)


class FlowVideo(PredictionWriter):
    """Writes a video of each frame beside its flow in colours.

    The video does not show visibility, so only the forward flow is needed.

    Args:
        path: .mp4 file to write; it appears when it is complete.
        rate: frames per second.
        arrows: also draw the flow as arrows over the frame.
        max_flow: flow length with full colour saturation, pixels; None: the 99 % quantile of the flow lengths of the
            pairs in `scaled_by`, so that colours are comparable in the whole video.
        scaled_by: pairs whose flow is predicted before the video, if `max_flow` is None.
    """

    def __init__(
        self,
        path: Path,
        *,
        rate: float | Fraction,
        arrows: bool = False,
        max_flow: float | None = None,
        scaled_by: Iterable[FlowSample] = (),
    ) -> None:
        super().__init__()
        self.arrows, self.max_flow, self.scaled_by = arrows, max_flow, scaled_by
        self.writer, self.opened = VideoWriter(path, rate), ExitStack()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Choose the colour scale and open the video."""
        if self.max_flow is None:
            with trainer.precision_plugin.predict_step_context():
                flows = [predicted(pl_module, pair) for pair in self.scaled_by]
            self.max_flow = bright_length(torch.cat(flows, dim=-1)) if flows else None
        self.opened.enter_context(self.writer)

    def write_batch(self, batch: FlowSample, prediction: Prediction | Tensor) -> None:
        """Append the frames of a batch."""
        for frame, flow in zip(batch["image1"].float().cpu(), flow_of(prediction), strict=True):
            colours = flow_to_rgb(flow, max_flow=self.max_flow or None)
            left = flow_arrows(frame, flow) if self.arrows else frame
            self.writer.write(torch.cat([left, colours], dim=-1))

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the video."""
        self.opened.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Remove the incomplete video."""
        self.opened.__exit__(type(exception), exception, exception.__traceback__)


def flow_of(prediction: Prediction | Tensor) -> Tensor:
    """Flow (B, 2, H, W) of a prediction in one or both directions, as float32 on the CPU."""
    return (prediction if isinstance(prediction, Tensor) else prediction.flow).float().cpu()


def predicted(module: pl.LightningModule, pair: FlowSample) -> Tensor:
    """Flow (2, H, W) of one pair, computed on the module's device and returned on the CPU."""
    frames = {name: pair[name].unsqueeze(0).to(module.device) for name in ("image1", "image2")}
    return flow_of(module.predict_step({**pair, **frames, "name": [pair["name"]]}, 0))[0]


def bright_length(flow: Tensor) -> float:
    """99 % quantile of the lengths of the known vectors of a flow (2, H, W), pixels; 0 if none is known.

    >>> bright_length(torch.tensor([[3.0, 1e10], [4.0, 1e10]]).view(2, 1, 2))
    5.0
    """
    length = torch.linalg.vector_norm(flow[:, known_flow(flow)], dim=0)
    if not len(length):
        return 0.0
    # kthvalue, because torch.quantile does not accept more than 16 million pixels
    return float(length.kthvalue(max(1, round(BRIGHT_QUANTILE * length.numel()))).values)


class ConfidenceMaps(FlowWriter):
    """Writes the confidence of each flow (:func:`~unrollflow.ops.flow_confidence`) as NAME_confidence.png.

    The image is 16-bit greyscale: 65535 is a confidence of 1.

    Args:
        output: folder to write to; folders in a sample name become subfolders.
        calibration: calibration of the confidence for this kind of flow.
        of_video: use only the last part of a sample's name as the file name.
    """

    pictures = ("_confidence.png",)

    def __init__(self, output: Path, *, calibration: Calibration = CALIBRATION, of_video: bool = False) -> None:
        super().__init__(output)
        self.endings, self.calibration, self.of_video = self.pictures, calibration, of_video

    def write_batch(self, batch: FlowSample, prediction: Prediction | Tensor) -> None:
        """Write the map of every sample of a batch.

        Raises:
            ValueError: if only one direction was predicted.
        """
        if isinstance(prediction, Tensor):
            raise ValueError("only the forward flow was predicted; the confidence needs the flow in both directions.")
        maps = flow_confidence(prediction.flow, prediction.flow_backward, calibration=self.calibration).cpu()
        for name, confidence in zip(batch["name"], maps, strict=True):
            write_image(self.files(name)[0], confidence, depth="uint16")

    def files(self, name: str) -> list[Path]:
        """Path of the map of a sample."""
        return super().files(Path(name).name if self.of_video else name)

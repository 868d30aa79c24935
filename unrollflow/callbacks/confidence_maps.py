"""The confidence of predicted flow as pictures."""

from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from torch import Tensor

from unrollflow.callbacks.flow_writers import FlowWriter
from unrollflow.contracts import FlowSample, Prediction
from unrollflow.data.io.flow import write_image
from unrollflow.ops import Calibration, flow_confidence
from unrollflow.ops.occlusion import CALIBRATION


class ConfidenceMaps(FlowWriter):
    """Writes the confidence of each flow (:func:`~unrollflow.ops.flow_confidence`) as NAME_confidence.png.

    The picture is grey with 16 bits: 65535 is a confidence of 1.

    Args:
        output: folder to write to; names with folders are kept below it.
        calibration: of the flow.
        of_video: name files after the last part of a sample's name alone.
    """

    pictures = ("_confidence.png",)

    def __init__(self, output: Path, *, calibration: Calibration = CALIBRATION, of_video: bool = False) -> None:
        super().__init__(output)
        self.endings, self.calibration, self.of_video = self.pictures, calibration, of_video

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
        """Write the map of every sample of a batch.

        Raises:
            ValueError: if only one direction was predicted.
        """
        if isinstance(prediction, Tensor):
            raise ValueError("only the forward flow was predicted; the confidence needs the flow in both directions.")
        maps = flow_confidence(prediction.flow, prediction.flow_backward, calibration=self.calibration).cpu()
        for name, confidence in zip(batch["name"], maps, strict=True):
            write_image(self.files(name)[0], confidence, depth="uint16")
            self.written += 1

    def files(self, name: str) -> list[Path]:
        """The map of a sample."""
        return super().files(Path(name).name if self.of_video else name)

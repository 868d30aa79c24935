"""Table of an evaluation: measures of every sample, and their averages."""

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import CombinedLoader, rank_zero_only
from torch.utils.data import DistributedSampler

from unrollflow.callbacks.run_directory import run_directory, say, writes_nothing
from unrollflow.contracts import FlowSample
from unrollflow.data.io.flow import write_atomic
from unrollflow.metrics.averages import bootstrap_interval, image_mean, pooled_mean
from unrollflow.metrics.names import HEADLINE, MEASURES, UNLABELLED, UNLABELLED_HEADLINE
from unrollflow.visualization.table import format_table

MEAN, POOLED = "mean of images", "all pixels"
COLUMNS = MEASURES | UNLABELLED


class Row(NamedTuple):
    """Measures of one sample: for each measure, the mean over its pixels and the number of these pixels."""

    name: str
    means: dict[str, float]
    pixels: dict[str, int]


class EvaluationTable(Callback):
    """Prints the measures of validate or test, and writes them to per_sample.csv and evaluation.json.

    Args:
        most_rows: maximum number of samples to print; if there are more, only the averages are printed.
        confidence: level of the bootstrap intervals of the means over images, such as 0.95; None: no intervals.

    Raises:
        ValueError: if the confidence is not between 0 and 1; later, if a loader splits the samples over processes.
    """

    def __init__(self, *, most_rows: int = 50, confidence: float | None = None) -> None:
        if confidence is not None and not 0 < confidence < 1:
            raise ValueError(f"confidence is out of range: {confidence}; it must be between 0 and 1, such as 0.95.")
        self.most_rows, self.confidence = most_rows, confidence
        self.rows: list[Row] = []

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the rows of an earlier run that was interrupted."""
        self.rows = []
        if trainer.state.fn != "fit":
            check_whole(trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders)

    on_test_start = on_validation_start

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # of validation_step; Lightning's type does not include our NamedTuple and dict
        batch: FlowSample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Store the measures of the batch."""
        if trainer.state.fn != "fit" and ("measures" in outputs or "unlabelled" in outputs):
            self.rows += batch_rows(batch, outputs)

    on_test_batch_end = on_validation_batch_end

    @rank_zero_only
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print and write the table."""
        if not self.rows:
            return
        averages = summary(self.rows, confidence=self.confidence)
        say(samples_table(self.rows if len(self.rows) <= self.most_rows else []) + summary_table(averages))
        if not writes_nothing(trainer):
            directory = run_directory(trainer)
            write_atomic(directory / "per_sample.csv", comma_separated(self.rows).encode())
            write_atomic(directory / "evaluation.json", (json.dumps(averages, indent=2) + "\n").encode())
            say(f"every sample {directory / 'per_sample.csv'}")
            say(f"averages     {directory / 'evaluation.json'}")
        self.rows = []

    on_test_end = on_validation_end


def check_whole(loaders: Any) -> None:
    """Raise ValueError if a loader, or one of a list or dictionary, splits its samples over processes."""
    for loader in CombinedLoader(loaders).flattened:
        sampler = getattr(loader, "sampler", None)
        if isinstance(sampler, DistributedSampler) and sampler.num_replicas > 1:
            raise ValueError(
                f"cannot write the evaluation table: the loader splits its samples over {sampler.num_replicas} "
                "processes, so the table would omit some samples and repeat others; use a FlowDataModule, or pass "
                "use_distributed_sampler=False to the Trainer."
            )


def batch_rows(batch: FlowSample, outputs: Any) -> list[Row]:
    """Rows of the samples of a batch, from the outputs of validation_step.

    Measures that do not need ground truth are averaged over all pixels of an image.
    """
    names, size = batch["name"], batch["image1"][0, 0].numel()
    means: dict[str, list[float]] = {key: [math.nan] * len(names) for key in MEASURES}
    pixels = {key: [0] * len(names) for key in MEASURES}
    if "measures" in outputs:
        means, pixels = ({k: v.tolist() for k, v in part.items()} for part in outputs["measures"])
    for key, values in outputs.get("unlabelled", {}).items():
        means[key], pixels[key] = values.tolist(), [size] * len(names)
    return [
        Row(name, {k: v[i] for k, v in means.items()}, {k: v[i] for k, v in pixels.items()})
        for i, name in enumerate(names)
    ]


def summary(rows: Sequence[Row], *, confidence: float | None) -> dict[str, dict[str, Any]]:
    """Averages of every measure that any sample defines.

    Returns:
        for each measure: `mean` (over images with equal weights), `pooled` (over the pixels of all images), the numbers
        of `images` and `pixels` and, if `confidence` is given, `low` and `high` of the mean's bootstrap interval.
        Values that are not finite are None.
    """
    averages = {}
    for name in COLUMNS:
        means, pixels = [row.means.get(name, math.nan) for row in rows], [row.pixels.get(name, 0) for row in rows]
        if not any(pixels):
            continue
        values = {"mean": image_mean(means), "pooled": pooled_mean(means, pixels)}
        if confidence is not None:
            values["low"], values["high"] = bootstrap_interval(means, confidence=confidence)
        known = {k: v if math.isfinite(v) else None for k, v in values.items()}
        averages[name] = known | {"images": sum(n > 0 for n in pixels), "pixels": sum(pixels)}
        averages[name] |= {} if confidence is None else {"confidence": confidence}
    return averages


def comma_separated(rows: Sequence[Row]) -> str:
    """CSV text with one line of measures per sample; measures that a sample does not define are `nan`."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["name", *COLUMNS])
    writer.writerows([row.name, *(row.means.get(name, math.nan) for name in COLUMNS)] for row in rows)
    return buffer.getvalue()


def samples_table(rows: Sequence[Row]) -> str:
    """Table of the headline measures of every sample; empty if there are no rows."""
    if not rows:
        return ""
    shown = HEADLINE if any(row.pixels["epe"] for row in rows) else UNLABELLED_HEADLINE
    return format_table(list(shown.values()), [(r.name, [r.means[k] for k in shown]) for r in rows]) + "\n\n"


def summary_table(averages: dict[str, dict[str, Any]]) -> str:
    """Table of every measure with its averages."""
    confidence = next(iter(averages.values())).get("confidence")
    keys = ["mean", "pooled", *([] if confidence is None else ["low", "high"]), "images"]
    interval = [] if confidence is None else [f"{100 * confidence:g} % from", "to"]
    rows = [
        (", ".join(filter(None, measure)), [math.nan if averages[k][v] is None else averages[k][v] for v in keys])
        for k, measure in COLUMNS.items()
        if k in averages
    ]
    return format_table([MEAN, POOLED, *interval, "images"], rows)

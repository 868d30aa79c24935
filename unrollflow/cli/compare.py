"""`unrollflow compare`: write a page that compares runs, such as those of an ablation."""

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.cli import instantiate_module
from torch import Tensor

from unrollflow.callbacks.evaluation_table import Row, batch_rows
from unrollflow.checkpoints import TRUSTED, check_trusted, read_checkpoint
from unrollflow.cli.checks import refuse_replacing, refuse_unwritable
from unrollflow.cli.networks import one_device_trainer
from unrollflow.cli.runs import Run, differing, grouped, read_runs, seed_keys, seed_text
from unrollflow.cli.saved_config import class_paths
from unrollflow.contracts import FlowSample
from unrollflow.data import FlowDataModule
from unrollflow.data.io.files import write_atomic
from unrollflow.training.module import UnsupervisedFlow
from unrollflow.visualization.compared import ComparedGroup, ComparedRun, ComparedSample, group_label
from unrollflow.visualization.comparison import comparison_page
from unrollflow.visualization.report import read_curves


def run(arguments: list[str], trusted: list[str]) -> None:
    """Parse the arguments of `unrollflow compare` and run it."""
    parser = ArgumentParser("unrollflow compare", description=__doc__)
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder of a run, such as runs/flow/version_0; the first is the reference",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("compare.html"), help="page to write (%(default)s)")
    parser.add_argument(
        "--samples", type=int, default=4, help="number of validation samples to show as images (%(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing page")
    parser.add_argument("--accelerator", default="auto", help="accelerator of Lightning's Trainer (%(default)s)")
    compare(**vars(parser.parse_args(arguments[1:])), trusted=trusted)


def compare(
    runs: Sequence[Path],
    *,
    output: Path,
    samples: int = 4,
    overwrite: bool = False,
    accelerator: str = "auto",
    trusted: Sequence[str] = (),
) -> None:
    """Evaluate the best checkpoint of every run on the reference's validation data, and write a comparison page.

    Args:
        runs: folders of runs, the reference first; runs that differ only in their seeds form a group.
        output: page to write.
        samples: number of the first validation samples to draw.
        overwrite: replace an existing page.
        accelerator: accelerator of Lightning's Trainer.
        trusted: prefixes of names that a run may use, in addition to those of this package.

    Raises:
        FileNotFoundError, ValueError: if a folder is not a run with a checkpoint, or runs cannot be compared.
        OSError: if the page already exists, or cannot be written.
    """
    if samples < 0:
        raise ValueError(f"--samples is out of range: {samples}; it must be at least 0.")
    found = read_runs(runs)
    if not overwrite:
        refuse_replacing([output])
    refuse_unwritable([output])
    data = validation_data(found[0], trusted)
    networks = [UnsupervisedFlow.load_from_checkpoint(each.checkpoint, trusted=trusted) for each in found]
    evaluations = [evaluate(network, data, samples=samples, accelerator=accelerator) for network in networks]
    groups = compared_groups(found, evaluations)
    write_atomic(output, comparison_page(groups, evaluations[0].samples).encode())
    print(f"Comparison of {len(found)} runs in {len(groups)} group(s), written to {output}")  # noqa: T201, the answer


def validation_data(run: Run, trusted: Sequence[str]) -> FlowDataModule:
    """Validation data of a run's configuration, which may only build the classes that a checkpoint may build.

    Raises:
        ValueError: if the configuration refers to other classes.
    """
    config = run.config["data"] | dict.fromkeys(("train", "test", "transform"))
    check_trusted(class_paths(config, run.folder), run.folder / "config.yaml", trusted=trusted, packages=TRUSTED)
    return instantiate_module(FlowDataModule, config)


class Evaluation(Callback):
    """Stores the measures of a validation.

    Args:
        samples: number of the first samples to store with their flow.

    Attributes:
        rows: measures of every sample.
        samples: the first samples.
        flows: flows (2, H, W) of the first samples, pixels.
    """

    def __init__(self, *, samples: int) -> None:
        self.most_samples = samples
        self.rows: list[Row] = []
        self.samples: list[ComparedSample] = []
        self.flows: list[Tensor] = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # of validation_step; Lightning's type does not include our NamedTuple and dict
        batch: FlowSample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Store the measures of the batch, and the first samples that are not stored yet."""
        self.rows += batch_rows(batch, outputs)
        for i in range(min(len(batch["name"]), self.most_samples - len(self.samples))):
            truth = [batch[key][i].cpu() if key in batch else None for key in ("flow", "valid")]
            image1, image2 = (batch[key][i].cpu() for key in ("image1", "image2"))
            self.samples.append(ComparedSample(batch["name"][i], image1, image2, *truth))
            self.flows.append(outputs["flow"][i].cpu())


def evaluate(module: UnsupervisedFlow, data: FlowDataModule, *, samples: int, accelerator: str) -> Evaluation:
    """Validate a network on all validation data."""
    kept = Evaluation(samples=samples)
    trainer = one_device_trainer([kept], accelerator=accelerator)
    trainer.validate(module, data, verbose=False)
    return kept


def compared_groups(runs: Sequence[Run], evaluations: Sequence[Evaluation]) -> list[ComparedGroup]:
    """Groups of the page, starting with that of the reference."""
    by_folder = {run.folder: evaluation for run, evaluation in zip(runs, evaluations, strict=True)}
    groups, seeds = grouped(runs), differing([run.seeds for run in runs])
    names = differing([group[0].settings for group in groups])
    found = []
    for number, group in enumerate(groups):
        settings = {name: group[0].settings[name] for name in names if name in group[0].settings}
        pairs = seed_keys(group)
        compared = [
            compared_run(run, by_folder[run.folder], seeds=seed_text(run, seeds), pair=pair)
            for run, pair in zip(group, pairs, strict=True)
        ]
        found.append(ComparedGroup(group_label(number, settings), settings, compared))
    return found


def compared_run(run: Run, evaluation: Evaluation, *, seeds: str, pair: object) -> ComparedRun:
    """Data of a run for the page."""
    file = run.folder / "metrics.json"
    figures = json.loads(file.read_text()) if file.is_file() else {}
    means = {name: [row.means[name] for row in evaluation.rows] for name in evaluation.rows[0].means}
    curves = dict(read_curves(run.folder / "metrics.csv"))
    checkpoint = f"{run.checkpoint.name}, step {read_checkpoint(run.checkpoint).get('global_step', '-')}"
    return ComparedRun(str(run.folder), checkpoint, seeds, pair, curves, figures, means, evaluation.flows)

"""`unrollflow predict`: write the flow of frames, videos and benchmark test sets to files."""

from argparse import ArgumentParser
from itertools import chain
from pathlib import Path
from typing import get_args

import pytorch_lightning as pl
from torch import Tensor

from unrollflow.callbacks.flow_writers import Format
from unrollflow.cli.checks import refuse_other_sizes, refuse_replacing, refuse_unwritable
from unrollflow.cli.networks import Precision, add_device, add_weights, one_device_trainer
from unrollflow.cli.predict_batches import loader
from unrollflow.cli.predict_inputs import ResultOptions, Submission, tasks
from unrollflow.contracts import FlowSample, Prediction
from unrollflow.ops import forward_backward_visibility
from unrollflow.ops.occlusion import CALIBRATION, REFINED_CALIBRATION
from unrollflow.training.module import UnsupervisedFlow
from unrollflow.variational import refine_flow
from unrollflow.weights import weights_file


def run(arguments: list[str], trusted: list[str]) -> None:
    """Parse the arguments of `unrollflow predict` and run it."""
    parser = ArgumentParser("unrollflow predict", description=__doc__)
    parser.add_argument(
        "frames",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="two images; or any number of: folders of frames in natural order, folders of such folders and videos, "
        "videos, text files with two images per line; or the root of a benchmark (see --submission)",
    )
    add_weights(parser)
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder to write to (%(default)s)")
    parser.add_argument(
        "--submission", choices=get_args(Submission), help="write the submission files of this benchmark's test set"
    )
    add_work(parser)
    add_result_options(parser)
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace existing results")
    existing.add_argument(
        "--skip_existing",
        action="store_true",
        help="keep existing results, even if they are of other weights, and compute the missing ones",
    )
    add_device(parser)
    predict(**vars(parser.parse_args(arguments[1:])), trusted=trusted)


def add_work(parser: ArgumentParser) -> None:
    """Add the options that choose what is computed, and how."""
    parser.add_argument(
        "--stride",
        type=int,
        default=1,
        metavar="N",
        help="use every N-th frame of videos and folders of frames (%(default)s)",
    )
    parser.add_argument(
        "--batch_size",
        type=int,
        default=1,
        metavar="N",
        help="number of pairs per batch; only pairs of equal size share a batch (%(default)s)",
    )
    parser.add_argument(
        "--refine",
        action="store_true",
        help="refine each flow with the solver of `unrollflow estimate`: slower, more accurate",
    )


def add_result_options(parser: ArgumentParser) -> None:
    """Add the options that choose the output files."""
    parser.add_argument(
        "--flow",
        choices=get_args(Format),
        help="format of the flow: .flo, 16-bit .png (KITTI), or .npy (H, W, 2); default: .flo for frames, and only a "
        "video for videos",
    )
    parser.add_argument(
        "--max_flow",
        type=float,
        help="flow length with full colour saturation in images, pixels; default: the longest flow of each image, or "
        "one length for all frames of a video",
    )
    parser.add_argument(
        "--backward", action="store_true", help="also write the flow from the second image to the first"
    )
    parser.add_argument(
        "--confidence",
        action="store_true",
        help="also write the estimated probability that the error of the flow is under 1 px, as 16-bit PNG",
    )
    parser.add_argument(
        "--arrows", action="store_true", help="for videos: also draw the flow as arrows over the frames"
    )


def predict(
    frames: list[Path],
    *,
    weights: str,
    output: Path,
    submission: Submission | None,
    flow: Format | None,
    max_flow: float | None,
    backward: bool,
    stride: int,
    batch_size: int,
    refine: bool,
    confidence: bool,
    arrows: bool,
    overwrite: bool,
    skip_existing: bool,
    accelerator: str,
    precision: Precision,
    trusted: list[str],
) -> None:
    """Write the flow of every pair of frames, at the size of the frames.

    Args:
        frames: two images; or any number of: folder of frames, folder of clips, video, text file with two images per
            line; or the root of a benchmark.
        weights: name of shipped weights, a safetensors file, or a checkpoint of `unrollflow fit`.
        output: folder to write to: flow, colours and visibility named after the first frame of a pair; NAME.mp4 for a
            video; the submission of a benchmark. The results of several folders are in subfolders of the same names.
        submission: the benchmark, or None.
        flow: format of the flow; None: .flo for frames, and only a video for videos.
        max_flow: flow length with full colour saturation in images, pixels; None: the longest flow of an image; for a
            video, the 99 % quantile of the flow lengths of a few pairs.
        backward: also write the flow from the second image to the first.
        stride: use every stride-th frame of videos and folders of frames.
        batch_size: number of pairs per batch; only neighbouring pairs of equal size share a batch.
        refine: refine each flow with the solver.
        confidence: write confidence maps beside the flow; for a video, in NAME_confidence/.
        arrows: draw arrows in the video.
        overwrite: replace existing results.
        skip_existing: keep existing results, and compute the missing ones.
        accelerator, precision: settings of Lightning's Trainer.
        trusted: prefixes of names that the checkpoint may use, in addition to those of this package.

    Raises:
        FileNotFoundError, ValueError: if the weights or a frame cannot be read, or a result would overwrite a frame
            or another result, naming it.
        OSError: if a result already exists, or cannot be written.
    """
    refuse_below_one(stride=stride, batch_size=batch_size)
    if max_flow is not None and not max_flow > 0:
        raise ValueError(f"--max_flow is out of range: {max_flow}; it must be more than 0 pixels.")
    calibration = REFINED_CALIBRATION if refine else CALIBRATION
    options = ResultOptions(flow, max_flow, arrows, backward, calibration if confidence else None)
    jobs = tasks(frames, output, submission=submission, options=options, stride=stride)
    work = [(job, job.without_result() if skip_existing else list(range(len(job.results)))) for job in jobs]
    if not (overwrite or skip_existing):
        remedy = "add --overwrite to replace them, or --skip_existing to keep them"
        refuse_replacing([file for job in jobs for file in (*chain(*job.results), *job.earlier)], remedy=remedy)
    refuse_unwritable(file for job, places in work for i in places for file in job.results[i])
    refuse_other_sizes(job.images[i] for job, places in work for i in places if job.images)
    work = [(job, places) for job, places in work if places]
    if work:
        network = UnsupervisedFlow.load_from_checkpoint(weights_file(weights), trusted=trusted)
        for job, places in work:
            trainer = one_device_trainer(job.writers, accelerator=accelerator, precision=precision)
            module = Predictor(network, both_ways=any(w.both_ways for w in job.writers), refine=refine)
            trainer.predict(module, loader(job, places, batch_size), return_predictions=False)
    written = sum(job.writers[0].written for job in jobs)
    existing = sum(len(job.results) for job in jobs) - sum(len(places) for _, places in work)
    kept = f", {existing} result(s) existed already" if skip_existing else ""
    print(  # noqa: T201, the command's answer
        f"Flow of {written} pair(s) of frames written to {output} with the weights {weights}{kept}"
    )


def refuse_below_one(**numbers: int) -> None:
    """Raise ValueError, naming the option, if a number is less than 1."""
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"--{name} is out of range: {number}; it must be at least 1.")


class Predictor(pl.LightningModule):
    """Predicts the flow of frames at their size.

    Args:
        network: a trained module.
        both_ways: predict the flow in both directions and the visibility; otherwise only the forward flow, at half the
            cost.
        refine: refine each flow with :func:`~unrollflow.variational.refine_flow`.
    """

    def __init__(self, network: UnsupervisedFlow, *, both_ways: bool, refine: bool) -> None:
        super().__init__()
        self.network, self.both_ways, self.refine = network, both_ways, refine

    def predict_step(self, batch: FlowSample, batch_idx: int) -> Prediction | Tensor:
        """Flow (B, 2, H, W), pixels, or a prediction in both directions."""
        image1, image2 = batch["image1"], batch["image2"]
        if not self.both_ways:
            flow = self.network.one_way(image1, image2)
            return refine_flow(image1, image2, flow) if self.refine else flow
        prediction: Prediction = self.network(image1, image2)
        if not self.refine:
            return prediction
        forward = refine_flow(image1, image2, prediction.flow)
        backward = refine_flow(image2, image1, prediction.flow_backward)
        return Prediction(forward, backward, forward_backward_visibility(forward, backward))

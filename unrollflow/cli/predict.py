"""`unrollflow predict`: flow of frames, videos and benchmarks' test sets, as files."""

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
from unrollflow.cli.predict_inputs import Look, Submission, tasks
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
        help="two images; or folders of frames in natural order, folders of such folders and videos, videos, and text "
        "files that list two images a line; or the root of a benchmark (see --submission)",
    )
    add_weights(parser)
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder to write to (%(default)s)")
    parser.add_argument(
        "--submission", choices=get_args(Submission), help="write what this benchmark's server takes of its test set"
    )
    add_work(parser)
    add_look(parser)
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    existing.add_argument(
        "--skip_existing",
        action="store_true",
        help="keep results that are there already, whatever checkpoint they are of, and compute the others",
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
        help="of folders of frames and of videos, use every N-th frame (%(default)s)",
    )
    parser.add_argument(
        "--batch_size",
        type=int,
        default=1,
        metavar="N",
        help="pairs of one size that the network takes at once (%(default)s)",
    )
    parser.add_argument(
        "--refine",
        action="store_true",
        help="refine each flow with the solver of `unrollflow estimate`: slower, better",
    )


def add_look(parser: ArgumentParser) -> None:
    """Add the options that choose what is written of a flow."""
    parser.add_argument(
        "--flow",
        choices=get_args(Format),
        help="format of the flow: .flo, KITTI's .png of 16 bits, or .npy (H, W, 2); without this option, frames have "
        ".flo files, and videos have pictures only",
    )
    parser.add_argument(
        "--max_flow",
        type=float,
        help="length of the flow with full saturation in pictures, pixels; without this option, the longest flow of "
        "each image, and one length for all frames of a video",
    )
    parser.add_argument("--backward", action="store_true", help="write the flow of the second image to the first, too")
    parser.add_argument(
        "--confidence",
        action="store_true",
        help="write maps of the estimated probability that the error of the flow is under 1 px, PNG of 16 bits",
    )
    parser.add_argument("--arrows", action="store_true", help="of a video: draw the flow as arrows over the frames too")


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
    """Write the flow of every pair of frames, at their own size.

    Args:
        frames: two images; or one or several of: folder of frames, folder of clips, video, text file of two images a
            line; or the root of a benchmark.
        weights: name of shipped weights, a safetensors file, or a checkpoint of a fit by the command line.
        output: folder to write to: flow, colours and visibility named after a pair's first frame; of a video
            NAME.mp4; of a benchmark its submission. The results of several folders are in folders of their names.
        submission: the benchmark, or None.
        flow: format of the flow; None: .flo for frames, and pictures only for videos.
        max_flow: length of full saturation in pictures, pixels; None: the longest flow of an image; of a video, the
            length under which 99 % of the flow of a few pairs of it lie.
        backward: write the flow of the second image to the first one, too.
        stride: of folders of frames and of videos, every stride-th frame is used.
        batch_size: pairs that the network takes at once; only neighbouring pairs of one size share a batch.
        refine: refine each flow with the solver.
        confidence: write maps of the confidence beside the flow, of a video in NAME_confidence/.
        arrows: draw arrows into the video, too.
        overwrite: replace results that are there already.
        skip_existing: keep results that are there already, and compute the others.
        accelerator, precision: as of Lightning's Trainer.
        trusted: beginnings of names that the checkpoint may ask for, in addition to ours.

    Raises:
        FileNotFoundError, ValueError: if the weights or a frame cannot be read, or a result would overwrite a frame
            or another result, naming it.
        OSError: if a result is there already, or cannot be written.
    """
    refuse_below_one(stride=stride, batch_size=batch_size)
    if max_flow is not None and not max_flow > 0:
        raise ValueError(f"--max_flow is {max_flow}; give a length of more than 0 pixels.")
    calibration = REFINED_CALIBRATION if refine else CALIBRATION
    look = Look(flow, max_flow, arrows, backward, calibration if confidence else None)
    jobs = tasks(frames, output, submission=submission, look=look, stride=stride)
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
    kept = f", {existing} result(s) there already" if skip_existing else ""
    print(  # noqa: T201, the command's answer
        f"Flow of {written} pair(s) of frames written to {output} with the weights {weights}{kept}"
    )


def refuse_below_one(**numbers: int) -> None:
    """Raise ValueError, naming the option, if a number is less than 1."""
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"--{name} is {number}; give 1 or more.")


class Predictor(pl.LightningModule):
    """Predicts the flow of frames at their own size.

    Args:
        network: a trained module.
        both_ways: predict the flow in both directions and the visibility; otherwise only the flow of the first image,
            for half of the work.
        refine: refine each flow by :func:`~unrollflow.variational.refine_flow`.
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

"""`unrollflow predict`: flow of frames, videos and benchmarks' test sets, as files."""

from argparse import ArgumentParser
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from unrollflow.callbacks.flow_writers import FlowVideo, FlowWriter, KittiSubmission, SintelSubmission
from unrollflow.cli.checks import (
    refuse_clashes,
    refuse_other_sizes,
    refuse_overwriting,
    refuse_replacing,
    refuse_unwritable,
)
from unrollflow.contracts import FlowSample, Prediction
from unrollflow.data.datasets.benchmark import BenchmarkPairs
from unrollflow.data.datasets.frames import FramePairs
from unrollflow.data.datasets.kitti import FOLDERS, Frames, Kitti
from unrollflow.data.datasets.sintel import Sintel
from unrollflow.data.io.flow import IMAGE_SUFFIXES
from unrollflow.data.video.codec import VideoPairs
from unrollflow.ops import forward_backward_visibility
from unrollflow.training.module import UnsupervisedFlow
from unrollflow.variational import refine_flow
from unrollflow.weights import DEFAULT, shipped_weights, weights_file

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Submission = Literal["sintel", "kitti2012", "kitti2015"]

KITTI_2012: tuple[Frames, ...] = ("colored_0", "image_0")
"""Folders of KITTI 2012's frames; those in colour are taken where both are there."""


def run(arguments: list[str], trusted: list[str]) -> None:
    """Parse the arguments of `unrollflow predict` and run it."""
    parser = ArgumentParser("unrollflow predict", description=__doc__)
    parser.add_argument(
        "frames",
        nargs="+",
        type=Path,
        help="a folder of frames in natural order, two images, a video, or the root of a benchmark (see --submission)",
    )
    add_weights(parser)
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder to write to (%(default)s)")
    parser.add_argument(
        "--submission", choices=get_args(Submission), help="write what this benchmark's server takes of its test set"
    )
    parser.add_argument(
        "--refine",
        action="store_true",
        help="refine each flow with the solver of `unrollflow estimate`: slower, better",
    )
    parser.add_argument("--arrows", action="store_true", help="of a video: draw the flow as arrows over the frames too")
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    there.add_argument(
        "--skip_existing",
        action="store_true",
        help="keep results that are there already, whatever checkpoint they are of, and compute the others",
    )
    parser.add_argument("--accelerator", default="auto", help="as of Lightning's Trainer (%(default)s)")
    parser.add_argument("--precision", default="32-true", choices=get_args(Precision), help="(%(default)s)")
    predict(**vars(parser.parse_args(arguments[1:])), trusted=trusted)


def predict(
    frames: list[Path],
    *,
    weights: str,
    output: Path,
    submission: Submission | None,
    refine: bool,
    arrows: bool,
    overwrite: bool,
    skip_existing: bool,
    accelerator: str,
    precision: Precision,
    trusted: list[str],
) -> None:
    """Write the flow of every pair of frames, at their own size.

    Args:
        frames: one folder, two images, one video, or the root of a benchmark.
        weights: name of shipped weights, a safetensors file, or a checkpoint of a fit by the command line.
        output: folder to write to: .flo, colour .png and visibility named after a pair's first frame; of a video
            NAME.mp4; of a benchmark its submission.
        submission: the benchmark, or None.
        refine: refine each flow with the solver.
        arrows: draw arrows into the video, too.
        overwrite: replace results that are there already.
        skip_existing: keep results that are there already, and compute the others.
        accelerator, precision: as of Lightning's Trainer.
        trusted: beginnings of names that the checkpoint may ask for, besides ours.

    Raises:
        FileNotFoundError, ValueError: if the weights or a frame cannot be read, or a result would overwrite a frame
            or another result, naming it.
        OSError: if a result is there already, or cannot be written.
    """
    job = task(frames, output, submission=submission, arrows=arrows)
    left = job.without_result() if skip_existing else list(range(len(job.results)))
    if not (overwrite or skip_existing):
        remedy = "add --overwrite to replace them, or --skip_existing to keep them"
        refuse_replacing(list(chain(*job.results)), remedy=remedy)
    refuse_unwritable(file for i in left for file in job.results[i])
    refuse_other_sizes(job.images[i] for i in left if job.images)
    if left:
        network = UnsupervisedFlow.load_from_checkpoint(weights_file(weights), trusted=trusted)
        module = Predictor(network, both_ways=job.writer.both_ways, refine=refine)
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=1,
            precision=precision,
            callbacks=[job.writer],
            logger=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        pairs = job.pairs if len(left) == len(job.results) else Subset(job.pairs, left)
        trainer.predict(module, DataLoader(pairs), return_predictions=False)
    kept = f", {len(job.results) - len(left)} result(s) there already" if skip_existing else ""
    print(  # noqa: T201, the command's answer
        f"Flow of {job.writer.written} pair(s) of frames written to {output} with the weights {weights}{kept}"
    )


def add_weights(parser: ArgumentParser) -> None:
    """Add the option that chooses a network."""
    parser.add_argument(
        "--weights",
        "--ckpt_path",
        dest="weights",
        default=DEFAULT,
        metavar="NAME|FILE",
        help=f"weights that are shipped ({', '.join(shipped_weights())}), a .safetensors file or a checkpoint of a fit "
        "(%(default)s)",
    )


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


class Task(NamedTuple):
    """What a prediction reads and writes.

    Attributes:
        pairs: the pairs of frames.
        writer: writes their flow.
        images: files of each pair; none of a video.
        results: files that each pair becomes; of a video, those of all pairs.
    """

    pairs: Dataset[FlowSample]
    writer: FlowWriter | FlowVideo
    images: list[tuple[Path, Path]]
    results: list[list[Path]]

    def without_result(self) -> list[int]:
        """Places of the results that are not complete."""
        return [i for i, files in enumerate(self.results) if not all(file.is_file() for file in files)]


def task(frames: list[Path], output: Path, *, submission: Submission | None, arrows: bool) -> Task:
    """The pairs to predict, what writes their flow, and the files that it will write.

    Raises:
        FileNotFoundError, ValueError: if the frames are not what they should be, or a result would overwrite one.
    """
    if submission is not None:
        if len(frames) != 1:
            raise ValueError(f"{len(frames)} paths given; --submission {submission} needs one, the benchmark's root.")
        benchmark, packed = submission_task(frames[0], output, submission)
        images = [(pair.image1, pair.image2) for pair in benchmark.pairs]
        found = Task(benchmark, packed, images, [packed.files(pair.name) for pair in benchmark.pairs])
    elif len(frames) == 1 and is_video(frames[0]):
        path, video = output / f"{frames[0].stem}.mp4", VideoPairs(frames[0])
        found = Task(video, FlowVideo(path, rate=video.rate, arrows=arrows), [], [[path]])
    else:
        pairs, writer = FramePairs(frames[0] if len(frames) == 1 else tuple(frames)), FlowWriter(output)
        results = [writer.files(first.stem) for first, _ in pairs.pairs]
        refuse_clashes((file, first) for files, (first, _) in zip(results, pairs.pairs, strict=True) for file in files)
        found = Task(pairs, writer, pairs.pairs, results)
    refuse_overwriting(chain(*found.images) if found.images else frames, list(chain(*found.results)))
    return found


def submission_task(root: Path, output: Path, submission: Submission) -> tuple[BenchmarkPairs, FlowWriter]:
    """The pairs of a benchmark's test set, and what writes their flow as its server takes it."""
    if submission == "sintel":
        return Sintel(root=root, split="test"), SintelSubmission(output)
    if submission == "kitti2015":
        return Kitti(root=root, frames="image_2", split="test"), KittiSubmission(output, folder="flow")
    there = [frames for frames in KITTI_2012 if (root / FOLDERS["test"] / frames).is_dir()]
    return Kitti(root=root, frames=(*there, *KITTI_2012)[0], split="test"), KittiSubmission(output, folder=".")


def is_video(path: Path) -> bool:
    """Whether a path is a file that is not an image."""
    return path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES

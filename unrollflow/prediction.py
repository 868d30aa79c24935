"""`unrollflow predict`: flow of frames, videos and benchmarks' test sets, as files."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Literal, get_args

import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset

from unrollflow.contracts import FlowSample
from unrollflow.data.codecs import IMAGE_SUFFIXES
from unrollflow.data.frames import FramePairs
from unrollflow.data.kitti import Kitti
from unrollflow.data.sintel import Sintel
from unrollflow.data.video import VideoPairs
from unrollflow.module import UnsupervisedFlow
from unrollflow.writers import FlowVideo, FlowWriter, KittiSubmission, SintelSubmission

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Submission = Literal["sintel", "kitti"]


def predict_from_arguments(arguments: list[str], trusted: list[str]) -> None:
    """Parse the arguments of `unrollflow predict` and run it."""
    parser = ArgumentParser("unrollflow predict", description=__doc__)
    parser.add_argument(
        "frames",
        nargs="+",
        type=Path,
        help="a folder of frames in natural order, two images, a video, or the root of a benchmark (see --submission)",
    )
    parser.add_argument("--ckpt_path", required=True, type=Path, help="checkpoint of a fit")
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder to write to (%(default)s)")
    parser.add_argument(
        "--submission", choices=get_args(Submission), help="write what this benchmark's server takes of its test set"
    )
    parser.add_argument("--arrows", action="store_true", help="of a video: draw the flow as arrows over the frames too")
    parser.add_argument("--accelerator", default="auto", help="as of Lightning's Trainer (%(default)s)")
    parser.add_argument("--precision", default="32-true", choices=get_args(Precision), help="(%(default)s)")
    predict(**vars(parser.parse_args(arguments)), trusted=trusted)


def predict(
    frames: list[Path],
    *,
    ckpt_path: Path,
    output: Path,
    submission: Submission | None,
    arrows: bool,
    accelerator: str,
    precision: Precision,
    trusted: list[str],
) -> None:
    """Write the flow of every pair of frames, at their own size.

    Args:
        frames: one folder, two images, one video, or the root of a benchmark.
        ckpt_path: checkpoint of a fit by the command line.
        output: folder to write to: .flo, colour .png and visibility named after a pair's first frame; of a video
            NAME.mp4; of a benchmark its submission.
        submission: the benchmark, or None.
        arrows: draw arrows into the video, too.
        accelerator, precision: as of Lightning's Trainer.
        trusted: beginnings of names that the checkpoint may ask for, besides ours.

    Raises:
        FileNotFoundError, ValueError: if the checkpoint or a frame cannot be read, naming it.
    """
    pairs, writer = task(frames, output, submission=submission, arrows=arrows)
    module = UnsupervisedFlow.load_from_checkpoint(ckpt_path, trusted=trusted)
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,
        callbacks=[writer],
        logger=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.predict(module, DataLoader(pairs), return_predictions=False)
    print(f"Flow of {writer.written} pair(s) of frames written to {output}")  # noqa: T201, the command's answer


def task(
    frames: list[Path], output: Path, *, submission: Submission | None, arrows: bool
) -> tuple[Dataset[FlowSample], FlowWriter | FlowVideo]:
    """The pairs to predict, and what writes their flow.

    Raises:
        FileNotFoundError, ValueError: if the frames are not what they should be.
    """
    if submission is not None:
        if len(frames) != 1:
            raise ValueError(f"{len(frames)} paths given; --submission {submission} needs one, the benchmark's root.")
        if submission == "sintel":
            return Sintel(root=frames[0], split="test"), SintelSubmission(output)
        return Kitti(root=frames[0], split="test"), KittiSubmission(output)
    if len(frames) == 1 and is_video(frames[0]):
        video = VideoPairs(frames[0])
        return video, FlowVideo(output / f"{frames[0].stem}.mp4", rate=video.rate, arrows=arrows)
    return FramePairs(frames[0] if len(frames) == 1 else tuple(frames)), FlowWriter(output)


def is_video(path: Path) -> bool:
    """Whether a path is a file that is no image."""
    return path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES

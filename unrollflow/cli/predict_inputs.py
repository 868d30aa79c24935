"""Inputs of `unrollflow predict`, and the files that it will write."""

import shlex
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

from torch.utils.data import Dataset

from unrollflow.callbacks.flow_writers import (
    ConfidenceMaps,
    FlowNumbers,
    FlowVideo,
    FlowWriter,
    Format,
    PredictionWriter,
)
from unrollflow.callbacks.submissions import KittiSubmission, SintelSubmission, SpringSubmission
from unrollflow.cli.checks import refuse_clashes, refuse_overwriting
from unrollflow.contracts import FlowSample
from unrollflow.data.datasets.benchmark import BenchmarkPairs
from unrollflow.data.datasets.frames import FramePairs, ListedPairs, find_frame_folders
from unrollflow.data.datasets.kitti import FOLDERS, Frames, Kitti
from unrollflow.data.datasets.sintel import Sintel
from unrollflow.data.datasets.spring import Spring
from unrollflow.data.io.files import existing
from unrollflow.data.io.flow import IMAGE_SUFFIXES
from unrollflow.data.video.codec import VideoPairs
from unrollflow.data.video.footage import find_videos
from unrollflow.ops import Calibration

Submission = Literal["sintel", "kitti2012", "kitti2015", "spring"]

KITTI_2012: tuple[Frames, ...] = ("colored_0", "image_0")
"""Folders of the frames of KITTI 2012; the first existing one is used, so colour is preferred."""

SCALE_PAIRS = 8
"""Number of pairs of a video whose flow determines the colour scale."""

LIST = ".txt"
"""Suffix of a text file that lists pairs."""


class ResultOptions(NamedTuple):
    """Options for the results.

    Attributes:
        flow: format of the flow; None: .flo for frames, and no flow files for videos.
        max_flow: flow length with full colour saturation in images, pixels; None: depends on the flow.
        arrows: draw arrows in videos.
        backward: also write the flow from the second image to the first.
        confidence: calibration of the confidence maps to write; None: no maps.
    """

    flow: Format | None = None
    max_flow: float | None = None
    arrows: bool = False
    backward: bool = False
    confidence: Calibration | None = None


class Task(NamedTuple):
    """Inputs and outputs of a prediction.

    Attributes:
        pairs: the pairs of frames.
        writers: writers of their flow; the first one counts the pairs.
        images: files of each pair; empty for a video.
        results: result files of each pair; for a video, one entry with the files of all pairs.
        earlier: files of an earlier prediction that are not among the results.
    """

    pairs: Dataset[FlowSample]
    writers: list[PredictionWriter]
    images: list[tuple[Path, Path]]
    results: list[list[Path]]
    earlier: list[Path]

    def without_result(self) -> list[int]:
        """Places of the results that are not complete."""
        return [i for i, files in enumerate(self.results) if not all(file.is_file() for file in files)]


def tasks(
    inputs: list[Path], output: Path, *, submission: Submission | None, options: ResultOptions, stride: int = 1
) -> list[Task]:
    """Tasks of all inputs, see :func:`~unrollflow.cli.predict.predict`.

    Raises:
        FileNotFoundError, ValueError: as :func:`task`, or if the results of two inputs have the same path.
    """
    images = [path for path in inputs if path.suffix.lower() in IMAGE_SUFFIXES]
    if submission is not None or images:
        return [task(inputs, output, submission=submission, options=options, stride=stride)]
    several = len(inputs) > 1
    clips = [(clip, output / (path.name if several and path.is_dir() else "") / place) for path in inputs
             for clip, place in clips_of(path)]  # fmt: skip
    found = [task([clip], place, submission=None, options=options, stride=stride) for clip, place in clips]
    refuse_clashes((file, clip) for (clip, _), job in zip(clips, found, strict=True) for file in chain(*job.results))
    return found


def clips_of(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each clip of an input, with the folder of its results relative to that of the input.

    A folder with at least two images is one clip; otherwise, each folder of frames and each video below it is a clip.
    """
    folders = find_frame_folders(path) if path.is_dir() else []
    videos = find_videos(path) if path.is_dir() else []
    if path in folders or not (folders or videos):
        yield path, Path()
        return
    yield from ((folder, folder.relative_to(path)) for folder in folders)
    yield from ((video, video.parent.relative_to(path)) for video in videos)


def task(
    frames: list[Path], output: Path, *, submission: Submission | None, options: ResultOptions, stride: int = 1
) -> Task:
    """Task of one clip.

    Raises:
        FileNotFoundError, ValueError: if the frames are invalid, an option does not apply to them, or a result would
            overwrite a frame.
    """
    if stride > 1 and (submission is not None or len(frames) > 1 or frames[0].suffix.lower() == LIST):
        raise ValueError(
            f"--stride {stride} applies only to folders of frames and videos; these inputs are pairs already."
        )
    if submission is not None:
        if options.backward:
            raise ValueError(f"--submission {submission} contains only the forward flow; omit --backward.")
        if options.confidence is not None:
            raise ValueError(f"--submission {submission} does not contain confidence maps; omit --confidence.")
        if len(frames) != 1:
            raise ValueError(f"{len(frames)} paths given; --submission {submission} needs one: the benchmark's root.")
        benchmark, packed = submission_task(frames[0], output, submission)
        images = [(pair.image1, pair.image2) for pair in benchmark.pairs]
        found = Task(benchmark, [packed], images, [packed.files(pair.name) for pair in benchmark.pairs], [])
    elif len(frames) == 1 and is_video(frames[0]):
        found = video_task(frames[0], output, options, stride)
    else:
        found = frames_task(frames, output, options, stride)
    refuse_overwriting(chain(*found.images) if found.images else frames, list(chain(*found.results)))
    return found


def frames_task(frames: list[Path], output: Path, options: ResultOptions, stride: int) -> Task:
    """Task of a folder of frames, of two images or of a list of pairs."""
    pairs: FramePairs | ListedPairs
    if len(frames) == 1 and frames[0].suffix.lower() == LIST:
        pairs = ListedPairs(listed_pairs(frames[0]), root=frames[0].parent)
    else:
        pairs = FramePairs(frames[0] if len(frames) == 1 else tuple(frames), stride=stride)
    writers = [FlowWriter(output, flow=options.flow or "flo", max_flow=options.max_flow, backward=options.backward)]
    writers += [ConfidenceMaps(output, calibration=options.confidence)] if options.confidence else []
    results = [[file for writer in writers for file in writer.files(pairs.name(i))] for i in range(len(pairs))]
    refuse_clashes((file, first) for files, (first, _) in zip(results, pairs.pairs, strict=True) for file in files)
    return Task(pairs, list(writers), pairs.pairs, results, [])


def video_task(video: Path, output: Path, options: ResultOptions, stride: int) -> Task:
    """Task of a video."""
    if options.backward and options.flow is None:
        raise ValueError(f"--backward needs --flow for the video {video}: its backward flow is only written as files.")
    path, pairs = output / f"{video.stem}.mp4", VideoPairs(video, stride=stride)
    beside: list[FlowWriter] = []
    if options.flow is not None:
        beside.append(FlowNumbers(output / f"{video.stem}_flow", flow=options.flow, backward=options.backward))
    if options.confidence is not None:
        folder = output / f"{video.stem}_confidence"
        beside.append(ConfidenceMaps(folder, calibration=options.confidence, of_video=True))
    earlier = [file for writer in beside if writer.output.is_dir() for file in sorted(writer.output.iterdir())]
    scaled_by = pairs.spread(SCALE_PAIRS)
    shown = FlowVideo(path, rate=pairs.rate, arrows=options.arrows, max_flow=options.max_flow, scaled_by=scaled_by)
    return Task(pairs, [shown, *beside], [], [[path]], earlier)


def listed_pairs(path: Path) -> list[tuple[Path, Path]]:
    """Pairs of a text file with two images per line, relative to the file's folder; quote names with spaces.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if a line does not contain two names, naming the line, or the file has no pairs.
    """
    pairs = []
    for number, line in enumerate(existing(path).read_text().splitlines(), 1):
        try:
            names = shlex.split(line, comments=True)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {line!r}: {error}") from None
        if len(names) not in (0, 2):
            raise ValueError(f"{path}, line {number}: {len(names)} names; expected two images per line.")
        if names:
            pairs.append((path.parent / names[0], path.parent / names[1]))
    if not pairs:
        raise ValueError(f"{path} lists no pairs; expected two images per line.")
    return pairs


def submission_task(root: Path, output: Path, submission: Submission) -> tuple[BenchmarkPairs, FlowWriter]:
    """Pairs of a benchmark's test set, and the writer of its submission."""
    if submission == "sintel":
        return Sintel(root=root, split="test"), SintelSubmission(output)
    if submission == "spring":
        spring = Spring(root=root, split="test", cameras=("left", "right"), directions=("FW", "BW"))
        return spring, SpringSubmission(output)
    if submission == "kitti2015":
        return Kitti(root=root, frames="image_2", split="test"), KittiSubmission(output, folder="flow")
    cameras = [frames for frames in KITTI_2012 if (root / FOLDERS["test"] / frames).is_dir()]
    return Kitti(root=root, frames=(*cameras, *KITTI_2012)[0], split="test"), KittiSubmission(output, folder=".")


def is_video(path: Path) -> bool:
    """Whether a path is a file that is neither an image nor a list of pairs."""
    return path.is_file() and path.suffix.lower() not in {*IMAGE_SUFFIXES, LIST}

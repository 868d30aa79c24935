"""What `unrollflow predict` reads, and the files that it will write."""

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
"""Folders of KITTI 2012's frames; those in colour are taken where both are there."""

SCALE_PAIRS = 8
"""Pairs of a video whose flow sets the scale of its colours."""

LIST = ".txt"
"""Ending of a text file that lists pairs."""


class Look(NamedTuple):
    """How results are written.

    Attributes:
        flow: format of the flow; None: .flo for frames, and no numbers for videos.
        max_flow: length of full saturation in pictures, pixels; None: chosen by the flow.
        arrows: draw arrows into videos.
        backward: write the flow of the second image, too.
        confidence: write maps of the confidence with this calibration, too; None: no maps.
    """

    flow: Format | None = None
    max_flow: float | None = None
    arrows: bool = False
    backward: bool = False
    confidence: Calibration | None = None


class Task(NamedTuple):
    """What a prediction reads and writes.

    Attributes:
        pairs: the pairs of frames.
        writers: write their flow; the first one counts.
        images: files of each pair; none of a video.
        results: files that each pair becomes; of a video, those of all pairs.
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
    inputs: list[Path], output: Path, *, submission: Submission | None, look: Look, stride: int = 1
) -> list[Task]:
    """The tasks of all inputs: see :func:`~unrollflow.cli.predict.predict`.

    Raises:
        FileNotFoundError, ValueError: as :func:`task`, or if two inputs have a result in one file.
    """
    images = [path for path in inputs if path.suffix.lower() in IMAGE_SUFFIXES]
    if submission is not None or images:
        return [task(inputs, output, submission=submission, look=look, stride=stride)]
    several = len(inputs) > 1
    clips = [(clip, output / (path.name if several and path.is_dir() else "") / place) for path in inputs
             for clip, place in clips_of(path)]  # fmt: skip
    found = [task([clip], place, submission=None, look=look, stride=stride) for clip, place in clips]
    refuse_clashes((file, clip) for (clip, _), job in zip(clips, found, strict=True) for file in chain(*job.results))
    return found


def clips_of(path: Path) -> Iterator[tuple[Path, Path]]:
    """Each clip of an input, with the folder of its results below that of the input's.

    A folder that holds two images or more is one clip; otherwise every folder of frames and every video below it is.
    """
    folders = find_frame_folders(path) if path.is_dir() else []
    videos = find_videos(path) if path.is_dir() else []
    if path in folders or not (folders or videos):
        yield path, Path()
        return
    yield from ((folder, folder.relative_to(path)) for folder in folders)
    yield from ((video, video.parent.relative_to(path)) for video in videos)


def task(frames: list[Path], output: Path, *, submission: Submission | None, look: Look, stride: int = 1) -> Task:
    """The pairs of one clip, what writes their flow, and the files that it will write.

    Raises:
        FileNotFoundError, ValueError: if the frames are not what they should be, an option does not apply to them, or
            a result would overwrite one.
    """
    if stride > 1 and (submission is not None or len(frames) > 1 or frames[0].suffix.lower() == LIST):
        raise ValueError(
            f"--stride {stride} applies to folders of frames and videos; these inputs say which images are pairs."
        )
    if submission is not None:
        if look.backward:
            raise ValueError(f"--backward: {submission}'s server takes the forward flow alone; omit one of both.")
        if look.confidence is not None:
            raise ValueError(f"--submission {submission} holds no maps of confidence; omit --confidence.")
        if len(frames) != 1:
            raise ValueError(f"{len(frames)} paths given; --submission {submission} needs one, the benchmark's root.")
        benchmark, packed = submission_task(frames[0], output, submission)
        images = [(pair.image1, pair.image2) for pair in benchmark.pairs]
        found = Task(benchmark, [packed], images, [packed.files(pair.name) for pair in benchmark.pairs], [])
    elif len(frames) == 1 and is_video(frames[0]):
        found = video_task(frames[0], output, look, stride)
    else:
        found = frames_task(frames, output, look, stride)
    refuse_overwriting(chain(*found.images) if found.images else frames, list(chain(*found.results)))
    return found


def frames_task(frames: list[Path], output: Path, look: Look, stride: int) -> Task:
    """The task of a folder of frames, of two images or of a list of pairs."""
    pairs: FramePairs | ListedPairs
    if len(frames) == 1 and frames[0].suffix.lower() == LIST:
        pairs = ListedPairs(listed_pairs(frames[0]), root=frames[0].parent)
    else:
        pairs = FramePairs(frames[0] if len(frames) == 1 else tuple(frames), stride=stride)
    writers = [FlowWriter(output, flow=look.flow or "flo", max_flow=look.max_flow, backward=look.backward)]
    writers += [ConfidenceMaps(output, calibration=look.confidence)] if look.confidence else []
    results = [[file for writer in writers for file in writer.files(pairs.name(i))] for i in range(len(pairs))]
    refuse_clashes((file, first) for files, (first, _) in zip(results, pairs.pairs, strict=True) for file in files)
    return Task(pairs, list(writers), pairs.pairs, results, [])


def video_task(video: Path, output: Path, look: Look, stride: int) -> Task:
    """The task of a video."""
    if look.backward and look.flow is None:
        raise ValueError(f"--backward: the backward flow of a video, {video}, is written as numbers alone; add --flow.")
    path, pairs = output / f"{video.stem}.mp4", VideoPairs(video, stride=stride)
    beside: list[FlowWriter] = []
    if look.flow is not None:
        beside.append(FlowNumbers(output / f"{video.stem}_flow", flow=look.flow, backward=look.backward))
    if look.confidence is not None:
        folder = output / f"{video.stem}_confidence"
        beside.append(ConfidenceMaps(folder, calibration=look.confidence, of_video=True))
    earlier = [file for writer in beside if writer.output.is_dir() for file in sorted(writer.output.iterdir())]
    scaled_by = pairs.spread(SCALE_PAIRS)
    shown = FlowVideo(path, rate=pairs.rate, arrows=look.arrows, max_flow=look.max_flow, scaled_by=scaled_by)
    return Task(pairs, [shown, *beside], [], [[path]], earlier)


def listed_pairs(path: Path) -> list[tuple[Path, Path]]:
    """The pairs of a text file: two images a line, relative to the file's folder; names with spaces in quotes.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the line, if it does not hold two names; if there is no line.
    """
    pairs = []
    for number, line in enumerate(existing(path).read_text().splitlines(), 1):
        try:
            names = shlex.split(line, comments=True)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {line!r}: {error}") from None
        if len(names) not in (0, 2):
            raise ValueError(f"{path}, line {number}: {len(names)} names; two images a line are needed.")
        if names:
            pairs.append((path.parent / names[0], path.parent / names[1]))
    if not pairs:
        raise ValueError(f"{path} lists no pairs; two images a line are needed.")
    return pairs


def submission_task(root: Path, output: Path, submission: Submission) -> tuple[BenchmarkPairs, FlowWriter]:
    """The pairs of a benchmark's test set, and what writes their flow as its server takes it."""
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

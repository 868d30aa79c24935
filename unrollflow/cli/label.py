"""`unrollflow label`: write flow labels of your frames for a second stage; occluded parts use the previous frame."""

import json
from argparse import ArgumentParser
from hashlib import sha256
from pathlib import Path
from typing import get_args

import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unrollflow.callbacks.flow_writers import FlowWriter
from unrollflow.cli.checks import refuse_other_sizes, refuse_unwritable
from unrollflow.cli.networks import Precision, add_device, add_weights, one_device_trainer
from unrollflow.contracts import FlowSample, Prediction
from unrollflow.data.datasets.frames import consecutive_pairs, find_frame_folders, list_frames, read_pair
from unrollflow.data.datasets.labelled_frames import label_path
from unrollflow.data.io.files import write_atomic
from unrollflow.data.io.flow import read_image, write_flo
from unrollflow.ops.fusion import fuse_flow
from unrollflow.training.module import UnsupervisedFlow
from unrollflow.variational import LinearisedFlow, Preset, preset_solver
from unrollflow.weights import DEFAULT, weights_file

RECORD = "made_by.json"
"""File beside the labels that names the checkpoint or solver that computed them."""

UNKNOWN = 1e10
"""Value of both components of unknown flow in a .flo file."""


def run(arguments: list[str], trusted: list[str]) -> None:
    """Parse the arguments of `unrollflow label` and run it."""
    parser = ArgumentParser("unrollflow label", description=__doc__)
    parser.add_argument("root", type=Path, help="a folder of frames in natural order, or of such folders at any depth")
    add_weights(parser)
    parser.add_argument(
        "--solver", choices=get_args(Preset), help="compute the labels without a network, like `unrollflow estimate`"
    )
    parser.add_argument("--output", required=True, type=Path, help="folder to write NAME.flo to, in the same tree")
    add_device(parser)
    label(**vars(parser.parse_args(arguments[1:])), trusted=trusted)


def label(
    root: Path,
    *,
    weights: str,
    solver: Preset | None,
    output: Path,
    accelerator: str,
    precision: Precision,
    trusted: list[str],
) -> None:
    """Write a label for every frame that has a next frame; existing labels are kept.

    Args:
        root: a folder of frames, or of such folders.
        weights: name of shipped weights, a safetensors file, or a checkpoint of `unrollflow fit`.
        solver: preset of the solver that computes the labels instead of a network; None: use the network.
        output: folder to write to.
        accelerator, precision: settings of Lightning's Trainer.
        trusted: prefixes of names that the checkpoint may use, in addition to those of this package.

    Raises:
        FileNotFoundError, ValueError: if the checkpoint or a frame cannot be read, naming it, both weights and a solver
            are given, or existing labels are of another or an unknown source.
        OSError: if a label cannot be written.
    """
    if solver is not None and weights != DEFAULT:
        raise ValueError(f"--solver {solver} and --weights {weights} exclude each other; omit one of them.")
    frames = Triplets(root, output)
    if len(frames):
        refuse_unwritable([output / RECORD, *(label_path(frame, root, output) for _, frame, _ in frames.triplets)])
    refuse_other_sizes(
        pair for before, first, second in frames.triplets for pair in ((before or first, first), (first, second))
    )
    source: dict[str, str]
    if solver is not None:
        module, source = Labeller(preset_solver(solver)), {"solver": solver}
    else:
        file = weights_file(weights)
        module = Labeller(UnsupervisedFlow.load_from_checkpoint(file, trusted=trusted))
        source = {"checkpoint": str(file), "sha256": sha256(file.read_bytes()).hexdigest()}
    refuse_other_source(source, output, existing=frames.labelled)
    writer = LabelWriter(output)
    if len(frames):
        trainer = one_device_trainer([writer], accelerator=accelerator, precision=precision)
        trainer.predict(module, DataLoader(frames), return_predictions=False)
    print(  # noqa: T201, the command's answer
        f"{writer.written} label(s) written to {output}, {frames.labelled} existed already; "
        f"{100 * module.share_filled:.1f} % of the occluded pixels were filled in from the previous frame"
    )


def refuse_other_source(source: dict[str, str], output: Path, *, existing: int) -> None:
    """Record the source of the labels in a folder; raise ValueError if existing labels may be of another source.

    Args:
        source: the checkpoint and its SHA-256, or the preset of the solver.
        output: folder of the labels.
        existing: number of existing labels.
    """
    record = output / RECORD
    if not record.is_file():
        if existing:
            raise ValueError(
                f"{output} contains {existing} label(s) of an unknown source: {RECORD} is missing; "
                "choose another --output."
            )
        write_atomic(record, json.dumps(source).encode())
    elif identity(record.read_bytes()) != identity(json.dumps(source).encode()):
        raise ValueError(
            f"{output} contains labels of another checkpoint or solver, see {record}; choose another --output."
        )


def identity(record: bytes) -> dict[str, str] | None:
    """Source of labels according to a record, without the checkpoint's path; None if it cannot be read.

    >>> identity(b'{"checkpoint": "last.ckpt", "sha256": "ab12"}'), identity(b'{"solver": "fast"}'), identity(b"{")
    ({'sha256': 'ab12'}, {'solver': 'fast'}, None)
    """
    try:
        source = json.loads(record)
    except ValueError:
        return None
    return {key: value for key, value in source.items() if key != "checkpoint"} if isinstance(source, dict) else None


class Triplets(Dataset[FlowSample]):
    """Every frame with the next frame and, except for the first of a sequence, the previous one; named by its path.

    Args:
        root: a folder of frames, or of such folders at any depth.
        labels: frames with a label below this folder are skipped.

    Attributes:
        labelled: number of skipped frames.

    Raises:
        FileNotFoundError: if there are fewer than two frames.
    """

    def __init__(self, root: Path, labels: Path) -> None:
        self.root = root
        if not root.is_dir():
            raise FileNotFoundError(f"no folder {root}; expected a folder of frames, or of such folders.")
        folders = [list_frames(folder) for folder in find_frame_folders(root)]
        if not folders:
            raise FileNotFoundError(f"{root} contains no folder with at least two frames, at any depth.")
        pairs = consecutive_pairs(folders)
        before = {second: first for first, second in pairs}
        triplets = [(before.get(first), first, second) for first, second in pairs]
        self.triplets = [t for t in triplets if not label_path(t[1], root, labels).is_file()]
        self.labelled = len(triplets) - len(self.triplets)

    def __len__(self) -> int:
        return len(self.triplets)

    def __getitem__(self, index: int) -> FlowSample:
        before, first, second = self.triplets[index]
        image1, image2 = read_pair(first, second)
        name = str(first.relative_to(self.root).with_suffix(""))
        sample = FlowSample(image1=image1, image2=image2, name=name)
        return sample if before is None else sample | {"previous": read_image(before)}


class Labeller(pl.LightningModule):
    """Predicts the flow of a frame, filled in from the previous frame, and the mask of known flow.

    Args:
        network: a trained module, or a solver.

    Attributes:
        share_filled: share of the occluded pixels so far that were filled from the previous frame.
    """

    def __init__(self, network: UnsupervisedFlow | LinearisedFlow) -> None:
        super().__init__()
        self.network = network
        self.occluded, self.filled = 0, 0

    @property
    def share_filled(self) -> float:
        """Share of filled pixels; 0 if no pixels were occluded."""
        return self.filled / max(self.occluded, 1)

    def predict_step(self, batch: FlowSample, batch_idx: int) -> Prediction:
        """Flow to the next frame, backward flow, and the mask of known forward flow."""
        following: Prediction = self.network(batch["image1"], batch["image2"])
        self.occluded += int((following.visible == 0).sum())
        if "previous" not in batch:
            return following
        previous: Prediction = self.network(batch["image1"], batch["previous"])
        fused = fuse_flow(following.flow, following.visible, previous.flow, previous.visible)
        self.filled += int(fused.filled.sum())
        return Prediction(fused.flow, following.flow_backward, fused.known.to(fused.flow))


class LabelWriter(FlowWriter):
    """Writes NAME.flo, with 1e10 px for unknown flow, as Middlebury does."""

    pictures = ()

    def write(self, files: list[Path], flow: Tensor, visible: Tensor | None) -> None:
        """Write one label."""
        write_flo(files[0], flow if visible is None else flow.where(visible > 0, UNKNOWN))

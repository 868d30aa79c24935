"""`unrollflow label`: flow of one's own frames as labels for a second stage, occluded parts from the frame before."""

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
"""Beside the labels: the checkpoint or the solver that they are of."""

UNKNOWN = 1e10
"""What both components of unknown flow are in a .flo file."""


def run(arguments: list[str], trusted: list[str]) -> None:
    """Parse the arguments of `unrollflow label` and run it."""
    parser = ArgumentParser("unrollflow label", description=__doc__)
    parser.add_argument("root", type=Path, help="a folder of frames in natural order, or of such folders at any depth")
    add_weights(parser)
    parser.add_argument(
        "--solver", choices=get_args(Preset), help="compute the labels without a network, as `unrollflow estimate` does"
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
    """Write a label for every frame that has a next one; labels that are there already stay as they are.

    Args:
        root: a folder of frames, or of such folders.
        weights: name of shipped weights, a safetensors file, or a checkpoint of a fit by the command line.
        solver: preset of the solver that computes the labels in a network's place; None: the network.
        output: folder to write to.
        accelerator, precision: as of Lightning's Trainer.
        trusted: beginnings of names that the checkpoint may ask for, in addition to ours.

    Raises:
        FileNotFoundError, ValueError: if the checkpoint or a frame cannot be read, naming it, or both weights and a
            solver are named, or the labels that are there already are of another source, or of an unknown one.
        OSError: if a label cannot be written.
    """
    if solver is not None and weights != DEFAULT:
        raise ValueError(f"--solver {solver} computes without the network of --weights {weights}; omit one of both.")
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
        f"{writer.written} label(s) written to {output}, {frames.labelled} there already; of the occluded pixels "
        f"{100 * module.share_filled:.1f} % were filled in from the frame before"
    )


def refuse_other_source(source: dict[str, str], output: Path, *, existing: int) -> None:
    """Write down whose labels a folder holds; raise ValueError if existing ones may be of another source.

    Args:
        source: the checkpoint and its SHA-256, or the preset of the solver.
        output: folder of the labels.
        existing: how many it holds.
    """
    record = output / RECORD
    if not record.is_file():
        if existing:
            raise ValueError(f"{output} holds {existing} label(s), but no {RECORD} of whose; name another --output.")
        write_atomic(record, json.dumps(source).encode())
    elif identity(record.read_bytes()) != identity(json.dumps(source).encode()):
        raise ValueError(f"{output} holds labels of another checkpoint or solver, see {record}; name another --output.")


def identity(record: bytes) -> dict[str, str] | None:
    """What a record says of the source of labels, without the checkpoint's path; None if it cannot be read.

    >>> identity(b'{"checkpoint": "last.ckpt", "sha256": "ab12"}'), identity(b'{"solver": "fast"}'), identity(b"{")
    ({'sha256': 'ab12'}, {'solver': 'fast'}, None)
    """
    try:
        source = json.loads(record)
    except ValueError:
        return None
    return {key: value for key, value in source.items() if key != "checkpoint"} if isinstance(source, dict) else None


class Triplets(Dataset[FlowSample]):
    """Every frame with its next one and, but for the first of a sequence, the one before; named by its path.

    Args:
        root: a folder of frames, or of such folders at any depth.
        labels: frames with a label below this folder are skipped.

    Attributes:
        labelled: how many these are.

    Raises:
        FileNotFoundError: if there are no two frames.
    """

    def __init__(self, root: Path, labels: Path) -> None:
        self.root = root
        if not root.is_dir():
            raise FileNotFoundError(f"no folder {root}; give a folder of frames, or one of such folders.")
        folders = [list_frames(folder) for folder in find_frame_folders(root)]
        if not folders:
            raise FileNotFoundError(f"{root} holds no folder of at least two frames, at any depth.")
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
    """Predicts the flow of a frame, filled in from the frame before, and where it is known.

    Args:
        network: a trained module, or a solver.

    Attributes:
        share_filled: share of the occluded pixels, so far, that the frame before has filled.
    """

    def __init__(self, network: UnsupervisedFlow | LinearisedFlow) -> None:
        super().__init__()
        self.network = network
        self.occluded, self.filled = 0, 0

    @property
    def share_filled(self) -> float:
        """0 where nothing was occluded."""
        return self.filled / max(self.occluded, 1)

    def predict_step(self, batch: FlowSample, batch_idx: int) -> Prediction:
        """Flow to the next frame, its inverse, and where the first is known."""
        following: Prediction = self.network(batch["image1"], batch["image2"])
        self.occluded += int((following.visible == 0).sum())
        if "previous" not in batch:
            return following
        previous: Prediction = self.network(batch["image1"], batch["previous"])
        fused = fuse_flow(following.flow, following.visible, previous.flow, previous.visible)
        self.filled += int(fused.filled.sum())
        return Prediction(fused.flow, following.flow_backward, fused.known.to(fused.flow))


class LabelWriter(FlowWriter):
    """Writes NAME.flo, with flow of 1e10 px where it is not known, as Middlebury does."""

    pictures = ()

    def write(self, files: list[Path], flow: Tensor, visible: Tensor | None) -> None:
        """Write one label."""
        write_flo(files[0], flow if visible is None else flow.where(visible > 0, UNKNOWN))

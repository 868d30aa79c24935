"""Write the table of backbones: size, operations and time, and errors of the small versions without labels.

    python -m benchmarks.backbones             # on a quiet machine; finished runs are skipped
    python -m benchmarks.backbones --short     # check that everything runs; the figures have no meaning

Parameters, operations (of convolutions and matrix products; a multiplication and an addition are two) and time are of
the networks of `configs/backbone`, for the flow in one direction of a pair of 436x1024, padded to the multiples of each
network. The errors are of the small versions with equal training: data, photometric loss, smoothness, optimizer, rate
and number of steps of the quickstart, one seed. They are measured on the test split, which was not used for any choice,
together with the error of zero flow. Training with ground truth uses 2000 samples, like training without labels, or
enough samples that each one is used once.
"""

import argparse
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import yaml
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.inference import SIZE, by_network
from benchmarks.measuring import in_turn, machine
from experiments.common.assembly import CONFIGS, build, build_model
from experiments.common.grid import Results, Row, run_grid
from experiments.common.results import write_table
from unrollflow.contracts import FlowSample
from unrollflow.data import FlowDataModule
from unrollflow.metrics import endpoint_error
from unrollflow.models import FlowNet2
from unrollflow.ops import pad_to_multiple
from unrollflow.training.module import UnsupervisedFlow

QUICKSTART = CONFIGS / "experiment" / "quickstart_pwclite.yaml"
DATA = CONFIGS / "data" / "moving_layers.yaml"
FULL_SIZE = {"height": SIZE[0], "width": SIZE[1], "repeats": 3}
STEPS, IMAGES = 1000, 512
CLIPPED_NORM = 1.0
NETWORKS = {
    "PWC-Lite": ("pwclite", "pwclite_small"),
    "RAFT": ("raft_convex", "raft_small"),
    "FlowNetS": ("flownets", "flownets_small"),
    "FlowNetC": ("flownetc", "flownetc_small"),
    "FlowNet 2.0": ("flownet2", "flownet2_small"),
    "SPyNet": ("spynet", "spynet_small"),
    "LikeNet": ("likenet", "likenet_small"),
}
"""Files of configs/backbone of the published and of the small network."""

OBJECTIVES = {"raft_small": "iterates"}
"""Objectives that differ from that of the quickstart."""

SAMPLES, FRESH_SAMPLES = 2000, 8000
"""Training samples: those of the quickstart for four epochs, and those of one epoch with the same number of steps."""

LABELLED = {"atom": "flownets_small", "objective": "supervised_flownet_small"}
MORE: dict[str, dict[str, str | int]] = {
    f"FlowNetS, on ground truth, {SAMPLES} samples": LABELLED | {"samples": SAMPLES},
    f"FlowNetS, on ground truth, {FRESH_SAMPLES} samples": LABELLED | {"samples": FRESH_SAMPLES},
    "LikeNet, its own objective": {"atom": "likenet_small", "objective": "likelihood"},
}
"""Small networks with other objectives: settings that differ from the rows above."""


def network(atom: str) -> nn.Module:
    """Return the network of a file of configs/backbone with all its parts enabled."""
    made = build_model(QUICKSTART, backbone=CONFIGS / "backbone" / f"{atom}.yaml").backbone
    if isinstance(made, FlowNet2):
        made.trained = "fusion"
    return made


def sized(*, atom: str, height: int, width: int, repeats: int) -> Results:
    """Return parameters, GFLOP and median seconds of a network."""
    size = (height, width)
    net = network(atom)
    pair = torch.rand(2, 1, 3, *size).unbind()
    (milliseconds,) = in_turn([lambda: by_network(net)(*pair)], repeats=repeats)
    images = [pad_to_multiple(image, net.stride) for image in pair]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*images)
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        "gflop": counter.get_total_flops() / 1e9,
        "seconds": milliseconds / 1000,
    }


def trained(*, atom: str, objective: str, steps: int, images: int, seed: int, samples: int = SAMPLES) -> Results:
    """Return the errors of a trained network and of zero flow on the test split."""
    torch.manual_seed(seed)
    model = build_model(
        QUICKSTART,
        backbone=CONFIGS / "backbone" / f"{atom}.yaml",
        objective=CONFIGS / "objective" / f"{objective}.yaml",
    )
    data = layers(images, seed, samples=samples, labels=objective.startswith("supervised"))
    descend(model, endless(data), steps)
    errors, zero = measured(model, data)
    return {"parameters": sum(p.numel() for p in model.backbone.parameters()), "epe": errors, "zero_epe": zero}


def layers(images: int, seed: int, *, samples: int, labels: bool) -> FlowDataModule:
    """Return configs/data/moving_layers.yaml, rendered in this process; with temporal flips only without labels."""
    atom = yaml.safe_load(DATA.read_text())
    atom["train"]["init_args"]["length"], atom["test"]["init_args"]["length"] = samples, images
    if labels:
        transforms = atom["transform"]["init_args"]["transforms"]
        atom["transform"]["init_args"]["transforms"] = [t for t in transforms if "TemporalSwap" not in t["class_path"]]
    return build(FlowDataModule, atom | {"workers": 0, "seed": seed})


def endless(data: FlowDataModule) -> Iterator[FlowSample]:
    """Yield the training batches of all epochs."""
    loader = data.train_dataloader()
    for epoch in itertools.count():
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # the data module's own sampler
        yield from loader


def descend(model: UnsupervisedFlow, batches: Iterator[FlowSample], steps: int) -> None:
    """Run the steps of the quickstart in a plain loop; the cosine schedule ends at the last step."""
    optimizer = model.configure_optimizers()["optimizer"]
    scheduler = CosineAnnealingLR(optimizer, T_max=steps)
    model.train()
    for step, batch in zip(range(steps), batches, strict=False):
        cost = model.objective(batch, *model.backbone.bidirectional(batch["image1"], batch["image2"]), step=step)
        optimizer.zero_grad()
        cost.total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIPPED_NORM)
        optimizer.step()
        scheduler.step()


@torch.no_grad()
def measured(model: UnsupervisedFlow, data: FlowDataModule) -> tuple[float, float]:
    """Return the end-point errors of a model and of zero flow on the test split, means of images, pixels."""
    model.eval()
    errors, zeros = [], []
    for batch in data.test_dataloader():
        flow = model(batch["image1"], batch["image2"]).flow
        errors.append(endpoint_error(flow, batch["flow"]).mean(dim=(1, 2)))
        zeros.append(endpoint_error(torch.zeros_like(flow), batch["flow"]).mean(dim=(1, 2)))
    return torch.cat(errors).mean().item(), torch.cat(zeros).mean().item()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the missing measurements and trainings, and write the table."""
    options = parser().parse_args(arguments)
    size = {"height": 128, "width": 128, "repeats": 1} if options.short else FULL_SIZE
    budget = {"steps": 2 if options.short else options.steps, "images": 2 if options.short else IMAGES, "seed": 0}
    networks = [{"atom": full, **size} for full, _ in NETWORKS.values()]
    trainings = [{"atom": atom, "objective": OBJECTIVES.get(atom, "plain"), **budget} for _, atom in NETWORKS.values()]
    trainings += [more | budget for more in MORE.values()]
    sizes = run_grid(networks, sized, options.folder / "sizes.jsonl", about="sizes")
    ends = run_grid(
        trainings, trained, options.folder / "trainings.jsonl", processes=options.processes, about="trainings"
    )
    headings = [
        "backbone", "parameters", f"GFLOP at {size['height']}x{size['width']}", "s on the CPU",
        "parameters of the small version", f"its EPE after {budget['steps']} steps (px)", "minutes (wall)",
    ]  # fmt: skip
    write_table(options.folder, headings, lines(sizes, ends))
    print(f"{(options.folder / 'table.md').read_text()}\n{machine()}")


def lines(sizes: Sequence[Row], ends: Sequence[Row]) -> list[list[str | int | float]]:
    """Return a line for each network, each other objective, and zero flow."""
    found: list[list[str | int | float]] = []
    for name, size in itertools.zip_longest([*NETWORKS, *MORE], sizes):
        published = [f"{size['results'][key]:,.4g}" for key in ("gflop", "seconds")] if size else ["", ""]
        count = f"{size['results']['parameters']:,}" if size else ""
        end = ends[len(found)]
        found.append([
            name, count, *published, f"{end['results']['parameters']:,}", end["results"]["epe"], end["seconds"] / 60,
        ])  # fmt: skip
    return [*found, ["zero flow", "", "", "", "", ends[0]["results"]["zero_epe"], ""]]


def parser() -> argparse.ArgumentParser:
    """Parse the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--short", action="store_true", help="small frames, two steps: a check that all of it runs")
    made.add_argument("--steps", type=int, default=STEPS, help="of each training (%(default)s, the quickstart's)")
    made.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="trainings at a time (%(default)s)")
    made.add_argument("--folder", type=Path, default=Path("benchmarks/results/backbones"), help="(%(default)s)")
    return made


if __name__ == "__main__":
    main()

"""Parts of a run built from their YAML files in this process, in a tenth of the command's time."""

from pathlib import Path
from typing import Any, TypeVar, cast
from unittest import mock

import torch
import yaml
from jsonargparse import ArgumentParser

from unrollflow.contracts import FlowSample
from unrollflow.data.datamodule import collate
from unrollflow.module import UnsupervisedFlow

CONFIGS = Path(__file__).parents[1] / "configs"
T = TypeVar("T")


def build(cls: type[T], config: dict[str, Any]) -> T:
    """An object of a class from its arguments as a YAML file gives them."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls, "part")
    return cast(T, parser.instantiate(parser.parse_object({"part": config})).part)


def build_model(experiment: Path, **atoms: Path) -> UnsupervisedFlow:
    """The model of an experiment, some of its parts exchanged."""
    config = yaml.safe_load(experiment.read_text())["model"]
    for part, value in config.items():
        if isinstance(value, str):
            config[part] = yaml.safe_load((experiment.parent / value).read_text())
    return build(UnsupervisedFlow, config | {part: yaml.safe_load(path.read_text()) for part, path in atoms.items()})


def step(model: UnsupervisedFlow, batch: FlowSample) -> None:
    """What a late training step computes: a batch's loss, and a finite gradient of every weight that it reaches."""
    with mock.patch.object(UnsupervisedFlow, "global_step", 10**6):
        loss = model.training_step(batch, 0)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert loss.isfinite()
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def frames(side: int) -> FlowSample:
    """A batch of noise, with square superpixels, and a flow to learn."""
    image1, image2 = (torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    rows = 10 * torch.arange(side) // side
    segments = 10 * rows.unsqueeze(1) + rows
    return collate(
        [
            FlowSample(image1=image1[i], image2=image2[i], name=f"noise {i}", segments=segments, flow=image1[i, :2])
            for i in range(2)
        ]
    )

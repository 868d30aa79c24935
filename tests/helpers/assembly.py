"""A training step and a batch for models of experiment files."""

from unittest import mock

import torch

from unrollflow.contracts import FlowSample
from unrollflow.data.datamodule import collate
from unrollflow.training import UnsupervisedFlow


def step(model: UnsupervisedFlow, batch: FlowSample) -> None:
    """Check a late training step: a finite loss of a batch, and a finite gradient of every weight that has one."""
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

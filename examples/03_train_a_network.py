"""
Train a network
===============

Train a small network without labels, in Python, with Lightning. The data are rendered by the package.
"""

from functools import partial

import matplotlib.pyplot as plt
import pytorch_lightning as pl
import torch

from unrollflow import (
    Census,
    FlowDataModule,
    MovingLayers,
    RangeMap,
    UnrolledTotalVariation,
    UnsupervisedFlow,
    UnsupervisedObjective,
)
from unrollflow.metrics import endpoint_error
from unrollflow.models import PyramidMatcher
from unrollflow.visualization.flow import panel

pl.seed_everything(0)

# %%
# `MovingLayers` renders pairs of textured shapes that move over a background, with exact flow. Training reads the
# images only; validation uses the flow to measure the error.

data = FlowDataModule(
    train=MovingLayers(split="train", size=(80, 80), length=400, foreground_translation=6.0),
    validation=MovingLayers(split="validation", size=(64, 64), length=16, foreground_translation=6.0),
    batch_size=4,
    validation_batch_size=16,
    workers=0,
)

# %%
# A module consists of a network, a photometric loss, a smoothness term and the objective that combines them. The
# lists weight the network's five estimates, from coarse to fine.

module = UnsupervisedFlow(
    backbone=PyramidMatcher(),
    photometric=Census(patch_size=7),
    smoothness=UnrolledTotalVariation(lam=0.3, rho=1.0, steps=4, detach=True, initial_term=False),
    objective=partial(
        UnsupervisedObjective,
        visibility=RangeMap(),
        smoothness_weight=2.5,
        level_weights=[0.0, 0.5, 0.5, 0.5, 1.0],
        smoothness_level_weights=[0.0, 0.5, 0.5, 0.5, 1.0],
        smoothness_field="flow",
    ),
    optimizer=partial(torch.optim.AdamW, lr=3e-3),
)

# %%
# The Trainer is Lightning's. Lightning keeps the mode of the module: it must be in training mode before `fit`. This
# example runs a few steps only. A usable network takes some minutes more:
# `unrollflow fit --config configs/experiment/quickstart.yaml`.

held_out = MovingLayers(split="test", size=(64, 64), length=8, foreground_translation=6.0)


def mean_error() -> float:
    """Mean end-point error of the held-out samples in pixels."""
    module.eval()
    with torch.no_grad():
        errors = [
            endpoint_error(module.one_way(s["image1"][None], s["image2"][None]), s["flow"][None]).mean()
            for s in map(held_out.__getitem__, range(8))
        ]
    module.train()
    return float(torch.stack(errors).mean())


before = mean_error()
trainer = pl.Trainer(
    accelerator="cpu",
    max_steps=60,
    limit_val_batches=0,
    gradient_clip_val=1.0,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(module, data)
print(f"end-point error before: {before:.2f} px, after {trainer.global_step} steps: {mean_error():.2f} px")

# %%
# Compare a prediction with the ground truth. Calling the module returns the flow in both directions and a map of the
# visible pixels.

module.eval()
sample = held_out[0]
with torch.no_grad():
    prediction = module(sample["image1"][None], sample["image2"][None])
picture = panel(
    image1=sample["image1"],
    prediction=prediction.flow[0],
    visible=prediction.visible[0],
    target=sample["flow"],
    occluded=sample["occluded"],
)
figure, axis = plt.subplots(figsize=(12, 2.4), layout="constrained")
axis.imshow(picture.movedim(0, -1))
axis.axis("off")
plt.show()

"""
Your own smoothness term
========================

Write a smoothness term and use it in a plain torch loop, without Lightning and without a configuration file.
"""

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from unrollflow import Census, MovingLayers, Smoothness, TotalVariation, UnrolledTotalVariation, warp
from unrollflow.metrics import endpoint_error
from unrollflow.visualization.flow import flow_to_rgb

# %%
# A smoothness term is a subclass of :class:`unrollflow.losses.Smoothness` with one method, `penalty`. The base class
# computes the flow gradient and its edge weights.


class GemanMcClure(Smoothness):
    """Bounded penalty d^2 / (d^2 + scale^2).

    Args:
        scale: gradient with half of the largest penalty, pixels per pixel.
    """

    def __init__(self, *, scale: float = 0.3) -> None:
        super().__init__(edge_alpha=10.0)
        self.scale = scale

    def penalty(self, gradient: Tensor) -> Tensor:
        """Elementwise penalty of a gradient of any shape."""
        square = gradient.square()
        return square / (square + self.scale**2)


# %%
# The loop minimises a photometric loss and a smoothness term over the flow itself. It starts from zero flow; the
# motions of this pair are small. With a network, the optimizer gets the network's parameters instead.

sample = MovingLayers(split="test", size=(64, 96), background_translation=1.5, foreground_translation=2.5)[3]
image1, image2, truth = (sample[key].unsqueeze(0) for key in ("image1", "image2", "flow"))
photometric = Census(patch_size=7)


def minimise(smoothness: Smoothness, weight: float, steps: int = 200) -> Tensor:
    """Flow (1, 2, H, W) in pixels that minimises the photometric loss plus the weighted smoothness."""
    flow = torch.zeros_like(truth).requires_grad_()
    optimizer = torch.optim.Adam([flow], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = photometric(image1, warp(image2, flow)).mean() + weight * smoothness(flow, image1)
        loss.backward()
        optimizer.step()
    return flow.detach()


# %%
# Each term has its own scale, so each needs its own weight. These are the best of four weights for this pair. The
# errors show that the terms work. A comparison needs more pairs, finer tuning and test data. With a larger weight,
# total variation keeps the flow near its start: its slope is 1 even for small gradients, and there is no warm-up here.

flows = {
    "own term": minimise(GemanMcClure(), weight=1.0),
    "total variation": minimise(TotalVariation(), weight=0.5),
    "unrolled": minimise(UnrolledTotalVariation(lam=0.3, rho=1.0), weight=3.0),
}
for name, flow in {"zero flow": torch.zeros_like(truth), **flows}.items():
    print(f"{name:16} end-point error {endpoint_error(flow, truth).mean():.2f} px")

longest = float(truth.norm(dim=1).max())
figure, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained")
for axis, (name, flow) in zip(axes.flat, {"ground truth": truth, **flows}.items(), strict=True):
    axis.imshow(flow_to_rgb(flow[0], max_flow=longest).movedim(0, -1))
    axis.set(title=name, xticks=[], yticks=[])
plt.show()

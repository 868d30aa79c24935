"""
Refine a flow with the solver
=============================

Improve the flow of a network with the classical solver, and look at where the error changes.
"""

import time

import matplotlib.pyplot as plt

import unrollflow
from unrollflow.data import StereoMotorcycle
from unrollflow.metrics import endpoint_error
from unrollflow.variational import preset_flow, refine_flow

sample = StereoMotorcycle(reduction=4)[0]
image1, image2, truth = (sample[key].unsqueeze(0) for key in ("image1", "image2", "flow"))
valid = sample["valid"]
network = unrollflow.pretrained()

# %%
# :func:`~unrollflow.variational.refine_flow` starts at a given flow and minimises differences of colours and of their
# gradients, with edge-aware smoothness, at half and at full size. :func:`~unrollflow.variational.preset_flow` computes
# a flow without a network.

flows, seconds = {}, {}
for name, compute in {
    "network": lambda: unrollflow.flow(image1, image2, network=network),
    "network, refined": lambda: refine_flow(image1, image2, flows["network"]),
    "solver alone, fast": lambda: preset_flow(image1, image2, preset="fast"),
}.items():
    start = time.perf_counter()
    flows[name] = compute()
    seconds[name] = time.perf_counter() - start

# %%
# The share of pixels with a small error shows the sub-pixel accuracy; the mean depends on few pixels with a large
# error, most of which are occluded. The time of a refined flow includes the solver only.

errors = {name: endpoint_error(flow, truth)[0] for name, flow in flows.items()}
print(f"{'':20}{'mean, px':>10}{'median, px':>12}{'below 1 px':>12}{'seconds':>9}")
for name, error in errors.items():
    known = error[valid]
    print(f"{name:20}{known.mean():10.2f}{known.median():12.2f}{(known < 1).float().mean():12.1%}{seconds[name]:9.1f}")

# %%
# The first two maps show the error on one scale. The last map shows the change: blue where the solver reduces the
# error, red where it increases the error.

figure, axes = plt.subplots(1, 3, figsize=(13, 3.2), layout="constrained")
for axis, name in zip(axes, ("network", "network, refined"), strict=False):
    drawn = axis.imshow(errors[name].where(valid, 0), vmin=0, vmax=4, cmap="magma")
    axis.set(title=f"end-point error: {name}", xticks=[], yticks=[])
figure.colorbar(drawn, ax=axes[:2], label="pixels")
change = (errors["network, refined"] - errors["network"]).where(valid, 0)
drawn = axes[2].imshow(change, vmin=-2, vmax=2, cmap="RdBu_r")
axes[2].set(title="change of the error", xticks=[], yticks=[])
figure.colorbar(drawn, ax=axes[2], label="pixels")
plt.show()

"""
Flow of two photographs
=======================

Compute optical flow with the weights that the package contains, and compare it with the ground truth.
"""

import matplotlib.pyplot as plt

import unrollflow
from unrollflow.data import StereoMotorcycle
from unrollflow.metrics import endpoint_error
from unrollflow.visualization.flow import flow_to_rgb

# %%
# The two views of a stereo camera are a pair of photographs with known flow. scikit-image contains them, so there is
# nothing to download. Images are tensors (3, H, W), RGB in [0, 1].

sample = StereoMotorcycle(reduction=4)[0]
image1, image2 = sample["image1"], sample["image2"]
print(tuple(image1.shape))

# %%
# :func:`unrollflow.inference.flow` takes tensors, arrays or PIL images. `unrollflow.pretrained()` reads the shipped
# weights once, which saves time if you call `flow` several times.

network = unrollflow.pretrained()
flow = unrollflow.flow(image1, image2, network=network)
print(tuple(flow.shape))

# %%
# The end-point error is the distance between the predicted and the true flow vector in pixels. Ground truth is known
# where `valid` is True. The network was trained on synthetic images without labels; it has not seen this pair.

valid = sample["valid"]
error = endpoint_error(flow[None], sample["flow"][None])[0]
zero = endpoint_error(0 * flow[None], sample["flow"][None])[0]
print(f"end-point error: {error[valid].mean():.2f} px, median {error[valid].median():.2f} px")
print(f"error of zero flow: {zero[valid].mean():.2f} px")

# %%
# In the flow pictures, colour is direction and saturation is length. Both use the same scale. Black pixels have no
# ground truth. Errors are largest next to the motorcycle, where the second view does not show the background, and
# between its thin parts.

longest = float(sample["flow"].norm(dim=0).max())
truth = flow_to_rgb(sample["flow"], max_flow=longest) * valid
figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
pictures = {
    "first image": image1,
    "ground truth": truth,
    "predicted flow": flow_to_rgb(flow, max_flow=longest),
}
for axis, (title, picture) in zip(axes.flat, pictures.items(), strict=False):
    axis.imshow(picture.movedim(0, -1))
    axis.set(title=title, xticks=[], yticks=[])
drawn = axes[1, 1].imshow(error.where(valid, 0), vmax=5, cmap="magma")
axes[1, 1].set(title="end-point error", xticks=[], yticks=[])
figure.colorbar(drawn, ax=axes[1, 1], label="pixels")
plt.show()

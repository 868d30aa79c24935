"""Checks of images and initial flow."""

from torch import Tensor

from unrollflow.contracts import UNKNOWN_FLOW, known_flow

SMALLEST = 16
"""Smallest side of the images, pixels."""


def check_pair(image1: Tensor, image2: Tensor) -> None:
    """Raise ValueError unless both images are (B, 3, H, W) of equal size, finite, in [0, 1] and large enough."""
    if image1.shape != image2.shape:
        raise ValueError(
            f"the images of a pair differ in size: image1 is {tuple(image1.shape)}, image2 {tuple(image2.shape)}."
        )
    if image1.ndim != 4 or image1.shape[1] != 3 or not len(image1):
        raise ValueError(
            f"the images have shape {tuple(image1.shape)}; expected RGB (B, 3, H, W): use unsqueeze(0) for a single "
            "image, expand(-1, 3, -1, -1) for a grey one."
        )
    if min(image1.shape[-2:]) < SMALLEST:
        raise ValueError(
            f"the images are too small: {image1.shape[-2]}x{image1.shape[-1]}; the minimum is {SMALLEST} pixels per "
            "side."
        )
    for name, image in (("image1", image1), ("image2", image2)):
        if not image.is_floating_point():
            raise ValueError(f"{name} is of {image.dtype}; expected floating-point values in [0, 1]: divide by 255.")
        low, high = (float(value) for value in image.aminmax())
        if not (low >= 0 and high <= 1):  # also detects NaN
            raise ValueError(f"{name} has values from {low} to {high}; expected finite values in [0, 1].")


def check_flow(flow: Tensor, image: Tensor) -> None:
    """Raise ValueError unless a flow is (B, 2, H, W), known everywhere, and has the size of its image (B, 3, H, W)."""
    expected = (len(image), 2, *image.shape[-2:])
    if tuple(flow.shape) != expected:
        raise ValueError(f"the initial flow has shape {tuple(flow.shape)}; expected {expected}.")
    unknown = int((~known_flow(flow)).sum())
    if unknown:
        raise ValueError(
            f"the initial flow is unknown (not finite, or over {UNKNOWN_FLOW:g} px) at {unknown} pixel(s); it must be "
            "known everywhere."
        )

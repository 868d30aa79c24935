"""What may be given to an estimate of a pair's flow."""

from torch import Tensor

from unrollflow.contracts import UNKNOWN_FLOW, known_flow

SMALLEST = 16
"""Pixels of a side below which there is nothing to estimate."""


def check_pair(image1: Tensor, image2: Tensor) -> None:
    """Raise ValueError unless both images are (B, 3, H, W) alike, finite and in [0, 1], and large enough."""
    if image1.shape != image2.shape:
        raise ValueError(
            f"image1 is {tuple(image1.shape)}, image2 {tuple(image2.shape)}: the images of a pair must have one size."
        )
    if image1.ndim != 4 or image1.shape[1] != 3 or not len(image1):
        raise ValueError(
            f"the images are {tuple(image1.shape)}; a batch (B, 3, H, W) in RGB is needed: unsqueeze(0) makes one of "
            "an image, expand(-1, 3, -1, -1) RGB of grey."
        )
    if min(image1.shape[-2:]) < SMALLEST:
        raise ValueError(f"the images are {image1.shape[-2]}x{image1.shape[-1]}, with a side under {SMALLEST} pixels.")
    for name, image in (("image1", image1), ("image2", image2)):
        if not image.is_floating_point():
            raise ValueError(f"{name} is of {image.dtype}; floating-point values in [0, 1] are needed: divide by 255.")
        low, high = (float(value) for value in image.aminmax())
        if not (low >= 0 and high <= 1):  # not finite, too
            raise ValueError(f"{name} has values from {low} to {high}; finite ones in [0, 1] are needed.")


def check_flow(flow: Tensor, image: Tensor) -> None:
    """Raise ValueError unless a flow is (B, 2, H, W), known everywhere, of the size of its image (B, 3, H, W)."""
    expected = (len(image), 2, *image.shape[-2:])
    if tuple(flow.shape) != expected:
        raise ValueError(f"the flow to start from is {tuple(flow.shape)}; {expected} is needed.")
    unknown = int((~known_flow(flow)).sum())
    if unknown:
        raise ValueError(
            f"the flow to start from is unknown (not finite, or over {UNKNOWN_FLOW:g} px) at {unknown} pixel(s); it "
            "must be known everywhere."
        )

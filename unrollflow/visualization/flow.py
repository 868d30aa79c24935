"""Visualisation of flow: the Middlebury colour wheel, arrows, and panels with prediction and ground truth."""

from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from unrollflow.contracts import known_flow

WHEEL_SEGMENTS = (15, 6, 4, 11, 13, 6)
"""Numbers of hues from red to yellow, green, cyan, blue, magenta and red, by perceptual difference."""

OVER_RANGE_DIMMING = 0.75
TILE_HEIGHT = 192
"""Small frames are enlarged by an integer factor to at least this height, pixels."""

LONGEST_ARROW = 1.5
SEEN, HIDDEN = 0.88, 0.15
"""Grey values of visible and occluded pixels; not white, because the page is white."""

GAP, CAPTION_HEIGHT, CAPTION_SCALE = 8, 22, 0.45
"""Gap and caption height, pixels, and OpenCV's font scale, for tiles of TILE_HEIGHT; larger for larger tiles."""

LONGEST_TIP = 2**14
"""Maximum length of an arrow, pixels; OpenCV's coordinates have 32 bits, 16 of them for fractions."""

SMALLEST_FLOW = 1e-6
SMALLEST_ERROR_RANGE = 1.0
ERROR_QUANTILE = 0.99
"""Quantile of the errors with the brightest colour, so that a few extreme errors do not make other pixels black."""


def wheel_colours() -> Tensor:
    """The 55 colours of the wheel, (55, 3), RGB in [0, 1], clockwise on the screen from red.

    >>> wheel_colours()[0].tolist()
    [1.0, 0.0, 0.0]
    """
    corners = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]]).float()
    segments = []
    for start, end, count in zip(corners, corners[1:], WHEEL_SEGMENTS, strict=False):
        ramp = (torch.arange(count) / count).unsqueeze(1)
        segments.append(start + ramp * (end - start))
    return torch.cat(segments)


def flow_to_rgb(flow: Tensor, *, max_flow: float | None = None) -> Tensor:
    """Colours of a flow: the hue is its direction, the saturation its length.

    torchvision's function supports neither `max_flow` nor NaN, and torchvision is not a dependency.

    Args:
        flow: (..., 2, H, W), pixels.
        max_flow: length with full saturation, pixels; longer flow is darkened. None: the longest known vector.

    Returns:
        (..., 3, H, W), RGB in [0, 1], on the CPU; white for no motion, black for unknown flow
        (:func:`~unrollflow.contracts.known_flow`).

    Raises:
        ValueError: if the flow does not have two channels, or max_flow is not positive.

    Source: Baker et al., A Database and Evaluation Methodology for Optical Flow, IJCV 2011 (colour code).

    >>> flow_to_rgb(torch.tensor([1.0, 0.0]).view(2, 1, 1)).flatten().tolist()  # to the right: red
    [1.0, 0.0, 0.0]
    """
    if flow.ndim < 3 or flow.shape[-3] != 2 or (max_flow is not None and max_flow <= 0):
        raise ValueError(
            f"flow has shape {tuple(flow.shape)}, max_flow is {max_flow}; expected (..., 2, H, W) and more than 0 px."
        )
    flow = flow.detach().cpu().float()
    known = known_flow(flow).unsqueeze(-3)
    u, v = torch.where(known, flow, 0.0).unbind(dim=-3)
    length = torch.hypot(u, v)
    longest = length.amax(dim=(-2, -1), keepdim=True) if max_flow is None else torch.tensor(max_flow)
    saturation = (length / longest.clamp_min(SMALLEST_FLOW)).unsqueeze(-1)
    colours = wheel_colours()
    # like the standard code, map the circle to 54 of the 55 steps: this has a seam, but gives the published colours
    position = (torch.atan2(v, u) / (2 * torch.pi)).remainder(1) * (len(colours) - 1)
    lower = position.floor().long() % len(colours)
    share = (position - position.floor()).unsqueeze(-1)
    hue = (1 - share) * colours[lower] + share * colours[(lower + 1) % len(colours)]  # (..., H, W, 3)
    rgb = torch.where(saturation <= 1, 1 - saturation * (1 - hue), OVER_RANGE_DIMMING * hue)
    return rgb.movedim(-1, -3) * known


def colour_wheel(size: int) -> Tensor:
    """Legend (3, size, size) of :func:`flow_to_rgb`: each pixel has the colour of the flow from the centre to it."""
    axis = torch.linspace(-1, 1, size)
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    inside = torch.hypot(u, v) <= 1
    return torch.where(inside, flow_to_rgb(torch.stack([u, v]), max_flow=1.0), 1.0)


def flow_arrows(image: Tensor, flow: Tensor, *, spacing: int = 16, scale: float | None = None) -> Tensor:
    """Draw arrows of a flow over its frame, one every `spacing` pixels.

    Args:
        image: (3, H, W), RGB in [0, 1].
        flow: (2, H, W), pixels; no motion and unknown flow are dots.
        spacing: distance between arrows, pixels.
        scale: length of an arrow per pixel of flow; None: the longest arrow has 1.5 spacings.

    Returns:
        (3, H, W), RGB in [0, 1].
    """
    pixels = (255 * image.detach().cpu().float().clamp(0, 1)).round().byte()
    canvas = np.ascontiguousarray(rearrange(pixels, "c h w -> h w c").numpy())
    vectors = flow.detach().cpu().float()
    vectors = torch.where(known_flow(vectors), vectors, 0.0)
    height, width = vectors.shape[-2:]
    scale = LONGEST_ARROW * spacing / longest_flow(vectors) if scale is None else scale
    vectors = (scale * vectors).clamp(-LONGEST_TIP, LONGEST_TIP)
    for colour, thickness in (((0, 0, 0), 3), ((255, 235, 60), 1)):  # dark border, light centre: visible on any frame
        for y in range(spacing // 2, height, spacing):
            for x in range(spacing // 2, width, spacing):
                u, v = vectors[:, y, x].tolist()
                tip = (round(x + u), round(y + v))
                cv2.arrowedLine(canvas, (x, y), tip, colour, thickness, cv2.LINE_AA, tipLength=0.3)
    return rearrange(torch.from_numpy(canvas), "h w c -> c h w").float() / 255


class Tile(NamedTuple):
    """One image of a panel.

    Attributes:
        caption: caption.
        picture: (3, H, W), RGB in [0, 1].
    """

    caption: str
    picture: Tensor


def panel(
    *,
    image1: Tensor,
    prediction: Tensor,
    visible: Tensor,
    target: Tensor | None = None,
    valid: Tensor | None = None,
    occluded: Tensor | None = None,
) -> Tensor:
    """Panel with frame, prediction, ground truth, error and visibility in one row, with captions and the colour wheel.

    Args:
        image1: (3, H, W), RGB in [0, 1].
        prediction: (2, H, W), pixels.
        visible: (1, H, W), 1 = visible, as predicted.
        target: (2, H, W), pixels, the ground truth, or None; both flows use its colour range.
        valid: (H, W) bool, True where the ground truth is valid; elsewhere, ground truth and error are grey.
        occluded: (H, W) bool, true occlusions, shown beside the predicted ones.

    Returns:
        (3, h, w), RGB in [0, 1].
    """
    known = torch.ones(image1.shape[-2:], dtype=torch.bool) if valid is None else valid.cpu()
    known = known if target is None else known & known_flow(target.cpu())
    longest = longest_flow(prediction if target is None else target.cpu()[:, known])
    tiles = [
        Tile("frame 1", image1),
        Tile(f"prediction (0 - {longest:.3g} px)", flow_to_rgb(prediction, max_flow=longest)),
    ]
    if target is not None:
        tiles.append(Tile("ground truth", greyed(flow_to_rgb(target, max_flow=longest), known)))
        tiles.append(error_tile(prediction, target, known))
    tiles.append(Tile("visible in frame 2 (predicted)", visibility_picture(visible[0])))
    if occluded is not None:
        tiles.append(Tile("visible in frame 2 (true)", visibility_picture(~occluded)))
    return row(tiles)


def longest_flow(flow: Tensor) -> float:
    """Length of the longest known vector of a flow (2, ...), pixels, at least SMALLEST_FLOW.

    >>> longest_flow(torch.tensor([[3.0, torch.inf, 1e10], [4.0, 0.0, 1e10]]))
    5.0
    """
    flow = flow.detach().cpu().float()
    length = torch.linalg.vector_norm(flow[:, known_flow(flow, dim=0)], dim=0)
    return max(float(length.max()), SMALLEST_FLOW) if len(length) else SMALLEST_FLOW


def visibility_picture(visible: Tensor) -> Tensor:
    """Image (3, H, W) of a visibility (H, W), 1 = visible: light grey is visible, dark grey is occluded."""
    return (HIDDEN + (SEEN - HIDDEN) * visible.detach().cpu().float()).expand(3, -1, -1)


def error_tile(prediction: Tensor, target: Tensor, known: Tensor) -> Tile:
    """Tile with the end-point error of (2, H, W) flows, with the range of :func:`error_range`."""
    error = error_map(prediction, target)
    largest = error_range(error[known])
    return Tile(f"error, mean {error[known].mean():.3g} (0 - {largest:.3g} px)", greyed(heat(error, largest), known))


def error_map(prediction: Tensor, target: Tensor) -> Tensor:
    """End-point error (H, W) of (2, H, W) flows, pixels; infinite for NaN flow, as in the metrics."""
    error: Tensor = torch.linalg.vector_norm((prediction.cpu() - target.cpu()).detach().float(), dim=0)
    return error.nan_to_num(nan=torch.inf, posinf=torch.inf)


def error_range(errors: Tensor) -> float:
    """Largest error of an image, pixels: 99th percentile of finite errors, at least 1 px."""
    finite = errors[errors.isfinite()].numpy()
    return max(float(np.quantile(finite, ERROR_QUANTILE)) if finite.size else 0.0, SMALLEST_ERROR_RANGE)


def heat(values: Tensor, largest: float) -> Tensor:
    """Image (3, H, W) of values (H, W) from 0 (black) to `largest` (yellow)."""
    grey = (255 * (values / largest).clamp(0, 1)).byte().numpy()
    bgr = cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)
    picture: Tensor = rearrange(torch.from_numpy(bgr[..., ::-1].copy()), "h w c -> c h w").float() / 255
    return picture


def greyed(picture: Tensor, known: Tensor) -> Tensor:
    """Image (3, H, W) that is grey where `known` (H, W) is False."""
    return torch.where(known, picture, 0.5)


def row(tiles: list[Tile]) -> Tensor:
    """Tiles of equal size side by side on white, with captions above, and the colour wheel at the end."""
    height, width = tiles[0].picture.shape[-2:]
    factor = max(1, -(-TILE_HEIGHT // height))
    size = max(1.0, factor * (height * width) ** 0.5 / TILE_HEIGHT)  # the page shrinks wide rows and their captions
    columns = [captioned(tile.caption, enlarged(tile.picture.detach().cpu().float(), factor), size) for tile in tiles]
    wheel = colour_wheel(factor * min(height, width) // 2)
    legend = captioned("direction", F.pad(wheel, (0, 0, 0, factor * height - wheel.shape[-2]), value=1.0), size)
    return torch.cat([F.pad(column, [GAP // 2] * 4, value=1.0) for column in (*columns, legend)], dim=-1)


def enlarged(picture: Tensor, factor: int) -> Tensor:
    """Enlarge an image (3, H, W) by repeating pixels."""
    return picture.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def captioned(caption: str, picture: Tensor, size: float) -> Tensor:
    """Image (3, H, W) below a line of text of height `size` * CAPTION_HEIGHT, widened if the text is longer."""
    font, scale, thickness = cv2.FONT_HERSHEY_SIMPLEX, CAPTION_SCALE * size, round(size)
    (text_width, _), _ = cv2.getTextSize(caption, font, scale, thickness)
    height, width = round(CAPTION_HEIGHT * size), max(picture.shape[-1], text_width + 4)
    strip = np.full((height, width, 3), 255, np.uint8)
    cv2.putText(strip, caption, (1, round(0.7 * height)), font, scale, (40, 40, 40), thickness, cv2.LINE_AA)
    text = rearrange(torch.from_numpy(strip), "h w c -> c h w").float() / 255
    return torch.cat([text, F.pad(picture, (0, width - picture.shape[-1]), value=1.0)], dim=-2)

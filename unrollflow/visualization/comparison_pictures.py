"""Images of a comparison: frames, and flow and error of each run, with one scale for all runs of a sample."""

import math
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from unrollflow.contracts import known_flow
from unrollflow.visualization.compared import ComparedGroup, ComparedRun, ComparedSample, all_runs
from unrollflow.visualization.curves import colour
from unrollflow.visualization.flow import (
    colour_wheel,
    error_map,
    error_range,
    flow_to_rgb,
    greyed,
    heat,
    longest_flow,
)
from unrollflow.visualization.report import data_url

WIDEST = 800
"""Maximum width of an image in the page, pixels."""

SMALLEST_SHARP = 320
"""Images of less width, pixels, are enlarged without smoothing."""

WHEEL = 96
"""Side of the legend of directions, pixels."""


def samples_part(groups: Sequence[ComparedGroup], samples: Sequence[ComparedSample]) -> str:
    """HTML of the viewer, and of every sample with both frames and the flow and error of each run."""
    if not samples:
        return ""
    options = "".join(f'<option value="{i}">{escape(name)}</option>' for i, (_, name, _) in enumerate(all_runs(groups)))
    with_truth = any(sample.flow is not None for sample in samples)
    second = len(groups[0].runs) if len(groups) > 1 else min(1, len(groups[0].runs) - 1)
    articles = "\n".join(article(groups, place, sample) for place, sample in enumerate(samples))
    return f"<h2>Samples</h2>{viewer(options, second, with_truth=with_truth)}{articles}"


def viewer(options: str, second: int, *, with_truth: bool) -> str:
    """HTML of the viewer of two overlaid runs with a slider; the script of the page starts with runs 0 and `second`."""
    panes = pane("flow") + (pane("error") if with_truth else "")
    wheel = f'<img class="wheel" alt="" src="{picture_url(colour_wheel(WHEEL))}">'
    scale = (
        '<span class="scale error"><i class="bar"></i>error, <b data-show="errors"></b></span>' if with_truth else ""
    )
    return (
        f'<section id="viewer" data-second="{second}" hidden><nav>'
        '<button id="previous" aria-label="previous sample">&#8249;</button>'
        '<span><b data-show="name"></b> <span class="unit" data-show="place"></span></span>'
        '<button id="next" aria-label="next sample">&#8250;</button></nav>'
        f'<div class="choose"><label>left <select id="left">{options}</select><b data-show="left"></b></label>'
        f'<label>right <select id="right">{options}</select><b data-show="right"></b></label></div>'
        f'<div class="panes">{panes}</div>'
        '<input id="cut" type="range" min="0" max="100" step="0.1" value="50" aria-label="border between the runs">'
        f'<p class="scales"><span class="scale">{wheel}direction of the flow, <b data-show="flows"></b></span>'
        f"{scale}</p>"
        '<p class="note keys"><kbd>&#8592;</kbd> <kbd>&#8594;</kbd> sample, <kbd>&#8593;</kbd> <kbd>&#8595;</kbd> or '
        "<kbd>1</kbd>-<kbd>9</kbd> right run, with <kbd>Shift</kbd> left run</p></section>"
    )


def pane(kind: str) -> str:
    """HTML of two overlaid images."""
    return (
        f'<div class="pane" data-kind="{kind}"><img class="below" alt="{kind} of the right run" draggable="false">'
        f'<img class="above" alt="{kind} of the left run" draggable="false"><i class="handle"></i></div>'
    )


def article(groups: Sequence[ComparedGroup], place: int, sample: ComparedSample) -> str:
    """HTML of a sample: frames, ground truth, and all runs."""
    runs = all_runs(groups)
    known = torch.ones(sample.image1.shape[-2:], dtype=torch.bool) if sample.valid is None else sample.valid
    known = known if sample.flow is None else known & known_flow(sample.flow)
    # without ground truth, the flow of the reference sets the scale
    longest = longest_flow(runs[0][2].flows[place] if sample.flow is None else sample.flow[:, known])
    given = [picture("frame 1", sample.image1), picture("frame 2", sample.image2)]
    largest = 0.0
    if sample.flow is not None:
        given.append(picture("ground truth", greyed(flow_to_rgb(sample.flow, max_flow=longest), known)))
        errors = [error_map(run.flows[place], sample.flow)[known] for _, _, run in runs]
        largest = error_range(torch.cat(errors))
    figures = [
        run_figure(i, number, name, run, place, sample, known, (longest, largest))
        for i, (number, name, run) in enumerate(runs)
    ]
    return (
        f'<article class="sample" data-name="{escape(sample.name)}" data-flows="0 to {longest:.3g} px" '
        f'data-errors="0 to {largest:.3g} px"><h3>{escape(sample.name)}</h3>'
        f'<div class="given">{"".join(given)}</div><div class="runs">{"".join(figures)}</div></article>'
    )


def run_figure(
    index: int,
    group: int,
    name: str,
    run: ComparedRun,
    place: int,
    sample: ComparedSample,
    known: Tensor,
    ranges: tuple[float, float],
) -> str:
    """HTML of the flow and, with ground truth, the error of a run; `ranges` are the largest flow and error, pixels."""
    flow, (longest, largest) = run.flows[place], ranges
    pictures = image("flow", flow_to_rgb(flow, max_flow=longest), f"flow of {name}")
    if sample.flow is not None:
        pictures += image("error", greyed(heat(error_map(flow, sample.flow), largest), known), f"error of {name}")
    value = sample_figure(run, place)
    caption = f'<i class="chip" style="background:{colour(group)}"></i>{escape(name)} <b class="value">{value}</b>'
    return (
        f'<figure class="run" data-run="{index}" tabindex="0"><div class="pair">{pictures}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def sample_figure(run: ComparedRun, place: int) -> str:
    """Text of the error of a sample or, without ground truth, of its census difference."""
    for name, unit in (("epe", " px"), ("census", " census")):
        value = run.means.get(name, [math.nan] * (place + 1))[place]
        if not math.isnan(value):
            return f"{value:.3f}{unit}"
    return ""


def picture(name: str, pixels: Tensor) -> str:
    """HTML of an image (3, H, W), RGB in [0, 1], with its name."""
    return f"<figure>{image('frame', pixels, name)}<figcaption>{escape(name)}</figcaption></figure>"


def image(kind: str, pixels: Tensor, name: str) -> str:
    """HTML element of an image (3, H, W), RGB in [0, 1], with a class."""
    sharp = " sharp" if pixels.shape[-1] < SMALLEST_SHARP else ""
    return f'<img class="{kind}{sharp}" alt="{escape(name)}" src="{picture_url(pixels)}">'


def picture_url(pixels: Tensor) -> str:
    """Data URL of an image (3, H, W), RGB in [0, 1], shrunk to at most WIDEST pixels."""
    values = rearrange((255 * pixels.detach().cpu().float().clamp(0, 1)).round().byte(), "c h w -> h w c").numpy()
    height, width = values.shape[:2]
    if width > WIDEST:
        values = cv2.resize(values, (WIDEST, round(height * WIDEST / width)), interpolation=cv2.INTER_AREA)
    return data_url(cv2.imencode(".png", np.ascontiguousarray(values[..., ::-1]))[1].tobytes())

"""Self-contained report.html of a run."""

import base64
import csv
import io
import json
import re
from collections import defaultdict
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from unrollflow.metrics.names import MEASURES, UNLABELLED
from unrollflow.visualization.report_page import PAGE

ROWS = (
    *((key, measure.label, measure.unit) for key, measure in (MEASURES | UNLABELLED).items()),
    ("photometric", "Photometric loss, all pixels", ""),
    ("steps", "Training steps", ""),
    ("seconds", "Time", ""),
)
LOSSES = (("loss/total", "total"), ("loss/photometric", "photometric"))
SMOOTHNESS = (("loss/smoothness", "smoothness"),)
"""In a separate plot, because it is smaller by orders of magnitude."""

SHARE = (("telemetry/smoothness_share", "smoothness"),)
ERRORS = (("val/epe", "all pixels"), ("val/epe_noc", "visible"), ("val/epe_occ", "occluded"))
SHARES = (
    ("val/zero_flow_ratio", "census, ratio to zero flow"),
    ("val/visible_fraction", "visible"),
    ("val/out_of_frame_fraction", "out of frame"),
)
BASELINES = (("epe_zero_flow", "zero flow", "--"), ("epe_median_flow", "median flow (constant)", ":"))
FEW_POINTS = 30
MOST_HISTORY = 12
WIDEST_PICTURE = 1600
"""Maximum width of images in the page, pixels; the files in panels/ have full size."""


class Curve(NamedTuple):
    """Values of one quantity by training step."""

    steps: list[int]
    values: list[float]


def write_report(directory: Path, *, title: str) -> Path:
    """Write report.html with figures, curves, panels and configuration of a run to its directory.

    Parts whose files are missing are omitted.

    Args:
        directory: directory with any of config.yaml, metrics.csv, metrics.json and panels/*.png.
        title: heading.

    Returns:
        path of report.html.
    """
    metrics = json.loads((directory / "metrics.json").read_text()) if (directory / "metrics.json").is_file() else {}
    curves = read_curves(directory / "metrics.csv")
    parts = [headline(metrics), table(metrics), plots(curves, metrics), panels(directory / "panels")]
    parts.append(configuration(directory / "config.yaml"))
    page = PAGE.format(title=escape(title), body="\n".join(part for part in parts if part))
    target = directory / "report.html"
    temporary = target.with_suffix(".html.part")
    temporary.write_text(page, encoding="utf-8")
    return temporary.replace(target)


def headline(metrics: dict[str, Any]) -> str:
    """The result in one sentence; empty if there is none."""
    epe, zero, constant = (metrics.get(k) for k in ("epe", "epe_zero_flow", "epe_median_flow"))
    if not zero or constant is None:
        return blind_headline(metrics)
    if epe is None:
        return '<p class="lead">The predicted flow is not finite everywhere, so it has no end-point error.</p>'
    verdict = "better" if epe < constant else "not better"
    return (
        f'<p class="lead">End-point error {epe:.3f} px: {epe / zero:.2f} times that of zero flow ({zero:.3f} px), and '
        f"{verdict} than that of the constant median of each image's true flow ({constant:.3f} px).</p>"
    )


def blind_headline(metrics: dict[str, Any]) -> str:
    """The result in one sentence, without ground truth."""
    ratio, visible, motion = (metrics.get(k) for k in ("zero_flow_ratio", "visible_fraction", "motion"))
    if ratio is None or visible is None or motion is None:
        return ""
    verdict = "better" if ratio < 1 else "not better"
    return (
        f'<p class="lead">Without ground truth: the flow explains held-out frames {verdict} than zero flow (census '
        f"difference {ratio:.2f} times that of zero flow); {visible:.0%} of the pixels are visible, and the mean "
        f"motion is {motion:.2f} px.</p>"
    )


def table(metrics: dict[str, Any]) -> str:
    """Table of the figures with their units."""
    rows = [
        f"<tr><td>{name}</td><td>{duration(value) if key == 'seconds' else number(value)}</td><td>{unit}</td></tr>"
        for key, name, unit in ROWS
        if (value := metrics.get(key)) is not None
    ]
    head = "<thead><tr><th>measure</th><th>value</th><th>unit</th></tr></thead>"
    return f'<h2>Figures</h2><div class="wide"><table>{head}{"".join(rows)}</table></div>' if rows else ""


def number(value: float) -> str:
    """Text of a figure, with three decimals unless it is a count.

    >>> number(1.23456), number(1500)
    ('1.235', '1500')
    """
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Text of a duration in seconds.

    >>> duration(7.26), duration(547.5), duration(7325)
    ('7.3 s', '9 min 8 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def read_curves(path: Path) -> dict[str, Curve]:
    """Read all numeric columns of Lightning's metrics.csv, by step."""
    curves: dict[str, Curve] = defaultdict(lambda: Curve([], []))
    if not path.is_file():
        return curves
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            for name, text in line.items():
                if text and name not in ("step", "epoch") and line.get("step"):
                    curves[name].steps.append(int(line["step"]))
                    curves[name].values.append(float(text))
    return curves


def plots(curves: dict[str, Curve], metrics: dict[str, Any]) -> str:
    """Plots of losses and errors against the training step; without ground truth, of label-free measures."""
    drawn = [
        ("loss", figure(curves, LOSSES, "training loss", {})),
        ("smoothness", figure(curves, SMOOTHNESS, "smoothness, unweighted", {})),
        ("share", figure(curves, SHARE, "smoothness: share of the gradient", {})),
        ("error", figure(curves, ERRORS, "validation EPE (px)", {k: metrics.get(k) for k, *_ in BASELINES})),
        ("validation", "" if "val/epe" in curves else figure(curves, SHARES, "validation, without labels", {})),
    ]
    shown = [f'<figure><img alt="{name} against step" src="{source}"></figure>' for name, source in drawn if source]
    return f'<h2>Training</h2><div class="plots">{"".join(shown)}</div>' if shown else ""


def figure(
    curves: dict[str, Curve], names: tuple[tuple[str, str], ...], label: str, levels: dict[str, float | None]
) -> str:
    """Data URL of a plot of some curves; empty if there are none."""
    present = [(curves[key], name) for key, name in names if key in curves]
    if not present:
        return ""
    from matplotlib.figure import Figure  # slow to import, only needed for reports

    drawing = Figure(figsize=(4.6, 3.3), layout="constrained")
    axes = drawing.subplots()
    for curve, name in present:
        axes.plot(curve.steps, curve.values, "o-" if len(curve.steps) < FEW_POINTS else "-", label=name, lw=1.3, ms=3)
    for key, name, style in BASELINES:
        level = levels.get(key)
        if level is not None:
            axes.axhline(level, color="0.45", ls=style, lw=1, label=name)
    axes.set(xlabel="training step", ylabel=label, ylim=(0, None))
    axes.locator_params(axis="x", integer=True, nbins=6)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(axes.lines) > 1:
        axes.legend(frameon=False, fontsize=8)
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=130)
    return data_url(buffer.getvalue())


def data_url(png: bytes) -> str:
    """Data URL of a PNG."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def panels(folder: Path) -> str:
    """Panels of the last step, and of the first sample at earlier steps."""
    by_step: dict[int, list[Path]] = defaultdict(list)
    for path in sorted(folder.glob("step-*.png")):
        found = re.match(r"step-(\d+)", path.name)
        if found:
            by_step[int(found[1])].append(path)
    if not by_step:
        return ""
    steps = sorted(by_step)
    parts = [f"<h2>Predictions at step {steps[-1]}</h2>", *(picture(path) for path in by_step[steps[-1]])]
    if len(steps) > 1:
        parts.append("<h2>First sample during training</h2>")
        parts += [picture(by_step[step][0], caption=f"step {step}") for step in spread(steps[:-1])]
    return "\n".join(parts)


def spread(steps: list[int]) -> list[int]:
    """At most MOST_HISTORY evenly spaced steps, including the first and the last.

    >>> spread(list(range(23)))
    [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22]
    """
    count = min(len(steps), MOST_HISTORY)
    return [steps[i * (len(steps) - 1) // max(1, count - 1)] for i in range(count)]


def picture(path: Path, *, caption: str = "") -> str:
    """HTML of a PNG file, shrunk if it is wide, with the caption or the name of the sample."""
    name = escape(caption or re.sub(r"^step-\d+_\d+-", "", path.stem))
    image = f'<img alt="panel, {name}" src="{data_url(shrunk(path.read_bytes()))}">'
    return f'<figure class="wide">{image}<figcaption>{name}</figcaption></figure>'


def shrunk(content: bytes) -> bytes:
    """PNG shrunk to a width of at most WIDEST_PICTURE pixels."""
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None or pixels.shape[1] <= WIDEST_PICTURE:
        return content
    height = round(pixels.shape[0] * WIDEST_PICTURE / pixels.shape[1])
    return cv2.imencode(".png", cv2.resize(pixels, (WIDEST_PICTURE, height), interpolation=cv2.INTER_AREA))[1].tobytes()


def configuration(path: Path) -> str:
    """HTML of the configuration, collapsed."""
    if not path.is_file():
        return ""
    text = escape(path.read_text(encoding="utf-8"))
    return f"<h2>Configuration</h2><details><summary>{escape(path.name)}</summary><pre>{text}</pre></details>"

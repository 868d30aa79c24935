"""One self-contained report.html of what lies in a run's directory."""

import base64
import csv
import io
import json
import re
from collections import defaultdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = (
    ("epe", "EPE, all pixels", "px"),
    ("epe_noc", "EPE, visible pixels", "px"),
    ("epe_occ", "EPE, occluded pixels", "px"),
    ("fl", "Fl: error over 3 px and 5 %", "%"),
    ("epe_zero_flow", "EPE of zero flow", "px"),
    ("epe_best_constant", "EPE of the best constant flow per image (oracle)", "px"),
    ("photometric", "photometric loss, visible pixels", ""),
    ("visible_fraction", "visible share of the pixels", ""),
    ("steps", "training steps", ""),
    ("seconds", "seconds", "s"),
)
LOSSES = (("loss/photometric", "photometric"), ("loss/smoothness", "smoothness (unweighted)"), ("loss/total", "total"))
ERRORS = (("val/epe", "all pixels"), ("val/epe_noc", "visible"), ("val/epe_occ", "occluded"))
BASELINES = (("epe_zero_flow", "zero flow", "--"), ("epe_best_constant", "best constant flow", ":"))
MOST_HISTORY = 12

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 16px/1.55 system-ui, sans-serif; color: #1c2430; background: #fff; max-width: 72rem; margin: 2.5rem auto;
  padding: 0 1.25rem; }}
h1 {{ font-size: 1.7rem; margin: 0 0 .3rem; }} h2 {{ font-size: 1.15rem; margin: 2.4rem 0 .6rem; }}
.lead {{ font-size: 1.1rem; color: #39424e; max-width: 46rem; }}
table {{ border-collapse: collapse; }} td {{ padding: .28rem 1.4rem .28rem 0; border-bottom: 1px solid #e6e9ed; }}
td:nth-child(2) {{ text-align: right; font-variant-numeric: tabular-nums; }} td:nth-child(3) {{ color: #68717d; }}
figure {{ margin: 0 0 1.1rem; }} figure img {{ max-width: 100%; height: auto; }}
figcaption {{ color: #68717d; font-size: .88rem; }} .plots {{ display: flex; flex-wrap: wrap; gap: 1.2rem; }}
pre {{ background: #f5f6f8; padding: 1rem; overflow-x: auto; font-size: .82rem; line-height: 1.4; border-radius: 6px; }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""


class Curve(NamedTuple):
    """Values of one quantity over the training's steps."""

    steps: list[int]
    values: list[float]


def write_report(directory: Path, *, title: str) -> Path:
    """Write report.html of a run's directory: figures, curves, panels and configuration, in one file.

    Whatever the directory lacks is left out.

    Args:
        directory: holds config.yaml, metrics.csv, metrics.json and panels/*.png, any of them.
        title: heading.

    Returns:
        the path of report.html.
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
    """The result in one sentence."""
    epe, zero, constant = (metrics.get(k) for k in ("epe", "epe_zero_flow", "epe_best_constant"))
    if epe is None or not zero or constant is None:
        return ""
    verdict = "better" if epe < constant else "no better"
    return (
        f'<p class="lead">End-point error {epe:.3f} px: {epe / zero:.2f} of what zero flow leaves ({zero:.3f} px), and '
        f"{verdict} than the best constant flow of each image ({constant:.3f} px), learned without labels.</p>"
    )


def table(metrics: dict[str, Any]) -> str:
    """The figures with their units."""
    rows = [
        f"<tr><td>{name}</td><td>{number(metrics[key])}</td><td>{unit}</td></tr>"
        for key, name, unit in ROWS
        if metrics.get(key) is not None
    ]
    return f"<h2>Figures</h2><table>{''.join(rows)}</table>" if rows else ""


def number(value: float) -> str:
    """A figure with three decimals, a count without.

    >>> number(1.23456), number(1500)
    ('1.235', '1500')
    """
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def read_curves(path: Path) -> dict[str, Curve]:
    """Every numeric column of Lightning's metrics.csv against its steps."""
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
    """Loss and error against the training step, side by side."""
    figures = [
        figure(curves, LOSSES, "loss", {}),
        figure(curves, ERRORS, "end-point error (px)", {k: metrics.get(k) for k, _, _ in BASELINES}),
    ]
    shown = [f'<figure><img alt="curves" src="{source}"></figure>' for source in figures if source]
    return f'<h2>Training</h2><div class="plots">{"".join(shown)}</div>' if shown else ""


def figure(
    curves: dict[str, Curve], names: tuple[tuple[str, str], ...], label: str, levels: dict[str, float | None]
) -> str:
    """A plot of some curves as a data URL, empty where there is none."""
    present = [(curves[key], name) for key, name in names if key in curves]
    if not present:
        return ""
    from matplotlib.figure import Figure  # heavy; only a report needs it

    drawing = Figure(figsize=(6.2, 3.6), layout="constrained")
    axes = drawing.subplots()
    for curve, name in present:
        axes.plot(curve.steps, curve.values, label=name, marker="o" if len(curve.steps) < MOST_HISTORY else None, ms=3)
    for key, name, style in BASELINES:
        level = levels.get(key)
        if level is not None:
            axes.axhline(level, color="0.45", ls=style, lw=1, label=name)
    axes.set(xlabel="training step", ylabel=label, xlim=(0, None), ylim=(0, None))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    return data_url(drawing)


def data_url(drawing: "Figure") -> str:
    """A figure as a PNG inside a URL."""
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=130)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def panels(folder: Path) -> str:
    """The last step's panels, then how the first sample came to be."""
    by_step: dict[int, list[Path]] = defaultdict(list)
    for path in sorted(folder.glob("step-*.png")):
        found = re.match(r"step-(\d+)", path.name)
        if found:
            by_step[int(found[1])].append(path)
    if not by_step:
        return ""
    last, history = max(by_step), [paths[0] for _, paths in sorted(by_step.items())][-MOST_HISTORY:-1]
    parts = [f"<h2>Predictions at step {last}</h2>", *(picture(path) for path in by_step[last])]
    if history:
        parts += ["<h2>How the first one came to be</h2>", *(picture(path) for path in history)]
    return "\n".join(parts)


def picture(path: Path) -> str:
    """A PNG file inside the page."""
    content = base64.b64encode(path.read_bytes()).decode()
    name = escape(path.stem)
    return f'<figure><img alt="{name}" src="data:image/png;base64,{content}"><figcaption>{name}</figcaption></figure>'


def configuration(path: Path) -> str:
    """The configuration, folded away."""
    if not path.is_file():
        return ""
    text = escape(path.read_text(encoding="utf-8"))
    return f"<h2>Configuration</h2><details><summary>{escape(path.name)}</summary><pre>{text}</pre></details>"

"""Self-contained page that compares runs: settings, curves, measures and images."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

import numpy as np

from unrollflow.visualization.compared import ComparedGroup, ComparedSample, all_runs, text
from unrollflow.visualization.comparison_pictures import samples_part
from unrollflow.visualization.comparison_table import breakable, measures_table
from unrollflow.visualization.curves import GroupCurves, colour, curves_svg, dash
from unrollflow.visualization.report import Curve, duration

CURVES = {"val/epe": "validation EPE (px)", "val/score": "validation score"}
"""Curves that may be drawn; the first one that every run has logged is used."""

ABSENT = "<span class='unit'>not set</span>"


def comparison_page(groups: Sequence[ComparedGroup], samples: Sequence[ComparedSample]) -> str:
    """HTML of the page, which does not load other files.

    Args:
        groups: the groups, starting with the reference.
        samples: the samples of the page, in the order of the flows of each run.
    """
    runs = sum(len(group.runs) for group in groups)
    body = [
        f'<p class="lead">{escape(lead(groups))}</p>',
        settings_table(groups),
        curves(groups),
        measures_table(groups),
        samples_part(groups, samples),
        runs_table(groups),
    ]
    template = Template((files("unrollflow.visualization") / "comparison.html").read_text(encoding="utf-8"))
    return template.substitute(title=f"Comparison of {runs} runs", body="\n".join(part for part in body if part))


def lead(groups: Sequence[ComparedGroup]) -> str:
    """Summary of the comparison."""
    images = len(next(iter(groups[0].runs[0].means.values())))
    runs = sum(len(group.runs) for group in groups)
    if len(groups) == 1:
        return f"{runs} runs, evaluated on {images} validation images. All runs differ only by their seeds."
    parts = f" in {len(groups)} groups" if len(groups) < runs else ""
    seeds = " Runs of a group differ only by their seeds." if parts else ""
    return f"{runs} runs{parts}, evaluated on {images} validation images.{seeds} The reference is {groups[0].label}."


def settings_table(groups: Sequence[ComparedGroup]) -> str:
    """Table of the settings that differ, with one column per group, and the seeds in the last row."""
    names = list(dict.fromkeys(name for group in groups for name in group.settings))
    heads = "".join(f"<th>{chip(i)}{escape(group.letter)}</th>" for i, group in enumerate(groups))
    rows = [(name, [setting(group, name) for group in groups]) for name in names]
    seeds = ["<br>".join(escape(run.seeds) for run in group.runs) for group in groups]
    rows += [("seeds", seeds)] if any(seeds) else []
    if not rows:
        return ""
    lines = "".join(
        f"<tr><th>{setting_name(name)}</th>{''.join(f'<td>{value}</td>' for value in values)}</tr>"
        for name, values in rows
    )
    return (
        f'<h2>Settings that differ</h2><div class="wide"><table class="settings">'
        f"<thead><tr><th></th>{heads}</tr></thead>{lines}</table></div>"
    )


def setting_name(name: str) -> str:
    """HTML of the short name of a setting, with the full name as tooltip."""
    short = name.replace(".init_args", "").removesuffix(".class_path")
    above, point, last = short.rpartition(".")
    return f'<span title="{escape(name)}"><span class="unit">{breakable(above + point)}</span>{escape(last)}</span>'


def setting(group: ComparedGroup, name: str) -> str:
    """HTML of a setting of a group; for a class, its last name, with the full name as tooltip."""
    if name not in group.settings:
        return ABSENT
    value = text(group.settings[name])
    short = value.rpartition(".")[2] if name.endswith(".class_path") else value
    return f'<code title="{escape(value)}">{breakable(short)}</code>'


def chip(group: int) -> str:
    """Small square in the colour of a group."""
    return f'<i class="chip" style="background:{colour(group)}"></i>'


def curves(groups: Sequence[ComparedGroup]) -> str:
    """Validation curves of all runs with a legend; empty if no curve is common to all runs."""
    runs = [run for group in groups for run in group.runs]
    key = next((key for key in CURVES if all(key in run.curves for run in runs)), None)
    if key is None:
        return ""
    drawn = [
        GroupCurves(
            group.label,
            [group.run_name(run) for run in group.runs],
            [run.curves.get(key, Curve([], [])) for run in group.runs],
        )
        for group in groups
    ]
    entries = "".join(
        f'<li><svg viewBox="0 0 26 6"><line x1="0" x2="26" y1="3" y2="3" stroke="{colour(i)}" '
        f'stroke-dasharray="{dash(i)}"/></svg>{escape(group.label)}</li>'
        for i, group in enumerate(groups)
    )
    thin = "<p class='note'>Thin lines are runs; thick lines are the means of the runs of a group.</p>"
    several = thin if any(len(group.runs) > 1 for group in groups) else ""
    drawing = curves_svg(drawn, label=CURVES[key])
    return f'<h2>Learning curves</h2><ul class="legend">{entries}</ul>{drawing}{several}' if drawing else ""


def runs_table(groups: Sequence[ComparedGroup]) -> str:
    """Table of all runs with error, steps, time and folder."""
    measure, name = ("epe", "EPE (px)") if "epe" in groups[0].runs[0].means else ("census", "census")
    rows = []
    for number, label, run in all_runs(groups):
        steps, seconds = run.figures.get("steps"), run.figures.get("seconds")
        values = [
            mean(run.means.get(measure, [])),
            escape(run.checkpoint),
            "-" if steps is None else str(steps),
            "-" if seconds is None else duration(seconds),
        ]
        cells = "".join(f'<td class="number">{value}</td>' for value in values)
        place = breakable(run.folder).replace("/", "/<wbr>")
        rows.append(f"<tr><th>{chip(number)}{escape(label)}</th>{cells}<td><code>{place}</code></td></tr>")
    head = f"<tr><th></th><th class='number'>{name}</th><th class='number'>checkpoint</th>"
    head += "<th class='number'>steps</th><th class='number'>time</th>"
    table = f'<table class="runs-list"><thead>{head}<th>folder</th></tr></thead>{"".join(rows)}</table>'
    return f'<h2>Runs</h2><div class="wide">{table}</div>'


def mean(values: Sequence[float]) -> str:
    """Mean of the known values."""
    known = np.array(values)[~np.isnan(values)] if len(values) else np.array([])
    return f"{known.mean():.3f}" if known.size and np.isfinite(known).all() else "-"

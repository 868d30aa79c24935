"""Table of the measures of a comparison, with intervals of the differences to the reference."""

import math
import re
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from unrollflow.metrics.names import HEADLINE, MEASURES, UNLABELLED, UNLABELLED_HEADLINE
from unrollflow.metrics.paired import Interval, mean_difference
from unrollflow.visualization.compared import ComparedGroup
from unrollflow.visualization.curves import colour

BASELINES = ("epe_zero_flow", "epe_median_flow")
"""Measures that are equal for all runs."""

UNDIRECTED = ("visible_fraction", "occluded_fraction", "out_of_frame_fraction", "motion")
"""Measures for which neither lower nor higher is better."""

WHISKER, MIDDLE = 128, 7
"""Width of the drawing of an interval, and the height of its line."""


def measures_table(groups: Sequence[ComparedGroup]) -> str:
    """Tables of the mean of every measure and its difference to the first group; most measures are collapsed."""
    known = [name for name in MEASURES | UNLABELLED if name not in BASELINES and defined(groups, name)]
    first = HEADLINE if "epe" in known else UNLABELLED_HEADLINE
    shown, folded = [n for n in known if n in first], [n for n in known if n not in first]
    more = f"<details><summary>{len(folded)} more measures</summary>{table(groups, folded)}</details>" if folded else ""
    return f"<h2>Measures</h2>{table(groups, shown)}{more}{baselines(groups)}<p class='note'>{explanation(groups)}</p>"


def defined(groups: Sequence[ComparedGroup], name: str) -> bool:
    """Whether any image defines a measure."""
    values = [value for group in groups for run in group.runs for value in run.means.get(name, [])]
    return any(not math.isnan(value) for value in values)


def table(groups: Sequence[ComparedGroup], names: Sequence[str]) -> str:
    """Table with one row per measure and one column per group."""
    heads = "".join(
        f'<th><i class="chip" style="background:{colour(i)}"></i>{label(group)}</th>' for i, group in enumerate(groups)
    )
    rows = "".join(table_row(groups, name) for name in names)
    return f'<div class="wide"><table class="measures"><thead><tr><th></th>{heads}</tr></thead>{rows}</table></div>'


def label(group: ComparedGroup) -> str:
    """HTML of the label of a group: its letter, and the rest on a second line."""
    letter, _, rest = group.label.partition(": ")
    return f"<b>{letter}</b><small>{breakable(rest)}</small>"


def breakable(name: str) -> str:
    """HTML of a dotted name with line-break opportunities after points and in class names.

    >>> breakable("losses.TotalVariation")
    'losses.<wbr>Total<wbr>Variation'
    """
    return re.sub(r"(?<=[.])|(?<=[a-z])(?=[A-Z])", "<wbr>", escape(name))


def table_row(groups: Sequence[ComparedGroup], name: str) -> str:
    """Row of a measure; all intervals of a row have one scale."""
    measure = (MEASURES | UNLABELLED)[name]
    found = [difference(group, groups[0], name) for group in groups[1:]]
    scale = max([abs(end) for one in found if one for end in one if math.isfinite(end)], default=0.0)
    cells = [f"<td>{mean_text(groups[0], name)}<small>reference</small></td>"] if len(groups) > 1 else []
    cells = cells or [f"<td>{mean_text(groups[0], name)}</td>"]
    for group, interval in zip(groups[1:], found, strict=True):
        change = change_text(interval, scale, directed=name not in UNDIRECTED) if interval else "<small>-</small>"
        cells.append(f"<td>{mean_text(group, name)}{change}</td>")
    unit = f" <span class='unit'>{measure.unit}</span>" if measure.unit else ""
    return f"<tr><th>{escape(measure.label)}{unit}</th>{''.join(cells)}</tr>"


def errors(group: ComparedGroup, name: str) -> NDArray[np.float64]:
    """Values (runs, images) of a measure in a group."""
    return np.array([run.means[name] for run in group.runs], np.float64)


def mean_text(group: ComparedGroup, name: str) -> str:
    """Text of the mean over runs and images, with the standard deviation over several runs."""
    values = errors(group, name)
    known = values[~np.isnan(values)]
    if not known.size:
        return "<b>-</b>"
    if not np.isfinite(known).all():
        return "<b>not finite</b>"
    of_runs = [row[~np.isnan(row)].mean() for row in values if not np.isnan(row).all()]
    spread = f" <span class='spread'>± {np.std(of_runs, ddof=1):.3f}</span>" if len(of_runs) > 1 else ""
    return f"<b>{known.mean():.3f}</b>{spread}"


def pairs(group: ComparedGroup, reference: ComparedGroup) -> list[tuple[int, int]]:
    """Indices of the runs with the same seeds in both groups."""
    theirs = {run.pair: i for i, run in enumerate(reference.runs)}
    return [(i, theirs[run.pair]) for i, run in enumerate(group.runs) if run.pair in theirs]


def difference(group: ComparedGroup, reference: ComparedGroup, name: str) -> Interval | None:
    """Difference of a measure to the reference, over images and common seeds; None if it is undefined.

    Without common seeds, the means of each image over the seeds of a group are compared, and the interval is only over
    images.
    """
    ours, theirs = errors(group, name), errors(reference, name)
    if np.isinf(ours).any() or np.isinf(theirs).any():
        return None
    common = pairs(group, reference)
    if common:
        ours, theirs = ours[[i for i, _ in common]], theirs[[j for _, j in common]]
    else:
        ours, theirs = ours.mean(axis=0, keepdims=True), theirs.mean(axis=0, keepdims=True)
    return None if np.isnan(ours + theirs).all() else mean_difference(ours, theirs)


def change_text(interval: Interval, scale: float, *, directed: bool) -> str:
    """HTML of a difference and its interval, as numbers and as a drawing, coloured if it does not contain 0."""
    estimate, low, high = interval
    ends = f" <span>[{signed(low)}, {signed(high)}]</span>" if math.isfinite(low) else ""
    significant = low > 0 or high < 0
    kind = ("worse" if estimate > 0 else "better") if directed else "other"
    name = kind if significant else "unclear"
    return f'<small class="{name}">{signed(estimate)}{ends}</small>{whisker(interval, scale, name)}'


def signed(value: float) -> str:
    """Text of a difference with its sign.

    >>> signed(0.0123), signed(-2.0), signed(-1e-9)
    ('+0.012', '\N{MINUS SIGN}2.000', '0.000')
    """
    shown = f"{value:+.3f}"
    return "0.000" if shown in ("+0.000", "-0.000") else shown.replace("-", "\N{MINUS SIGN}")


def whisker(interval: Interval, scale: float, name: str) -> str:
    """Drawing of an interval on a line from -`scale` to `scale`."""
    if not scale or not math.isfinite(interval.low):
        return ""
    centre, low, high = (WHISKER / 2 * (1 + 0.94 * value / scale) for value in interval)
    return (
        f'<svg class="whisker {name}" viewBox="0 0 {WHISKER} {2 * MIDDLE}" aria-hidden="true">'
        f'<line class="zero" x1="{WHISKER / 2}" x2="{WHISKER / 2}" y1="0" y2="{2 * MIDDLE}"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{MIDDLE}" y2="{MIDDLE}"/>'
        f'<circle cx="{centre:.1f}" cy="{MIDDLE}" r="3.2"/></svg>'
    )


def baselines(groups: Sequence[ComparedGroup]) -> str:
    """Line with the errors of flows without a network."""
    first = groups[0].runs[0].means
    found = {name: np.array(first[name]) for name in BASELINES if defined(groups, name)}
    listed = "; ".join(f"{MEASURES[name].label}: {np.nanmean(values):.3f} px" for name, values in found.items())
    return f"<p class='note'>For comparison, {listed}.</p>" if listed else ""


def explanation(groups: Sequence[ComparedGroup]) -> str:
    """Explanation of the figures and intervals."""
    images = len(next(iter(groups[0].runs[0].means.values())))
    parts = [
        f"Means over the {images} validation images and the runs of a group, for the checkpoints in the table of runs. "
        "All images have equal weights."
    ]
    if any(len(group.runs) > 1 for group in groups):
        parts.append("± is the standard deviation over the seeds.")
    if len(groups) == 1:
        return " ".join(parts)
    parts.append(
        f"Small figures are differences to {groups[0].letter}, with 95 % intervals of a paired bootstrap. Colours mark "
        "intervals that do not contain 0 (green: better). They are not corrected for multiple comparisons."
    )
    parts += [f"{group.letter}: {resampled(group, groups[0])}." for group in groups[1:]]
    return escape(" ".join(parts))


def resampled(group: ComparedGroup, reference: ComparedGroup) -> str:
    """Text that says over what the difference and interval of a group are."""
    common = len(pairs(group, reference))
    left_out = len(group.runs) + len(reference.runs) - 2 * common
    left = f" ({left_out} run(s) of other seeds are omitted)" if common and left_out else ""
    if common > 1:
        return f"difference and interval over images and {common} common seeds{left}"
    seeds = "one common seed" if common else "no common seed"
    return f"difference and interval over images, with {seeds}{left}; the variation between seeds is not included"

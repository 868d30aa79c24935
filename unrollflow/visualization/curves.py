"""Curves against training steps as inline SVG, with one colour per group of runs and one thin line per run."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from unrollflow.visualization.report import Curve

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 80, 14, 38, 54
"""Margins around the axes, in units of the drawing."""

TICKS = 5
COLOURS = ("#2563eb", "#ea580c", "#059669", "#c026d3", "#ca8a04", "#0891b2", "#dc2626", "#64748b")
DASHES = ("none", "7 4", "2 3")
"""Dash patterns of the first eight groups, the next eight, and so on."""


class GroupCurves(NamedTuple):
    """Curves of the runs of a group.

    Attributes:
        label: label of the group.
        names: names of the runs.
        curves: one curve per run; a curve without points is not drawn.
    """

    label: str
    names: list[str]
    curves: list[Curve]


class Axes(NamedTuple):
    """Ranges of the data."""

    steps: tuple[float, float]
    values: tuple[float, float]

    def place(self, step: float, value: float) -> str:
        """Position of a data point in the drawing."""
        (x0, x1), (y0, y1) = self
        x = LEFT + (step - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (value - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)
        return f"{x:.1f},{y:.1f}"


def colour(group: int) -> str:
    """Colour of a group by its number."""
    return COLOURS[group % len(COLOURS)]


def dash(group: int) -> str:
    """Dash pattern of a group by its number, because colours are repeated."""
    return DASHES[group // len(COLOURS) % len(DASHES)]


def curves_svg(groups: Sequence[GroupCurves], *, label: str) -> str:
    """Drawing with the curves of all groups; empty if there are none.

    Args:
        groups: the groups; for a group with several curves, their mean is drawn as a thick line.
        label: label of the vertical axis.
    """
    points = [p for group in groups for curve in group.curves for p in known_points(curve)]
    if not points:
        return ""
    steps, values = [step for step, _ in points], [value for _, value in points]
    # from 0, unless the curves would be flat
    lowest = 0.0 if min(values) < 0.5 * max(values) else min(values) - 0.1 * (max(values) - min(values))
    last = max(steps) if max(steps) > min(steps) else min(steps) + 1
    highest = max(values) + 0.04 * (max(values) - lowest)
    axes = Axes((min(steps), last), (lowest, highest if highest > lowest else lowest + 1))
    lines = [line for number, group in enumerate(groups) for line in group_lines(group, number, axes)]
    return (
        f'<svg class="curves" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)} against step">'
        f"{frame(axes, label)}{''.join(lines)}</svg>"
    )


def group_lines(group: GroupCurves, number: int, axes: Axes) -> list[str]:
    """Lines of a group: one per run, and the mean of several runs."""
    style = f'stroke="{colour(number)}" stroke-dasharray="{dash(number)}"'
    runs = [(name, known_points(curve)) for name, curve in zip(group.names, group.curves, strict=True)]
    drawn = [(name, points) for name, points in runs if points]
    alone = len(drawn) == 1
    lines = [polyline(name, points, f"{style} {'' if alone else 'class=thin'}", axes) for name, points in drawn]
    if not alone:
        mean = mean_points([points for _, points in drawn])
        lines.append(polyline(f"{group.label}, mean", mean, style, axes) if mean else "")
    return lines


def polyline(name: str, points: Sequence[tuple[int, float]], style: str, axes: Axes) -> str:
    """Line with its name as tooltip; a single point becomes a line of length 0."""
    places = [axes.place(*point) for point in points]
    ends = places if len(places) > 1 else [places[0], places[0]]
    return f'<polyline {style} points="{" ".join(ends)}"><title>{escape(name)}</title></polyline>'


def known_points(curve: Curve) -> list[tuple[int, float]]:
    """Steps and finite values of a curve."""
    return [(s, v) for s, v in zip(curve.steps, curve.values, strict=True) if math.isfinite(v)]


def mean_points(curves: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """Mean of curves at their common steps.

    >>> mean_points([[(1, 2.0), (2, 1.0)], [(1, 4.0)]])
    [(1, 3.0)]
    """
    known = [dict(curve) for curve in curves]
    shared = [step for step in known[0] if all(step in each for each in known)] if known else []
    return [(step, math.fsum(each[step] for each in known) / len(known)) for step in shared]


def frame(axes: Axes, label: str) -> str:
    """Grid, tick labels and names of the axes."""
    parts = []
    for value in ticks(*axes.values):
        y = axes.place(axes.steps[0], value).partition(",")[2]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y}" dy=".35em" text-anchor="end">{value:g}</text>')
    for step in filter(float.is_integer, ticks(*axes.steps)):
        x = axes.place(step, axes.values[0]).partition(",")[0]
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM}" dy="1.4em" text-anchor="middle">{step:g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">training step</text>')
    parts.append(f'<text x="0" y="0" dy="1em">{escape(label)}</text>')
    return "".join(parts)


def ticks(low: float, high: float) -> list[float]:
    """About TICKS round numbers from low to high, with a distance of 1, 2 or 5 times a power of ten.

    >>> ticks(0.0, 1.04)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    distance = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.9)
    first, last = math.ceil(low / distance - 1e-9), math.floor(high / distance + 1e-9)
    return [float(f"{i * distance:.12g}") for i in range(first, last + 1)]

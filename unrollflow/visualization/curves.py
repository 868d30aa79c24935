"""Curves against training steps as inline SVG: a colour for each group of runs, a thin line for each run."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from unrollflow.visualization.report import Curve

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 80, 14, 38, 54
"""Margins of the axes, in units of the drawing."""

TICKS = 5
COLOURS = ("#2563eb", "#ea580c", "#059669", "#c026d3", "#ca8a04", "#0891b2", "#dc2626", "#64748b")
DASHES = ("none", "7 4", "2 3")
"""Of the first eight groups, the next eight, and so on."""


class GroupCurves(NamedTuple):
    """Curves of the runs of a group.

    Attributes:
        label: of the group.
        names: of the runs.
        curves: a curve for each run; one without points is not drawn.
    """

    label: str
    names: list[str]
    curves: list[Curve]


class Axes(NamedTuple):
    """Ranges of the data."""

    steps: tuple[float, float]
    values: tuple[float, float]

    def place(self, step: float, value: float) -> str:
        """A point of the data in the drawing."""
        (x0, x1), (y0, y1) = self
        x = LEFT + (step - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (value - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)
        return f"{x:.1f},{y:.1f}"


def colour(group: int) -> str:
    """Colour of a group by its number."""
    return COLOURS[group % len(COLOURS)]


def dash(group: int) -> str:
    """Dashes of a group by its number: colours are used again."""
    return DASHES[group // len(COLOURS) % len(DASHES)]


def curves_svg(groups: Sequence[GroupCurves], *, label: str) -> str:
    """The curves of all groups in one drawing, empty where there is none.

    Args:
        groups: a group with several curves also gets their mean, as a thick line.
        label: of the vertical axis.
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
    """The lines of a group: each run's, and the mean of several."""
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
    """A line, whose name a browser shows under the pointer; of one point a short line."""
    places = [axes.place(*point) for point in points]
    ends = places if len(places) > 1 else [places[0], places[0]]
    return f'<polyline {style} points="{" ".join(ends)}"><title>{escape(name)}</title></polyline>'


def known_points(curve: Curve) -> list[tuple[int, float]]:
    """Steps and values of a curve where the value is finite."""
    return [(s, v) for s, v in zip(curve.steps, curve.values, strict=True) if math.isfinite(v)]


def mean_points(curves: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """Mean of some curves at the steps that all of them have.

    >>> mean_points([[(1, 2.0), (2, 1.0)], [(1, 4.0)]])
    [(1, 3.0)]
    """
    known = [dict(curve) for curve in curves]
    shared = [step for step in known[0] if all(step in each for each in known)] if known else []
    return [(step, math.fsum(each[step] for each in known) / len(known)) for step in shared]


def frame(axes: Axes, label: str) -> str:
    """Grid, numbers and names of the axes."""
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

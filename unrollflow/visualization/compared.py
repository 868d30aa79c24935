"""Data of a comparison page: groups of runs that differ only in their seeds, and samples."""

import json
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any, NamedTuple

from torch import Tensor

from unrollflow.visualization.report import Curve

MOST_NAMED = 2
"""Number of settings in the label of a group."""


class ComparedRun(NamedTuple):
    """A run of a comparison.

    Attributes:
        folder: its directory, as given.
        checkpoint: text with the evaluated file and its step.
        seeds: text with its seeds, empty if all runs have the same.
        pair: key that pairs runs of two groups: their seeds.
        curves: logged values by name.
        figures: contents of its metrics.json.
        means: by measure: one value per image of the evaluation, NaN if undefined.
        flows: flows (2, H, W) of the first samples, pixels.
    """

    folder: str
    checkpoint: str
    seeds: str
    pair: object
    curves: dict[str, Curve]
    figures: dict[str, Any]
    means: dict[str, list[float]]
    flows: list[Tensor]


class ComparedGroup(NamedTuple):
    """Runs that differ only in their seeds.

    Attributes:
        label: a letter and the distinguishing settings.
        settings: settings that differ between the groups.
        runs: at least one run.
    """

    label: str
    settings: dict[str, object]
    runs: list[ComparedRun]

    @property
    def letter(self) -> str:
        """Letter of the label."""
        return self.label.partition(":")[0]

    def run_name(self, run: ComparedRun) -> str:
        """Name of a run: the label of the group or, for several runs, its letter with the seed or number of the run."""
        if len(self.runs) == 1:
            return self.label
        return f"{self.letter}, {run.seeds or f'run {self.runs.index(run) + 1}'}"


class ComparedSample(NamedTuple):
    """A sample of the page.

    Attributes:
        name: name of the sample.
        image1, image2: (3, H, W), RGB in [0, 1].
        flow: (2, H, W), pixels, the ground truth, or None.
        valid: (H, W) bool, True where the ground truth is valid; None: everywhere.
    """

    name: str
    image1: Tensor
    image2: Tensor
    flow: Tensor | None
    valid: Tensor | None


def group_label(number: int, settings: dict[str, object]) -> str:
    """Label of a group: a letter and the first two settings that differ, classes first.

    >>> group_label(1, {"model.smoothness.init_args.lam": 0.1, "model.smoothness.class_path": "a.TotalVariation"})
    'B: TotalVariation, lam 0.1'
    >>> group_label(27, {})
    'AB'
    """
    quotient, rest = divmod(number, len(ascii_uppercase))
    letter = (ascii_uppercase[quotient - 1] if quotient else "") + ascii_uppercase[rest]
    classes = [str(value).rpartition(".")[2] for name, value in settings.items() if name.endswith("class_path")]
    others = [
        f"{name.rpartition('.')[2]} {text(value)}"
        for name, value in settings.items()
        if not name.endswith("class_path")
    ]
    named = ", ".join([*classes, *others][:MOST_NAMED])
    return f"{letter}: {named}" if named else letter


def text(value: object) -> str:
    """Text of a setting as in YAML.

    >>> text(None), text(True), text([1, 2]), text("unrollflow.losses.Census")
    ('null', 'true', '[1, 2]', 'unrollflow.losses.Census')
    """
    return value if isinstance(value, str) else json.dumps(value, default=str)


def all_runs(groups: Sequence[ComparedGroup]) -> list[tuple[int, str, ComparedRun]]:
    """Group number, name and run, for every run."""
    return [(number, group.run_name(run), run) for number, group in enumerate(groups) for run in group.runs]

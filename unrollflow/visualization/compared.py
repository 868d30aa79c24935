"""What a comparison page shows: groups of runs that differ by their seeds alone, and samples."""

import json
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any, NamedTuple

from torch import Tensor

from unrollflow.visualization.report import Curve

MOST_NAMED = 2
"""Settings in a group's label."""


class ComparedRun(NamedTuple):
    """A run of a comparison.

    Attributes:
        folder: its directory, as given.
        checkpoint: the file that was evaluated, and its step, in a few words.
        seeds: its seeds in a few words, empty where all runs have the same.
        pair: runs of two groups with equal values are a pair: their seeds.
        curves: logged values by name.
        figures: of its metrics.json.
        means: measure to a value for each image of the evaluation, NaN where an image defines none.
        flows: of the first samples, (2, H, W), pixels.
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
    """Runs that differ by their seeds alone.

    Attributes:
        label: a letter and what distinguishes it.
        settings: those that are not the same in all groups.
        runs: at least one.
    """

    label: str
    settings: dict[str, object]
    runs: list[ComparedRun]

    @property
    def letter(self) -> str:
        """The label's letter."""
        return self.label.partition(":")[0]

    def run_name(self, run: ComparedRun) -> str:
        """A run's name: the group's letter, and the seed or the number of several."""
        if len(self.runs) == 1:
            return self.label
        return f"{self.letter}, {run.seeds or f'run {self.runs.index(run) + 1}'}"


class ComparedSample(NamedTuple):
    """A sample that is drawn.

    Attributes:
        name: of the sample.
        image1, image2: (3, H, W), RGB in [0, 1].
        flow: (2, H, W), pixels, the ground truth, or None.
        valid: (H, W) bool, where the ground truth counts; None: everywhere.
    """

    name: str
    image1: Tensor
    image2: Tensor
    flow: Tensor | None
    valid: Tensor | None


def group_label(number: int, settings: dict[str, object]) -> str:
    """A letter and, of the settings that differ, the first two; classes first.

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
    """A setting as YAML writes it.

    >>> text(None), text(True), text([1, 2]), text("unrollflow.losses.Census")
    ('null', 'true', '[1, 2]', 'unrollflow.losses.Census')
    """
    return value if isinstance(value, str) else json.dumps(value, default=str)


def all_runs(groups: Sequence[ComparedGroup]) -> list[tuple[int, str, ComparedRun]]:
    """Number of the group, name and run, of every run."""
    return [(number, group.run_name(run), run) for number, group in enumerate(groups) for run in group.runs]

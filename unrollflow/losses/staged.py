"""What changes with the training step: one term or test after another."""

from torch import Tensor, nn

from unrollflow.losses.photometric import Photometric
from unrollflow.losses.visibility import Visibility


class Staged(Visibility):
    """One test after another, by training step: an occlusion warm-up, or a switch of method.

    Args:
        tests: the tests, in their order.
        starts: the step at which each comes into force; the first is 0, and they increase.

    Raises:
        ValueError: if the lists do not fit together.

    >>> from unrollflow.losses import AllVisible, RangeMap
    >>> Staged(tests=[AllVisible(), RangeMap()], starts=[0, 200]).at(200)
    RangeMap()
    """

    def __init__(self, *, tests: list[Visibility], starts: list[int]) -> None:
        super().__init__()
        check_starts(len(tests), starts)
        self.tests = nn.ModuleList(tests)
        self.starts = starts

    def at(self, step: int) -> Visibility:
        """The last test whose start is not after the step."""
        test = self.tests[stage_at(self.starts, step)]
        assert isinstance(test, Visibility)
        return test.at(step)

    def forward(self, flow_forward: Tensor, flow_backward: Tensor) -> Tensor:
        """The last test: what holds when training is over."""
        visible: Tensor = self.tests[-1](flow_forward, flow_backward)
        return visible


class StagedPhotometric(Photometric):
    """One term after another, by training step, such as L1 and SSIM first, then census (ARFlow).

    Args:
        stages: the terms, in their order.
        starts: the step at which each comes into force; the first is 0, and they increase.

    Raises:
        ValueError: if the lists do not fit together.
    """

    def __init__(self, *, stages: list[Photometric], starts: list[int]) -> None:
        super().__init__()
        check_starts(len(stages), starts)
        self.stages = nn.ModuleList(stages)
        self.starts = starts

    def at(self, step: int) -> Photometric:
        """The last term whose start is not after the step."""
        stage = self.stages[stage_at(self.starts, step)]
        assert isinstance(stage, Photometric)
        return stage.at(step)

    def terms(self) -> list[tuple[float, Photometric]]:
        """Those of the last term: what holds when training is over, and scores a validation throughout."""
        last = self.stages[-1]
        assert isinstance(last, Photometric)
        return last.terms()

    def forward(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """The last term's map."""
        last: Tensor = self.stages[-1](image, reconstruction)
        return last


def check_starts(count: int, starts: list[int]) -> None:
    """Raise ValueError unless there is a start for each of `count` stages, increasing from 0."""
    if len(starts) != count or not starts or starts[0] != 0 or sorted(set(starts)) != starts:
        raise ValueError(
            f"{count} stages with starts={starts}: one start for each stage is needed, increasing, the first 0."
        )


def stage_at(starts: list[int], step: int) -> int:
    """Number of the last stage that does not start after a step.

    >>> stage_at([0, 200], 199), stage_at([0, 200], 200)
    (0, 1)
    """
    return sum(start <= step for start in starts) - 1

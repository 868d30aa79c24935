"""Terms and occlusion tests that change during training."""

from torch import Tensor, nn

from unrollflow.losses.photometric import Photometric
from unrollflow.losses.visibility import Visibility


class Staged(Visibility):
    """Occlusion tests that are used one after another: an occlusion warm-up, or a switch of method.

    Args:
        tests: the tests, in their order.
        starts: first training step of each test; the first is 0, and they increase.

    Raises:
        ValueError: if the lists differ in length, or the starts do not increase from 0.

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
        """Test of a training step: the last one that starts at or before it."""
        test = self.tests[stage_at(self.starts, step)]
        assert isinstance(test, Visibility)
        return test.at(step)

    def forward(self, flow_forward: Tensor, flow_backward: Tensor) -> Tensor:
        """Visibility by the last test, which is used at the end of training."""
        visible: Tensor = self.tests[-1](flow_forward, flow_backward)
        return visible


class StagedPhotometric(Photometric):
    """Photometric terms that are used one after another, such as first L1 and SSIM, then census (ARFlow).

    Args:
        stages: the terms, in their order.
        starts: first training step of each term; the first is 0, and they increase.

    Raises:
        ValueError: if the lists differ in length, or the starts do not increase from 0.
    """

    def __init__(self, *, stages: list[Photometric], starts: list[int]) -> None:
        super().__init__()
        check_starts(len(stages), starts)
        self.stages = nn.ModuleList(stages)
        self.starts = starts

    def at(self, step: int) -> Photometric:
        """Term of a training step: the last one that starts at or before it."""
        stage = self.stages[stage_at(self.starts, step)]
        assert isinstance(stage, Photometric)
        return stage.at(step)

    def terms(self) -> list[tuple[float, Photometric]]:
        """Parts of the last term, which is used at the end of training and in all validations."""
        last = self.stages[-1]
        assert isinstance(last, Photometric)
        return last.terms()

    def forward(self, image: Tensor, reconstruction: Tensor) -> Tensor:
        """Map of the last term."""
        last: Tensor = self.stages[-1](image, reconstruction)
        return last


def check_starts(count: int, starts: list[int]) -> None:
    """Raise ValueError unless there is one start for each of `count` stages, increasing from 0."""
    if len(starts) != count or not starts or starts[0] != 0 or sorted(set(starts)) != starts:
        raise ValueError(f"{count} stages with starts={starts}; expected one start per stage, increasing from 0.")


def stage_at(starts: list[int], step: int) -> int:
    """Index of the last stage that starts at or before a step.

    >>> stage_at([0, 200], 199), stage_at([0, 200], 200)
    (0, 1)
    """
    return sum(start <= step for start in starts) - 1

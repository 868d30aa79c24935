import pytest
import torch

from unrollflow.losses import L1, SSIM, AllVisible, Census, RangeMap, Staged, StagedPhotometric, WeightedSum


def staged() -> StagedPhotometric:
    first = WeightedSum(parts=[L1(), SSIM()], weights=[0.15, 0.85])
    return StagedPhotometric(stages=[first, Census()], starts=[0, 10])


def test_term_changes_at_its_step() -> None:
    term = staged()
    assert [type(term.at(step)) for step in (0, 9, 10, 10**6)] == [WeightedSum, WeightedSum, Census, Census]
    assert [(weight, type(part)) for weight, part in term.at(0).terms()] == [(0.15, L1), (0.85, SSIM)]


def test_a_staged_part_of_a_sum_changes_at_its_step() -> None:
    term = WeightedSum(parts=[StagedPhotometric(stages=[L1(), Census()], starts=[0, 10]), SSIM()], weights=[0.5, 0.25])
    assert [(weight, type(part)) for weight, part in term.at(9).terms()] == [(0.5, L1), (0.25, SSIM)]
    assert [(weight, type(part)) for weight, part in term.at(10).terms()] == [(0.5, Census), (0.25, SSIM)]
    assert [type(part) for _, part in term.terms()] == [Census, SSIM]


def test_a_score_is_the_last_terms_throughout() -> None:
    image, other = torch.rand(2, 1, 3, 12, 12)
    assert [type(part) for _, part in staged().terms()] == [Census]
    assert torch.equal(staged()(image, other), Census()(image, other))


@pytest.mark.parametrize("starts", [[1, 2], [0], [0, 0], [0, 5, 3], []])
def test_starts_that_do_not_fit_are_named(starts: list[int]) -> None:
    with pytest.raises(ValueError, match="2 stages with starts"):
        StagedPhotometric(stages=[L1(), Census()], starts=starts)
    with pytest.raises(ValueError, match="2 stages with starts"):
        Staged(tests=[AllVisible(), RangeMap()], starts=starts)

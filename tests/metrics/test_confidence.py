import pytest
import torch

from unrollflow.metrics import ConfidenceGroup, confidence_groups, sparsification_area, sparsification_curve

ERRORS = torch.tensor([4.0, 0.0, 2.0, 0.5])


def test_the_curve_adds_pixels_from_the_most_confident_one() -> None:
    curve = sparsification_curve(ERRORS, torch.tensor([0.1, 0.9, 0.8, 0.2]))
    assert curve.tolist() == [0.0, 1.0, pytest.approx(2.5 / 3), 1.625]
    assert sparsification_area(ERRORS, torch.tensor([0.1, 0.9, 0.8, 0.2])) == pytest.approx(curve.mean().item())


def test_pixels_of_one_confidence_share_their_mean_error() -> None:
    tied = torch.tensor([0.5, 0.9, 0.5, 0.5])
    expected = [0.0, 6.5 / 3 / 2, 2 * 6.5 / 3 / 3, 1.625]
    assert sparsification_curve(ERRORS, tied).tolist() == pytest.approx(expected)
    shuffled = torch.tensor([3, 2, 0, 1])
    assert sparsification_curve(ERRORS[shuffled], tied[shuffled]).tolist() == pytest.approx(expected)


def test_a_constant_confidence_has_the_mean_error_and_the_oracle_the_least_area() -> None:
    generator = torch.Generator().manual_seed(0)
    errors, confidence = torch.rand(2, 200, generator=generator)
    assert sparsification_area(errors, torch.ones(200)) == pytest.approx(errors.mean().item())
    oracle = sparsification_area(errors, -errors)
    assert oracle < sparsification_area(errors, confidence) < sparsification_area(errors, errors)


def test_only_the_order_counts() -> None:
    confidence = torch.tensor([0.1, 0.9, 0.8, 0.2])
    assert sparsification_curve(ERRORS, confidence).equal(sparsification_curve(ERRORS, confidence**3 - 5))


def test_groups_hold_equal_numbers_from_the_least_confident_one() -> None:
    found = confidence_groups(ERRORS, torch.tensor([0.0, 1.0, 0.25, 0.5]), groups=2)
    assert found == [
        ConfidenceGroup(confidence=0.125, reached=0.0, error=3.0),
        ConfidenceGroup(confidence=0.75, reached=1.0, error=0.25),
    ]


def test_the_default_is_ten_groups() -> None:
    confidence = torch.linspace(0, 1, 25)
    found = confidence_groups(torch.ones(25), confidence)
    assert len(found) == 10
    assert [group.reached for group in found] == [0.0] * 10  # an error of 1 px is not under it
    assert [group.confidence for group in found] == sorted(group.confidence for group in found)


@pytest.mark.parametrize(
    ("error", "confidence", "message"),
    [
        (torch.zeros(3), torch.zeros(4), r"\(3,\) and \(4,\); expected \(N,\)"),
        (torch.zeros(2, 2), torch.zeros(2, 2), r"expected \(N,\) with equal N"),
        (torch.zeros(0), torch.zeros(0), r"expected \(N,\) with equal N"),
        (torch.tensor([torch.nan]), torch.zeros(1), "not finite at some pixels"),
        (torch.zeros(1), torch.tensor([torch.inf]), "not finite at some pixels"),
    ],
)
def test_what_is_no_list_of_pixels_is_refused(error: torch.Tensor, confidence: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sparsification_area(error, confidence)
    with pytest.raises(ValueError, match=message):
        confidence_groups(error, confidence, groups=1)


@pytest.mark.parametrize("groups", [0, 5])
def test_more_groups_than_pixels_are_refused(groups: int) -> None:
    with pytest.raises(ValueError, match=f"groups={groups} of 4 pixels"):
        confidence_groups(ERRORS, ERRORS, groups=groups)

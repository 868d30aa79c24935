from typing import Any, cast

import pytest
import torch
from torch import Tensor

from unrollflow.contracts import FlowEstimate, FlowSample
from unrollflow.losses import (
    L1,
    SSIM,
    AllVisible,
    ForwardBackward,
    LossTerms,
    NoSmoothness,
    Ramp,
    RangeMap,
    Staged,
    StagedPhotometric,
    TotalVariation,
    UnrolledTotalVariation,
    UnsupervisedObjective,
    Visibility,
    level_weights,
    visible_mean,
)
from unrollflow.ops import resize_flow

SIZE = 16


class NothingVisible(Visibility):
    """Every pixel is occluded."""

    def forward(self, flow_forward: Tensor, flow_backward: Tensor) -> Tensor:
        return flow_forward.new_zeros(flow_forward[:, :1].shape)


def images(count: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(count, 3, SIZE, SIZE, dtype=torch.float64, generator=generator) for _ in range(2))


def sample(image1: Tensor, image2: Tensor) -> FlowSample:
    return FlowSample(image1=image1, image2=image2, name="noise")


def estimates(count: int = 2, seed: int = 1, scale: float = 1.0) -> list[FlowEstimate]:
    """A pyramid of two levels, coarse first."""
    generator = torch.Generator().manual_seed(seed)
    raws = [scale * torch.randn(count, 2, n, n, dtype=torch.float64, generator=generator) for n in (2, 4)]
    return [FlowEstimate(r, resize_flow(r, (4 * r.shape[-2], 4 * r.shape[-1]))) for r in raws]


def objective(**options: Any) -> UnsupervisedObjective:
    settings = {
        "photometric": L1(),
        "smoothness": UnrolledTotalVariation(),
        "visibility": AllVisible(),
        "smoothness_weight": 0.5,
        "level_weights": 1.0,
        "smoothness_level_weights": 0.0,
    }
    return UnsupervisedObjective(**(settings | options))


def cost(forward: list[FlowEstimate], backward: list[FlowEstimate], count: int = 2, **options: Any) -> LossTerms:
    return objective(**options)(sample(*images(count)), forward, backward, step=0)


def test_identical_frames_and_zero_flow_cost_nothing() -> None:
    image, _ = images()
    zero = estimates(scale=0.0)
    terms = objective(photometric=SSIM())(sample(image, image), zero, zero, step=0)
    assert terms.total.abs() < 1e-12
    assert terms.visible == 1


def test_total_is_photometric_plus_weighted_smoothness() -> None:
    terms = cost(estimates(), estimates(seed=2))
    torch.testing.assert_close(terms.total, terms.photometric + 0.5 * terms.smoothness)
    assert set(terms.log) == {"loss/total", "loss/photometric", "loss/smoothness", "visible_fraction"}


def test_the_smoothness_weight_rises_with_the_step() -> None:
    ramped = objective(smoothness_ramp=Ramp(start=10, steps=10))
    for step, share in ((0, 0.0), (15, 0.5), (20, 1.0)):
        terms = ramped(sample(*images()), estimates(), estimates(seed=2), step=step)
        torch.testing.assert_close(terms.total, terms.photometric + share * 0.5 * terms.smoothness)


def test_exchanging_the_frames_changes_nothing() -> None:
    image1, image2 = images()
    forward, backward = estimates(), estimates(seed=2)
    there = objective()(sample(image1, image2), forward, backward, step=0)
    back = objective()(sample(image2, image1), backward, forward, step=0)
    torch.testing.assert_close(there.total, back.total)


@pytest.mark.parametrize("visibility", [AllVisible(), ForwardBackward(), RangeMap()], ids=repr)
def test_a_batch_costs_the_mean_of_its_images(visibility: Visibility) -> None:
    """So the gradient does not depend on how a batch is split over processes."""
    image1, image2 = images()
    forward, backward = estimates(scale=0.3), estimates(seed=2, scale=0.3)

    def one(i: int) -> Tensor:
        parts = [[FlowEstimate(*(t[i : i + 1] for t in e)) for e in es] for es in (forward, backward)]
        return objective(visibility=visibility)(sample(image1[i : i + 1], image2[i : i + 1]), *parts, step=0).total

    whole = objective(visibility=visibility)(sample(image1, image2), forward, backward, step=0).total
    torch.testing.assert_close(whole, torch.stack([one(0), one(1)]).mean())


@pytest.mark.parametrize("masking", ["image", "released"])
def test_fully_occluded_images_cost_zero_and_have_finite_gradients(masking: str) -> None:
    forward = [FlowEstimate(*(t.requires_grad_() for t in e)) for e in estimates()]
    terms = cost(forward, estimates(seed=2), visibility=NothingVisible(), masking=masking)
    assert terms.photometric == 0
    (gradient,) = torch.autograd.grad(terms.total, forward[-1].raw)
    assert gradient.isfinite().all()


def test_occluded_pixels_do_not_count() -> None:
    difference = torch.tensor([1.0, 100.0, 3.0, 100.0]).view(1, 1, 2, 2)
    visible = torch.tensor([1.0, 0.0, 1.0, 0.0]).view(1, 1, 2, 2)
    assert visible_mean(difference, visible) == 2


def test_visibility_is_cropped_like_a_map_without_border() -> None:
    visible = torch.zeros(1, 1, 4, 4)
    visible[..., 1, 1] = 1
    assert visible_mean(torch.tensor([5.0, 7, 7, 7]).view(1, 1, 2, 2), visible) == 5


def test_level_of_weight_zero_costs_nothing() -> None:
    last = cost(estimates(), estimates(seed=2), level_weights=[0.0, 1.0]).photometric
    first = cost(estimates(), estimates(seed=2), level_weights=[1.0, 0.0]).photometric
    torch.testing.assert_close(last + first, cost(estimates(), estimates(seed=2)).photometric)


def test_gamma_weights_iterates() -> None:
    assert level_weights(0.8, 3) == pytest.approx([0.64, 0.8, 1.0])
    with pytest.raises(ValueError, match=r"3 level weights .* has 2 estimates"):
        cost(estimates(), estimates(), level_weights=[1.0, 1.0, 1.0])


def test_where_smoothness_acts_and_in_which_unit() -> None:
    forward, backward = estimates(), estimates(seed=2)
    term = TotalVariation(edge_alpha=0.0)
    raw = cost(forward, backward, smoothness=term).smoothness
    torch.testing.assert_close(raw, (term(forward[-1].raw, images()[0]) + term(backward[-1].raw, images()[1])) / 2)
    flow = cost(forward, backward, smoothness=term, smoothness_field="flow").smoothness
    torch.testing.assert_close(flow, (term(forward[-1].flow, images()[0]) + term(backward[-1].flow, images()[1])) / 2)
    side = cost(forward, backward, smoothness=term, smoothness_field="flow", smoothness_unit="side").smoothness
    torch.testing.assert_close(side, flow / SIZE)


def test_staged_visibility_starts_masking_at_its_step() -> None:
    staged = Staged(tests=[AllVisible(), NothingVisible()], starts=[0, 10])
    forward, backward = estimates(), estimates(seed=2)
    assert objective(visibility=staged)(sample(*images()), forward, backward, step=9).visible == 1
    assert objective(visibility=staged)(sample(*images()), forward, backward, step=10).visible == 0
    assert staged(forward[-1].flow, backward[-1].flow).sum() == 0


@pytest.mark.parametrize("starts", [[1, 2], [0], [0, 0], [0, 5, 3]])
def test_stages_that_do_not_fit_are_named(starts: list[int]) -> None:
    with pytest.raises(ValueError, match="one start per stage"):
        Staged(tests=[AllVisible(), RangeMap()], starts=starts)


def test_gradcheck_through_warping_and_both_terms() -> None:
    image1, image2 = images(1)
    backward = estimates(1, seed=2)
    raw = estimates(1)[-1].raw.requires_grad_()

    def total(raw: Tensor) -> Tensor:
        forward = [*estimates(1)[:-1], FlowEstimate(raw, resize_flow(raw, (SIZE, SIZE)))]
        return objective(photometric=SSIM())(sample(image1, image2), forward, backward, step=0).total

    assert torch.autograd.gradcheck(total, raw, atol=1e-5)


def test_held_out_score_falls_for_the_true_flow() -> None:
    image1, _ = images()
    image2 = image1.roll(2, dims=-1)
    truth = torch.zeros(2, 2, SIZE, SIZE, dtype=torch.float64)
    truth[:, 0] = 2
    score = objective(smoothness=NoSmoothness(), visibility=NothingVisible()).held_out
    assert score(image1, image2, truth) < 0.3 * score(image1, image2, 0 * truth)  # two of 16 columns leave the frame


def test_a_flow_that_hides_everything_scores_worse_than_none() -> None:
    image1, _ = images()
    far = torch.full((2, 2, SIZE, SIZE), 100.0, dtype=torch.float64)
    score = objective(visibility=ForwardBackward()).held_out
    assert score(image1, image1, far) > score(image1, image1, 0 * far)


def test_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="smoothness_weight is negative: -1"):
        objective(smoothness_weight=-1)


@pytest.mark.parametrize("name", ["masking", "smoothness_field", "smoothness_unit", "padding"])
def test_misspelt_choices_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}='nonsense'; choose one of"):
        objective(**{name: "nonsense"})


def crops(origin: tuple[int, int] = (5, 3)) -> FlowSample:
    """Crops of whole frames of 28x32, of which the second is the first moved right by 8 px: a smooth wave."""
    x = torch.arange(32.0, dtype=torch.float64).expand(28, 32)
    wave = torch.stack([torch.sin(0.3 * (x + shift)) for shift in (0, -8)])  # (2, 28, 32)
    whole1, whole2 = (wave[i].expand(2, 3, 28, 32) / 2 + 0.5 for i in (0, 1))
    window = (..., slice(origin[1], origin[1] + SIZE), slice(origin[0], origin[0] + SIZE))
    return {
        "image1": whole1[window],
        "image2": whole2[window],
        "full_image1": whole1,
        "full_image2": whole2,
        "crop_origin": torch.tensor([origin, origin]).double(),
        "name": "wave",
    }


def moved(shift: float) -> list[FlowEstimate]:
    """Two levels of a flow to the right by a number of pixels of the crop."""
    levels = []
    for n in (2, 4):
        raw = torch.zeros(2, 2, n, n, dtype=torch.float64)
        raw[:, 0] = shift * n / SIZE
        levels.append(FlowEstimate(raw, resize_flow(raw, (4 * n, 4 * n))))
    return levels


def test_whole_frames_explain_what_leaves_the_crop() -> None:
    pair = crops()
    flows = (moved(8.0), moved(-8.0))
    without: FlowSample = {"image1": pair["image1"], "image2": pair["image2"], "name": "wave"}
    options: dict[str, Any] = {"smoothness_weight": 0.0, "level_weights": 0.0}
    whole = objective(**options)(pair, *flows, step=0).total
    cropped = objective(**options)(without, *flows, step=0).total
    assert whole < 0.05  # forwards nothing leaves the frame; backwards 3 of 16 columns do
    assert cropped > 0.1


def test_levels_of_whole_frames_agree_with_the_crops_where_all_is_inside() -> None:
    pair = crops(origin=(8, 4))  # multiples of both levels' factors: then the shrunken frames share their pixels
    without: FlowSample = {"image1": pair["image1"], "image2": pair["image2"], "name": "wave"}
    still = (moved(0.0), moved(0.0))
    whole, cropped = (objective(smoothness_weight=0.0)(s, *still, step=0).total for s in (pair, without))
    torch.testing.assert_close(whole, cropped)


def test_what_leaves_the_crop_but_not_the_frame_counts_as_visible() -> None:
    pair, flows = crops(), (moved(8.0), moved(-8.0))
    without: FlowSample = {"image1": pair["image1"], "image2": pair["image2"], "name": "wave"}
    test = ForwardBackward()
    inside = objective(visibility=test)(without, *flows, step=0).visible
    beside = objective(visibility=test)(pair, *flows, step=0).visible
    assert inside == pytest.approx(0.5)  # 8 of 16 columns leave the crop, both ways
    assert beside == pytest.approx((16 + 13) / 32)  # to the left, 3 of them leave the frame, too


def test_each_crop_of_a_batch_has_its_own_origin() -> None:
    one, other = crops(origin=(5, 3)), crops(origin=(9, 2))
    mixed = {k: torch.stack([one[k][0], other[k][0]]) for k in one if k != "name"}  # type: ignore[literal-required]
    flows = (moved(3.0), moved(-3.0))
    joint = objective()(cast(FlowSample, mixed), *flows, step=0).total
    separate = [objective()(pair, *flows, step=0).total for pair in (one, other)]
    torch.testing.assert_close(joint, torch.stack(separate).mean())


def test_photometric_stages_change_at_their_step() -> None:
    staged = StagedPhotometric(stages=[L1(), SSIM()], starts=[0, 10])
    flows = (estimates(), estimates(seed=2))
    for step, term in ((9, L1()), (10, SSIM())):
        there = objective(photometric=staged)(sample(*images()), *flows, step=step)
        assert there.photometric == objective(photometric=term)(sample(*images()), *flows, step=step).photometric


@pytest.mark.parametrize("masking", ["image", "released"])
def test_the_photometric_term_of_a_step_is_looked_up_once(masking: str) -> None:
    class Counts(L1):
        steps: list[int] = []  # noqa: RUF012

        def at(self, step: int) -> L1:
            self.steps.append(step)
            return self

    cost(estimates(), estimates(seed=2), photometric=Counts(), masking=masking)  # two levels, both ways
    assert Counts.steps == [0]

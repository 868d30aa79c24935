import pytest
import torch
from torch import Tensor

from unrollflow.losses import NoSmoothness, Smoothness, TotalVariation, UnrolledTotalVariation, hard_penalty
from unrollflow.ops import image_gradient, unrolled_cost

TERMS = Smoothness.__subclasses__()
OPERATORS = ("forward", "sobel", "sobel_unnormalised")


def random(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def step_edge() -> Tensor:
    """u jumps by 3 in the middle of four columns; v is 0."""
    return torch.tensor([[0.0, 0, 3, 3], [0, 0, 0, 0]]).view(1, 2, 1, 4).repeat(1, 1, 4, 1)


@pytest.mark.parametrize("term", TERMS)
def test_constant_flow_with_flat_guide_costs_nothing(term: type[Smoothness]) -> None:
    assert term()(torch.full((2, 2, 8, 8), 3.0), torch.zeros(2, 3, 8, 8)) == 0 or term is TotalVariation
    assert TotalVariation()(torch.full((2, 2, 8, 8), 3.0), torch.zeros(2, 3, 8, 8)) == 0


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [("l1", 3.0), ("huber", 0.5 * (3.0 - 0.25)), ("charbonnier", (9 + 0.01**2) ** 0.5)],
)
def test_hard_penalties_by_hand(penalty: str, expected: float) -> None:
    # x: one of three differences of u jumps, none of v; y: no difference; the rest costs the penalty of 0
    term = TotalVariation(penalty=penalty, delta=0.5, edge_alpha=0.0)
    at_zero = 0.01 if penalty == "charbonnier" else 0.0
    along_x = (expected + 5 * at_zero) / 6
    assert term(step_edge(), torch.zeros(1, 3, 4, 4)).item() == pytest.approx((along_x + at_zero) / 2)


def test_an_edge_of_the_image_excuses_an_edge_of_the_flow() -> None:
    image = (step_edge()[:, :1] / 3).repeat(1, 3, 1, 1)
    flat = TotalVariation(edge_alpha=10.0)(step_edge(), torch.zeros(1, 3, 4, 4))
    assert TotalVariation(edge_alpha=10.0)(step_edge(), image) < 1e-4 * flat


def test_edge_weights_inside_and_outside_agree_for_l1_only() -> None:
    field, image = random(1, 2, 6, 6), random(1, 3, 6, 6)

    def value(penalty: str, position: str) -> float:
        return TotalVariation(penalty=penalty, edge_position=position)(field, image).item()

    assert value("l1", "inside") == pytest.approx(value("l1", "outside"))
    assert value("huber", "inside") != pytest.approx(value("huber", "outside"))


def test_symmetric_guide_doubles_the_contrast() -> None:
    field, image = random(1, 2, 6, 6), random(1, 3, 6, 6)
    doubled = TotalVariation(edge_alpha=5.0, guide_range="symmetric")(field, image)
    torch.testing.assert_close(doubled, TotalVariation(edge_alpha=10.0)(field, image))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("order", [1, 2])
def test_terms_differ_in_the_penalty_alone(operator: str, order: int) -> None:
    """A threshold of infinity makes the unrolled cost a quadratic of the same weighted gradient that TV sees."""
    field, image = random(2, 2, 9, 8), random(2, 3, 9, 8)
    shared = {"operator": operator, "order": order, "edge_alpha": 0.0}
    gradients = image_gradient(field, operator=operator, order=order)
    hard, unrolled = TotalVariation(**shared), UnrolledTotalVariation(lam=0.2, rho=0.5, **shared)
    expected_hard = sum(g.abs().mean() for g in gradients) / 2
    expected_unrolled = sum(unrolled_cost(g, lam=0.2, rho=0.5).mean() for g in gradients) / 2
    torch.testing.assert_close(hard(field, image), expected_hard)
    torch.testing.assert_close(unrolled(field, image), expected_unrolled)


def test_guide_of_full_size_is_averaged_to_the_field() -> None:
    field, image = random(1, 2, 4, 5), random(1, 3, 16, 20)
    blocks = image.unfold(2, 4, 4).unfold(3, 4, 4).mean(dim=(-2, -1))
    torch.testing.assert_close(TotalVariation()(field, image), TotalVariation()(field, blocks))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels(channels: int) -> None:
    assert UnrolledTotalVariation()(random(1, channels, 6, 6), random(1, 3, 6, 6)).ndim == 0


@pytest.mark.parametrize("term", [TotalVariation(penalty="charbonnier"), UnrolledTotalVariation(steps=3)])
def test_gradcheck(term: Smoothness) -> None:
    image = random(1, 3, 5, 5)
    assert torch.autograd.gradcheck(lambda f: term(f, image), (4 * random(1, 2, 5, 5)).requires_grad_())


@pytest.mark.parametrize("term", TERMS)
def test_autocast_changes_nothing(term: type[Smoothness]) -> None:
    field, image = random(1, 2, 8, 8).float(), random(1, 3, 8, 8).float()
    plain = term()(field, image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert term()(field, image).equal(plain)


def test_batch_is_the_mean_of_its_images() -> None:
    field, image = random(3, 2, 6, 6), random(3, 3, 6, 6)
    term = UnrolledTotalVariation()
    one_by_one = torch.stack([term(field[i : i + 1], image[i : i + 1]) for i in range(3)]).mean()
    torch.testing.assert_close(term(field, image), one_by_one)


def test_no_smoothness_is_zero_without_gradient() -> None:
    assert NoSmoothness()(random(1, 2, 4, 4).requires_grad_(), random(1, 3, 4, 4)) == 0
    assert NoSmoothness().penalty(random(3)).sum() == 0


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="penalty='l2'; choose one of"):
        TotalVariation(penalty="l2")
    with pytest.raises(ValueError, match="edge_position='inner'"):
        TotalVariation(edge_position="inner")
    with pytest.raises(ValueError, match="guide_range='half'"):
        UnrolledTotalVariation(guide_range="half")
    with pytest.raises(ValueError, match="order=3"):
        TotalVariation(order=3)
    with pytest.raises(ValueError, match="epsilon=0"):
        TotalVariation(epsilon=0.0)
    with pytest.raises(ValueError, match="edge_alpha is negative: -1"):
        TotalVariation(edge_alpha=-1)
    with pytest.raises(ValueError, match="rho=0"):
        UnrolledTotalVariation(rho=0.0)
    with pytest.raises(ValueError, match="unknown penalty 'cubic'"):
        hard_penalty(torch.zeros(1), penalty="cubic")

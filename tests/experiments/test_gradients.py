import importlib

import pytest
import torch

from unrollflow.losses import TotalVariation
from unrollflow.ops import image_gradient

gradients = importlib.import_module("experiments.05_gradients")
mixture = importlib.import_module("experiments.06_released_mixture")


def test_opposite_gradients_flip_every_sign() -> None:
    gradient = torch.tensor([3.0, -4.0, 0.0])
    assert gradients.compared(gradient, -gradient) == (pytest.approx(-1), 5, 1)
    assert gradients.compared(gradient, 3 * gradient) == (pytest.approx(1), 10, 0)


@pytest.mark.parametrize("name", list(mixture.MIXTURES))
def test_a_ramp_is_what_the_operator_says_of_it(name: str) -> None:
    chosen = mixture.MIXTURES[name]
    field = torch.arange(8.0).expand(1, 1, 8, 8)
    side = min(mixture.SIZE) if chosen.unit == "side" else 1
    gradient = image_gradient(field / side, operator=chosen.operator)[0]
    assert gradient[0, 0, 4, 4] == chosen.ramp


@pytest.mark.parametrize("name", list(mixture.MIXTURES))
@pytest.mark.parametrize("penalty", ["tv", "unrolled"])
def test_terms_of_a_mixture_share_all_but_the_penalty(name: str, penalty: str) -> None:
    term, chosen = mixture.smoothness(mixture.MIXTURES[name], penalty, 0.3), mixture.MIXTURES[name]
    assert (term.operator, term.edge_position, term.order, term.edge_alpha) == (
        chosen.operator, chosen.edge_position, 1, 10.0,
    )  # fmt: skip
    if penalty == "unrolled":
        assert term.lam / term.rho == pytest.approx(0.3 * chosen.ramp)
    else:
        assert isinstance(term, TotalVariation)


def test_the_best_trial_is_no_worse_than_none_in_all_pixels() -> None:
    rows = [{"results": {"epe": epe, "epe_occ": occluded}} for epe, occluded in ((1.0, 3.0), (1.2, 2.0), (1.5, 1.0))]
    assert mixture.best(rows, 1.3) is rows[1]
    assert mixture.best(rows, 0.5) is rows[0]

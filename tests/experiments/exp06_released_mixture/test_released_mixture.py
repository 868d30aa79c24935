from pathlib import Path

import pytest
import torch

from experiments.common.grid import Row
from experiments.exp06_released_mixture import __main__ as mixture
from unrollflow.losses import TotalVariation
from unrollflow.ops import image_gradient


def final(name: str, penalty: str, weight: float, epe: float) -> Row:
    """Of two images, of which the second has no occluded pixels."""
    images = {"epe": [epe, 3 * epe], "epe_noc": [epe, 3 * epe], "epe_occ": [2 * epe, None]}
    return {
        "settings": {"mixture": name, "penalty": penalty, "weight": weight, "seed": 1},
        "results": {"images": images, "epe": 2 * epe, "epe_noc": 2 * epe, "epe_occ": 2 * epe},
    }


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


def test_the_shares_multiply_to_the_whole_in_either_order(tmp_path: Path) -> None:
    (_, tv_operator, sobel), errors = mixture.MIXTURES, (1.0, 0.8, 1.5, 0.9)
    cells = [(name, penalty) for name in (tv_operator, sobel) for penalty in ("tv", "unrolled")]
    finals = [final(*cell, weight, epe) for weight, (cell, epe) in enumerate(zip(cells, errors, strict=True))]
    mixture.write_shares(tmp_path, finals)
    lines = [line.strip("| ").split(" | ") for line in (tmp_path / "table.md").read_text().splitlines()[2:]]
    assert [[float(weight) for weight in line[1:3]] for line in lines] == [[0, 3], [0, 1], [1, 3], [0, 2], [2, 3]]
    for place in (3, 4, 5):
        whole, penalty, then_operator, operator, then_penalty = (
            1 + float(line[place].split()[0]) / 100 for line in lines
        )
        assert whole == pytest.approx(0.9)
        assert (penalty, operator) == pytest.approx((0.8, 1.5))
        assert penalty * then_operator == pytest.approx(whole, abs=1e-3)
        assert operator * then_penalty == pytest.approx(whole, abs=1e-3)

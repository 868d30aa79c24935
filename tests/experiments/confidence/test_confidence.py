import math
from pathlib import Path

import pytest
import torch

from experiments.common.accuracy import held_out
from experiments.confidence.__main__ import fit_samples, main
from experiments.confidence.fit import fitted_calibration, logistic, negative_log_likelihood, probability
from experiments.confidence.signals import pixels_of, recorded
from unrollflow.inference import pretrained
from unrollflow.models import PyramidMatcher, strips
from unrollflow.ops import Calibration, flow_confidence
from unrollflow.ops.occlusion import CALIBRATION


def test_the_calibration_of_simulated_pixels_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    true = Calibration(scale=0.4, power=3.0, floor=0.2)
    mismatch = torch.logspace(-2, 1, 20_000)
    right = torch.rand(len(mismatch), generator=generator) < probability(mismatch, true)
    assert fitted_calibration(mismatch, right) == pytest.approx(true, rel=0.1)


def test_the_probability_is_the_confidence_of_the_package() -> None:
    flow, back = torch.zeros(1, 2, 1, 1), torch.tensor([0.3, 0.4]).view(1, 2, 1, 1)
    assert probability(torch.tensor([0.5]), CALIBRATION).item() == pytest.approx(flow_confidence(flow, back).item())


def test_a_logistic_regression_has_the_log_odds_of_the_shares() -> None:
    signal = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]).unsqueeze(1)
    right = torch.tensor([1, 0, 0, 0, 1, 1, 1, 0]).bool()
    constant, slope = logistic(signal, right).tolist()
    assert constant == pytest.approx(-math.log(3))
    assert constant + slope == pytest.approx(math.log(3))


def test_a_confidence_of_a_half_costs_the_logarithm_of_two() -> None:
    assert negative_log_likelihood(torch.tensor([0.5, 0.5]), torch.tensor([True, False])) == pytest.approx(math.log(2))


def test_entropies_lie_between_certainty_and_chance() -> None:
    network = PyramidMatcher(levels=2).eval()
    images = torch.rand(2, 1, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), recorded(network.refinement) as full, recorded(network.matching) as half:
        network(*images)
    assert full[-1].shape == (1, 1, 32, 40)
    assert half[-1].shape == (1, 1, 16, 20)
    for entropies, displacements in ((full, 9), (half, 25)):
        assert (entropies[-1] > 0).all()
        assert entropies[-1].max() < math.log(displacements)
    count = len(full)
    with torch.no_grad():
        network(*images)
    assert len(full) == count  # nothing is recorded any more


def test_entropies_are_of_the_whole_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the network computes frames of this size in strips."""
    network, pair = pretrained(), held_out()[0]
    whole = pixels_of(network, [pair])
    monkeypatch.setattr(strips, "MOST_PIXELS", 16 * 64)
    in_strips = pixels_of(network, [pair])
    for found, expected in zip(in_strips, whole, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_pixels_are_those_of_the_flow_there_and_back() -> None:
    network, pair = pretrained(), held_out()[0]
    pixels = pixels_of(network, [pair])
    with torch.no_grad():
        found = network(pair["image1"].unsqueeze(0), pair["image2"].unsqueeze(0))
    torch.testing.assert_close(pixels.confidence, flow_confidence(found.flow, found.flow_backward).flatten())
    torch.testing.assert_close(pixels.error, (found.flow[0] - pair["flow"]).norm(dim=0).flatten())
    assert all(values.shape == (64 * 64,) for values in pixels)


def test_the_fit_shares_no_split_with_training_or_table() -> None:
    assert fit_samples().split == "test"
    assert held_out().split == "validation"


@pytest.mark.slow
def test_the_experiment_leaves_tables_and_a_figure(tmp_path: Path) -> None:
    main(smoke=True, folder=tmp_path)
    for folder in (".", "calibration", "deciles", "signals"):
        assert len((tmp_path / folder / "table.csv").read_text().splitlines()) > 2
    assert (tmp_path / "figure.png").stat().st_size > 10_000

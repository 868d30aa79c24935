import csv
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger, WandbLogger
from torch import Tensor, nn

from tests.training.test_module import NETWORK, OBJECTIVE, data, parts, trainer
from unrollflow.callbacks.smoothness_telemetry import SmoothnessTelemetry, field_statistics, gradient_shares
from unrollflow.losses import (
    LossTerms,
    NoSmoothness,
    SupervisedEndpointError,
    TotalVariation,
    UnrolledTotalVariation,
)
from unrollflow.models import PWCLite
from unrollflow.training.compile import StepParts
from unrollflow.training.module import UnsupervisedFlow


def terms(weights: Tensor, *, weight: float = 2.0) -> LossTerms:
    """Photometric 3 a, smoothness 2 b or, where there is one weight, -2 a."""
    photometric, smoothness = 3 * weights[0], 2 * weights[1] if len(weights) > 1 else -2 * weights[0]
    return LossTerms(photometric + weight * smoothness, photometric, smoothness, torch.ones(()))


def shares(weights: Tensor, **options: float) -> dict[str, float]:
    return {name: value.item() for name, value in gradient_shares(terms(weights, **options), [weights]).items()}


def test_shares_of_gradients_by_hand() -> None:
    found = shares(torch.ones(2, dtype=torch.float64, requires_grad=True))
    assert found == {
        "gradient_photometric": 3.0,
        "gradient_smoothness": 4.0,
        "smoothness_share": pytest.approx(4 / 7),
        "cosine": 0.0,
    }


def test_terms_that_work_against_each_other() -> None:
    assert shares(torch.ones(1, requires_grad=True))["cosine"] == pytest.approx(-1.0)


def test_without_a_weight_there_is_no_share_and_the_graph_is_kept() -> None:
    weights = torch.ones(2, requires_grad=True)
    assert shares(weights, weight=0.0) == {
        "gradient_photometric": 3.0, "gradient_smoothness": 0.0, "smoothness_share": 0.0, "cosine": 0.0,
    }  # fmt: skip
    step = terms(weights)
    gradient_shares(step, [weights])
    step.total.backward()
    assert weights.grad is not None
    assert weights.grad.tolist() == [3.0, 4.0]


def fields(term: Any, *values: float) -> dict[str, float]:
    """Statistics of a field of constant slopes along x, one image each; half of all entries (along y) are 0."""
    ramps = torch.stack([v * torch.arange(4.0).expand(1, 4, 4) for v in values])
    found = field_statistics([(term, ramps, torch.zeros(len(values), 3, 4, 4))])
    return {name: value.item() for name, value in found.items()}


def test_iterates_by_hand() -> None:
    """Threshold 1, slopes 0.5 and 3: q_1 = 0, 2; then beta = -c and -1, so that q_2 = 2 c - 1 = 0 and 3."""
    found = fields(UnrolledTotalVariation(lam=1.0, rho=1.0, steps=2, edge_alpha=0.0), 0.5, 3.0)
    assert found["c_mean"] == pytest.approx((0.5 + 3.0) / 4)
    assert (found["thresholded_1"], found["thresholded_2"]) == (0.75, 0.75)
    assert found["residual_1"] == pytest.approx((0.5 + 1.0) / 4)
    assert found["residual_2"] == pytest.approx((0.5 + 0.0) / 4)


def test_the_histogram_holds_every_entry_once() -> None:
    found = fields(TotalVariation(edge_alpha=0.0), 0.002, 0.2, 50.0, 2.0)
    bins = {name: share for name, share in found.items() if name.startswith("c_from")}
    assert sum(bins.values()) == pytest.approx(1.0)
    assert {name for name, share in bins.items() if share == 0.125} == {
        "c_from_0.001_to_0.003", "c_from_0.1_to_0.3", "c_from_1_to_3", "c_from_10_to_inf",
    }  # fmt: skip
    assert bins["c_from_0_to_0.001"] == 0.5
    assert not [name for name in found if name.startswith(("thresholded", "residual"))]


def test_c_is_the_input_of_the_penalty() -> None:
    """If the guide has an edge where the flow has one, c is small, unless the edge weights are outside the penalty."""
    step = torch.tensor([0.0, 0.0, 2.0, 2.0]).expand(1, 1, 4, 4)
    guide = (step / 2).expand(1, 3, 4, 4)
    inside, outside = (
        field_statistics([(TotalVariation(edge_position=position), step, guide)])["c_mean"].item()
        for position in ("inside", "outside")
    )
    assert outside == pytest.approx(2 / 3 / 2)
    assert inside == pytest.approx(outside * 2.718281828**-10)


def test_without_fields_there_are_no_statistics() -> None:
    assert field_statistics([]) == {}


def logged(
    directory: Path, *, every: int = 2, steps: int = 4, **options: Any
) -> tuple[dict[int, dict[str, float]], Any]:
    """Telemetry of a training by step, and its module."""
    module = UnsupervisedFlow(**parts(**options))
    logger = CSVLogger(str(directory), name="flow", version=0)
    runner = trainer(directory, max_steps=steps, logger=logger, callbacks=[SmoothnessTelemetry(every_n_steps=every)])
    runner.fit(module, data())
    with (directory / "flow" / "version_0" / "metrics.csv").open() as file:
        rows = {
            int(row["step"]): {k.partition("/")[2]: float(v) for k, v in row.items() if "telemetry/" in k}
            for row in csv.DictReader(file)
            if row.get("telemetry/c_mean")
        }
    return rows, module


def test_it_is_logged_every_few_steps_and_changes_nothing(tmp_path: Path) -> None:
    rows, watched = logged(tmp_path / "watched")
    assert list(rows) == [0, 2]
    assert 0 < rows[2]["smoothness_share"] < 1
    assert rows[2]["gradient_photometric"] > 0
    assert {"thresholded_1", "residual_1", "c_mean", "cosine"} <= rows[2].keys()
    alone = UnsupervisedFlow(**parts())
    trainer(tmp_path, max_steps=4).fit(alone, data())
    assert all(value.equal(alone.state_dict()[name]) for name, value in watched.state_dict().items())
    assert not watched.objective._forward_hooks
    assert not watched.objective.smoothness._forward_pre_hooks


def test_the_share_grows_with_the_weight(tmp_path: Path) -> None:
    small, large = (
        logged(tmp_path / str(weight), steps=1, objective=partial(OBJECTIVE, smoothness_weight=weight))[0][0]
        for weight in (0.5, 5.0)
    )
    assert large["gradient_smoothness"] == pytest.approx(10 * small["gradient_smoothness"], rel=1e-4)
    assert large["smoothness_share"] > small["smoothness_share"]


def test_no_smoothness_has_no_share(tmp_path: Path) -> None:
    rows, _ = logged(tmp_path, steps=1, smoothness=NoSmoothness())
    assert rows[0]["smoothness_share"] == rows[0]["gradient_smoothness"] == 0
    assert rows[0]["c_mean"] > 0


def test_a_step_that_is_due_runs_uncompiled_and_the_others_compiled(tmp_path: Path) -> None:
    class Calls(nn.Module):
        def __init__(self, objective: nn.Module) -> None:
            super().__init__()
            self.inner, self.steps = [objective], []  # a list: not a part of the module

        def forward(self, *arguments: Any, step: int) -> Any:
            self.steps.append(step)
            return self.inner[0](*arguments, step=step)

    def stand_in(network: Any, objective: nn.Module, device: torch.device) -> StepParts:
        calls.append(Calls(objective))
        return StepParts(network, calls[-1])

    calls: list[Calls] = []
    with mock.patch("unrollflow.training.module.compiled", stand_in):
        rows, module = logged(tmp_path, every=3, compile=True)
    assert list(rows) == [0, 3]
    assert calls[0].steps == [1, 2]
    assert module.parts.objective is calls[0]


def test_of_accumulated_batches_the_first_counts(tmp_path: Path) -> None:
    counted = mock.Mock(side_effect=gradient_shares)
    runner = trainer(tmp_path, accumulate_grad_batches=2, callbacks=[SmoothnessTelemetry(every_n_steps=1)])
    with mock.patch("unrollflow.callbacks.smoothness_telemetry.gradient_shares", counted):
        runner.fit(UnsupervisedFlow(**parts()), data())
    assert counted.call_count == 1


def test_hooks_are_removed_after_an_error(tmp_path: Path) -> None:
    class Breaks(PWCLite):
        def bidirectional(self, image1: Tensor, image2: Tensor) -> Any:
            raise RuntimeError("no memory")

    module = UnsupervisedFlow(**parts(backbone=Breaks(**NETWORK)))
    before = module.parts
    with pytest.raises(RuntimeError, match="no memory"):
        trainer(tmp_path, callbacks=[SmoothnessTelemetry()]).fit(module, data())
    assert module.parts is before
    assert not module.objective._forward_hooks


def test_weights_and_biases_get_the_histogram_as_one(tmp_path: Path) -> None:
    logger = mock.Mock(spec=WandbLogger, save_dir=str(tmp_path), version="1")
    logger.name = "flow"
    trainer(tmp_path, logger=logger, callbacks=[SmoothnessTelemetry()]).fit(UnsupervisedFlow(**parts()), data())
    (call,) = [c for c in logger.log_metrics.call_args_list if "telemetry/c" in c.args[0]]
    histogram = call.args[0]["telemetry/c"]
    assert sum(histogram.histogram) == pytest.approx(1.0)
    assert len(histogram.bins) == len(histogram.histogram) + 1
    assert call.kwargs == {"step": 0}


def test_an_objective_without_smoothness_is_refused(tmp_path: Path) -> None:
    module = UnsupervisedFlow(**parts(objective=SupervisedEndpointError))
    with pytest.raises(ValueError, match="found a SupervisedEndpointError"):
        trainer(tmp_path, callbacks=[SmoothnessTelemetry()]).fit(module, data())


def test_a_number_of_steps_is_at_least_one() -> None:
    with pytest.raises(ValueError, match="every_n_steps is out of range: 0"):
        SmoothnessTelemetry(every_n_steps=0)

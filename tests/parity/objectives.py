"""Checks of fixtures 07: the released total losses, of pyramids and of iterates, as configurations of our objective."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.conftest import Fixture
from tests.parity.losses import DTYPES, RELEASED, photometric_of
from unrollflow.contracts import FlowEstimate, FlowSample
from unrollflow.losses import (
    ForwardBackward,
    LossTerms,
    NoSmoothness,
    RangeMap,
    Smoothness,
    TotalVariation,
    UnrolledTotalVariation,
    UnsupervisedObjective,
    level_weights,
)
from unrollflow.ops import resize_flow

LEVELS = 5
PENALTIES = {"abs": "l1", "charbonnier": "charbonnier", "huber": "huber"}


def estimates(raws: list[Tensor], factor: int = 4) -> list[FlowEstimate]:
    """Raw flows, as our lists run, with their up-sampling."""
    return [FlowEstimate(r, resize_flow(r, (factor * r.shape[-2], factor * r.shape[-1]))) for r in raws]


def smoothness_of(case: dict[str, Any], weights: list[float]) -> tuple[Smoothness, dict[str, Any]]:
    """The case's smoothness term, and where, in which unit and with which weights the objective applies it.

    `weights` are those of the unrolled term's levels, or of all estimates, as our lists run.
    """
    loss, admm = case["loss"], case["admm_args"]
    if admm is not None and any(weights) and np.any(loss["w_admm"]):
        term = UnrolledTotalVariation(
            lam=admm["lamb"],
            rho=admm["rho"],
            eta=float(admm["eta"]),
            steps=admm["T"],
            operator=RELEASED,
            order={"1st": 1, "2nd": 2}[admm["grad"]],
            edge_alpha=admm["alpha"],
            guide_range="symmetric" if loss["type"] == "sequence" else "unit",
        )
        levels = [w * loss["admm_rho"] / admm["rho"] for w in weights]
        return term, {"smoothness_weight": 1.0, "smoothness_level_weights": levels, "smoothness_field": "raw"}
    if not loss["w_smooth"]:
        return NoSmoothness(), {"smoothness_weight": 0.0, "smoothness_level_weights": 0.0}
    order = 2 if loss.get("smooth_2nd") else 1
    mode = loss["sm_mode"]
    term = TotalVariation(penalty=PENALTIES[mode], order=order, edge_alpha=loss["alpha"], edge_position="outside")
    factor = 1.0 if (order, mode) == (2, "abs") else 0.5  # the released terms sum quarters of the directions' means
    return term, {
        "smoothness_weight": factor * loss["w_smooth"],
        "smoothness_field": "flow",
        "smoothness_unit": "side",
    }


def objective_of(case: dict[str, Any]) -> UnsupervisedObjective:
    """The objective of a pyramid's case; its lists run fine to coarse, ours coarse to fine."""
    loss = case["loss"]
    term, options = smoothness_of(case, [float(w) for w in loss["w_admm"][::-1]])
    scales = {"smoothness_level_weights": [float(w) for w in loss["w_sm_scales"][::-1]]}
    return build(loss, term, level_weights=[float(w) for w in loss["w_scales"][::-1]], **(scales | options))


def sequence_objective_of(case: dict[str, Any], count: int) -> UnsupervisedObjective:
    """The objective of a case of iterates, all weighted by powers of gamma."""
    loss = case["loss"]
    weights = level_weights(loss["gamma"], count)
    term, options = smoothness_of(case, [loss["w_admm"] * w for w in weights])
    return build(loss, term, level_weights=weights, **({"smoothness_level_weights": weights} | options))


def build(loss: dict[str, Any], term: Smoothness, **options: Any) -> UnsupervisedObjective:
    return UnsupervisedObjective(
        photometric_of(loss),
        term,
        visibility=RangeMap() if loss["occ_from_back"] else ForwardBackward(),
        masking="released",
        padding=loss["warp_pad"],
        **options,
    )


def expect_gradients(fixture: Fixture, prefix: str, value: Tensor, leaves: dict[str, Tensor]) -> None:
    """Gradient with respect to every leaf; one that the reference lacks is exactly zero."""
    if not value.requires_grad:
        assert not any(name.startswith(prefix) for name in fixture.arrays), prefix
        return
    gradients = torch.autograd.grad(value, list(leaves.values()), retain_graph=True, materialize_grads=True)
    for name, gradient in zip(leaves, gradients, strict=True):
        if f"{prefix}_{name}" in fixture.arrays:
            fixture.expect(f"{prefix}_{name}", gradient)
        else:
            assert not gradient.any(), f"{prefix}_{name} should be zero"


def expect_terms(fixture: Fixture, name: str, terms: LossTerms, weight: float, unrolled: bool) -> None:
    smoothness = weight * terms.smoothness
    zero = torch.zeros_like(smoothness)
    fixture.expect(f"{name}_total", terms.total)
    fixture.expect(f"{name}_warp", terms.photometric)
    fixture.expect(f"{name}_smooth", zero if unrolled else smoothness)
    fixture.expect(f"{name}_admm", smoothness if unrolled else zero)


def check_unflow(fixture: Fixture) -> None:
    for dtype in DTYPES:
        leaves = raw_flows(fixture, LEVELS, dtype)
        ways = [estimates([leaves[f"raw_{d}_{level}"] for level in range(LEVELS)][::-1]) for d in ("fw", "bw")]
        for name, case in fixture.meta["cases"].items():
            expect_case(fixture, name, objective_of(case), leaves, *ways, reported=-1)


def check_sequence(fixture: Fixture) -> None:
    count = sum(name.startswith("raw_fw_") for name in fixture.arrays)
    for dtype in DTYPES:
        leaves = raw_flows(fixture, count, dtype)
        ways = [estimates([leaves[f"raw_{d}_{i}"] for i in range(count)], factor=8) for d in ("fw", "bw")]
        for name, case in fixture.meta["cases"].items():
            # the released mean of the flow is that of the first entry of the list: here the first iterate
            expect_case(fixture, name, sequence_objective_of(case, count), leaves, *ways, reported=0)


def raw_flows(fixture: Fixture, count: int, dtype: torch.dtype) -> dict[str, Tensor]:
    names = [f"raw_{d}_{i}" for d in ("fw", "bw") for i in range(count)]
    return {name: fixture.input(name, dtype).requires_grad_() for name in names}


def expect_case(
    fixture: Fixture,
    name: str,
    objective: UnsupervisedObjective,
    leaves: dict[str, Tensor],
    forward: list[FlowEstimate],
    backward: list[FlowEstimate],
    *,
    reported: int,
) -> None:
    """The terms of a case, its visibility, and the gradients of every term with respect to every raw flow."""
    images = fixture.input("images", forward[0].raw.dtype)
    sample = FlowSample(image1=images[:, :3], image2=images[:, 3:], name="fixture")
    terms = objective(sample, forward, backward, step=0)
    unrolled = isinstance(objective.smoothness, UnrolledTotalVariation)
    expect_terms(fixture, name, terms, objective.smoothness_weight, unrolled)
    mean = torch.cat([forward[reported].flow, backward[reported].flow], dim=1).abs().mean()
    fixture.expect(f"{name}_flow_mean", mean)
    fixture.expect(f"{name}_noc1", objective.visibility(forward[-1].flow, backward[-1].flow))
    weighted = objective.smoothness_weight * terms.smoothness
    parts = {"warp": terms.photometric, "admm" if unrolled else "smooth": weighted, "total": terms.total}
    for part, value in parts.items():
        expect_gradients(fixture, f"{name}_grad_{part}", value, leaves)

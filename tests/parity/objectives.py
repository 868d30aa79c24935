"""Check of fixture 07: the released total losses as configurations of our objective."""

from typing import Any

import torch
from torch import Tensor

from tests.parity.conftest import Fixture
from tests.parity.losses import DTYPES, RELEASED, photometric_of
from unrollflow.contracts import FlowEstimate
from unrollflow.losses import (
    ForwardBackward,
    LossTerms,
    NoSmoothness,
    RangeMap,
    Smoothness,
    TotalVariation,
    UnrolledTotalVariation,
    UnsupervisedObjective,
)
from unrollflow.ops import resize_flow

LEVELS = 5
PENALTIES = {"abs": "l1", "charbonnier": "charbonnier", "huber": "huber"}


def estimates(raws: list[Tensor], factor: int = 4) -> list[FlowEstimate]:
    """Fine-to-coarse raw flows as our coarse-to-fine list."""
    return [FlowEstimate(r, resize_flow(r, (factor * r.shape[-2], factor * r.shape[-1]))) for r in raws[::-1]]


def smoothness_of(case: dict[str, Any]) -> tuple[Smoothness, dict[str, Any]]:
    """The case's smoothness term, and where, in which unit and with which weights the objective applies it."""
    loss, admm = case["loss"], case["admm_args"]
    if admm is not None and any(loss["w_admm"]):
        term = UnrolledTotalVariation(
            lam=admm["lamb"],
            rho=admm["rho"],
            eta=float(admm["eta"]),
            steps=admm["T"],
            operator=RELEASED,
            order={"1st": 1, "2nd": 2}[admm["grad"]],
            edge_alpha=admm["alpha"],
        )
        levels = [float(w) * loss["admm_rho"] / admm["rho"] for w in loss["w_admm"][::-1]]
        return term, {"smoothness_weight": 1.0, "smoothness_level_weights": levels, "smoothness_field": "raw"}
    if not loss["w_smooth"]:
        return NoSmoothness(), {"smoothness_weight": 0.0, "smoothness_level_weights": 0.0}
    order = 2 if loss.get("smooth_2nd") else 1
    mode = loss["sm_mode"]
    term = TotalVariation(penalty=PENALTIES[mode], order=order, edge_alpha=loss["alpha"], edge_position="outside")
    factor = 1.0 if (order, mode) == (2, "abs") else 0.5  # the released terms sum quarters of the directions' means
    return term, {
        "smoothness_weight": factor * loss["w_smooth"],
        "smoothness_level_weights": [float(w) for w in loss["w_sm_scales"][::-1]],
        "smoothness_field": "flow",
        "smoothness_unit": "side",
    }


def objective_of(case: dict[str, Any]) -> UnsupervisedObjective:
    loss = case["loss"]
    term, options = smoothness_of(case)
    return UnsupervisedObjective(
        photometric_of(loss),
        term,
        visibility=RangeMap() if loss["occ_from_back"] else ForwardBackward(),
        level_weights=[float(w) for w in loss["w_scales"][::-1]],
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
        images = fixture.input("images", dtype)
        leaves = {
            f"raw_{d}_{level}": fixture.input(f"raw_{d}_{level}", dtype).requires_grad_()
            for d in ("fw", "bw")
            for level in range(LEVELS)
        }
        forward = estimates([leaves[f"raw_fw_{level}"] for level in range(LEVELS)])
        backward = estimates([leaves[f"raw_bw_{level}"] for level in range(LEVELS)])
        for name, case in fixture.meta["cases"].items():
            objective = objective_of(case)
            terms = objective(images[:, :3], images[:, 3:], forward, backward, step=0)
            unrolled = isinstance(objective.smoothness, UnrolledTotalVariation)
            expect_terms(fixture, name, terms, objective.smoothness_weight, unrolled)
            fixture.expect(f"{name}_flow_mean", torch.cat([forward[-1].flow, backward[-1].flow], dim=1).abs().mean())
            fixture.expect(f"{name}_noc1", objective.visibility(forward[-1].flow, backward[-1].flow))
            weighted = objective.smoothness_weight * terms.smoothness
            parts = {"warp": terms.photometric, "admm" if unrolled else "smooth": weighted, "total": terms.total}
            for part, value in parts.items():
                expect_gradients(fixture, f"{name}_grad_{part}", value, leaves)

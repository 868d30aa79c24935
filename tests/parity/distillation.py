"""Checks of fixtures 08 and 10: affine changes of frames, flow and mask, and the loss of a student."""

import torch
from torch import Tensor

from tests.parity.conftest import Fixture
from tests.parity.losses import DTYPES, gradient_of
from unrollflow.contracts import FlowEstimate
from unrollflow.losses import consistency_loss
from unrollflow.ops import affine_flow, affine_map, affine_warp, compose_affine, coords_grid, leaves_frame
from unrollflow.ops.affine import affine_points, invert_affine

AFFINE_ERROR = 1e-5
"""Relative error of the reference, which computes positions in float32; ten times this is allowed."""


def drawn_maps(rows: list[list[float]]) -> Tensor:
    """Maps (B, 2, 3) of the drawn [zoom, squeeze, tx, ty, phi] of each sample."""
    zoom, squeeze, shift_x, shift_y, angle = torch.tensor(rows, dtype=torch.float64).unbind(dim=1)
    return affine_map(zoom=zoom, squeeze=squeeze, shift_x=shift_x, shift_y=shift_y, angle=angle)


def check_affine(fixture: Fixture) -> None:
    image1, image2, flow, mask = (fixture.input(name, torch.float32) for name in ("im1", "im2", "flow", "mask"))
    size = (flow.shape[-2], flow.shape[-1])

    def expect(name: str, value: Tensor) -> None:
        fixture.meta["f32_vs_f64_maxabs_over_maxabs"].setdefault(name, AFFINE_ERROR)
        fixture.expect(name, value.reshape(fixture.arrays[name].shape).float())

    for name, case in fixture.meta["cases"].items():
        theta1 = drawn_maps(case["glob"])
        theta2 = compose_affine(drawn_maps(case["rel"]), theta1)
        expect(f"{name}_theta1_before_mirror", theta1)
        expect(f"{name}_theta2_before_mirror", theta2)
        for number, theta in ((1, theta1), (2, theta2)):
            leaving = torch.from_numpy(fixture.arrays[f"{name}_invalid{number}"]).flatten() > 0
            assert torch.equal(leaves_frame(theta, size), leaving), f"{name}_invalid{number}"
        signs = torch.tensor(case["sign"], dtype=torch.float64).reshape(-1, 2, 1)
        theta1, theta2 = signs * theta1, signs * theta2
        expect(f"{name}_theta1", theta1)
        expect(f"{name}_theta2", theta2)
        x, y = affine_points(invert_affine(theta1), coords_grid(*size), size).unbind(dim=1)
        expect(f"{name}_sample_x1", x)
        expect(f"{name}_sample_y1", y)
        expect(f"{name}_im1_t", affine_warp(image1, theta1))
        expect(f"{name}_im2_t", affine_warp(image2, theta2))
        expect(f"{name}_mask_t", affine_warp(mask, theta1))
        expect(f"{name}_flow_t", affine_flow(flow, theta1, theta2))


def check_student(fixture: Fixture) -> None:
    sequence = fixture.meta["seq"]
    cases = {"seq": sequence} | {f"pwc_q{case['ar_q']:g}": case | {"gamma": 0.0} for case in fixture.meta["pwc"]}
    for dtype in DTYPES:
        target, noc = (fixture.input(name, dtype) for name in ("target", "noc"))
        predictions = fixture.input("preds", dtype).requires_grad_()  # (n, B, 2, H, W)
        estimates = [FlowEstimate(raw=flow, flow=flow) for flow in predictions]
        for name, case in cases.items():
            # of the list, the pyramid's student is held against its finest flow: the reference's first, our last
            chosen = [estimates] if name == "seq" else [estimates[:1], estimates[-1:]]
            values = [student_loss(part, target, noc, case) for part in chosen]
            expected = float(fixture.arrays[f"{name}_value"])
            value = min(values, key=lambda v: abs(v.item() - expected))
            fixture.expect(f"{name}_value", value)
            gradient = gradient_of(value, predictions)
            if fixture.arrays[f"{name}_grad"].ndim == 4:  # with respect to the one estimate that counts
                gradient = gradient.sum(dim=0)
            fixture.expect(f"{name}_grad", gradient)


def student_loss(estimates: list[FlowEstimate], target: Tensor, noc: Tensor, case: dict[str, float]) -> Tensor:
    return consistency_loss(
        estimates,
        target,
        noc,
        epsilon=case["ar_eps"],
        exponent=case["ar_q"],
        gamma=case["gamma"],
        masking="released",
    )

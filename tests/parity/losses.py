"""Checks of fixtures 01 to 04: the unrolled cost, smoothness, photometric terms, warping and occlusion."""

import torch
from torch import Tensor

from tests.parity.conftest import Fixture
from unrollflow.losses import L1, SSIM, Census, TotalVariation, UnrolledTotalVariation, WeightedSum, photometric_loss
from unrollflow.ops import (
    edge_weights,
    forward_backward_visibility,
    image_gradient,
    range_map,
    range_map_visibility,
    resize_image,
    unroll,
    unrolled_cost,
    warp,
)

DTYPES = (torch.float64, torch.float32)
RELEASED = "sobel_unnormalised"


def gradient_of(value: Tensor, leaf: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(value, leaf, retain_graph=True)
    return gradient


def check_unrolled(fixture: Fixture) -> None:
    meta = fixture.meta
    order = {"1st": 1, "2nd": 2}[meta["grad"]]
    constants = {"lam": meta["lamb"], "rho": meta["rho"], "eta": float(meta["eta"])}
    symmetric = fixture.arrays["image"].min() < 0  # RAFT's images
    for dtype in DTYPES:
        image, flow = fixture.input("image", dtype), fixture.input("flow", dtype).requires_grad_()
        guide = resize_image(image, (flow.shape[-2], flow.shape[-1]))
        mask_x, mask_y = edge_weights(guide, alpha=meta["alpha"], operator=RELEASED, order=order)
        gx, gy = image_gradient(flow, operator=RELEASED, order=order)
        c = torch.cat([gx * mask_x, gy * mask_y], dim=1)
        fixture.expect("mask_x", mask_x)
        fixture.expect("mask_y", mask_y)
        fixture.expect("C", c)
        iterates = unroll(c, steps=max(meta["T"]), **constants)
        fixture.expect("Q", torch.stack([q for q, _ in iterates]))
        fixture.expect("Beta", torch.stack([beta for _, beta in iterates]))
        fixture.expect("terms_T4", torch.stack([(q - c + beta).square().mean() for q, beta in iterates]))
        for steps in meta["T"]:
            # the term as users build it; a guide saved in [-1, 1] is converted to [0, 1]
            term = UnrolledTotalVariation(
                steps=steps,
                operator=RELEASED,
                order=order,
                edge_alpha=meta["alpha"],
                guide_range="symmetric" if symmetric else "unit",
                **constants,
            )
            scale = meta["w_admm"] * meta["admm_rho"] / meta["rho"]
            loss = scale * term(flow, (image + 1) / 2 if symmetric else image)
            torch.testing.assert_close(loss, scale * unrolled_cost(c, steps=steps, **constants).mean())
            fixture.expect(f"loss_T{steps}", loss)
            fixture.expect(f"grad_T{steps}", gradient_of(loss, flow))


def check_smoothness(fixture: Fixture) -> None:
    meta = fixture.meta
    names = {"abs": "l1", "huber": "huber", "charbonnier": "charbonnier"}
    for dtype in DTYPES:
        image, flow = fixture.input("image", dtype), fixture.input("flow", dtype).requires_grad_()
        for order in (1, 2):
            for mode in meta["modes"]:
                for alpha in meta["alpha"]:
                    term = TotalVariation(
                        penalty=names[mode],
                        epsilon=meta["charbonnier_eps"],
                        delta=meta["huber_delta"],
                        order=order,
                        edge_alpha=alpha,
                        edge_position="outside",
                    )
                    value = (1.0 if (order, mode) == (2, "abs") else 0.5) * term(flow, image)
                    name = f"{'1st' if order == 1 else '2nd'}_{mode}_a{alpha}"
                    fixture.expect(f"value_{name}", value)
                    fixture.expect(f"grad_{name}", gradient_of(value, flow))


def photometric_of(weights: dict[str, float]) -> WeightedSum:
    """The released photometric loss with weights w_l1, w_ssim and w_ternary."""
    parts = {"w_l1": L1(), "w_ssim": SSIM(), "w_ternary": Census(patch_size=3, border="zero")}
    used = [name for name in parts if weights[name]]
    return WeightedSum(parts=[parts[name] for name in used], weights=[float(weights[name]) for name in used])


def check_photometric(fixture: Fixture) -> None:
    for dtype in DTYPES:
        image, visible = fixture.input("im", dtype), fixture.input("mask", dtype)
        reconstruction = fixture.input("recons", dtype).requires_grad_()
        for name, weights in fixture.meta["combos"].items():
            value = photometric_loss(photometric_of(weights), image, reconstruction, visible, masking="released")
            fixture.expect(f"value_{name}", value)
            fixture.expect(f"grad_{name}", gradient_of(value, reconstruction))
        fixture.expect("map_ssim", SSIM()(image * visible, reconstruction * visible))
        fixture.expect("map_ternary", Census(patch_size=3, border="zero")(image * visible, reconstruction * visible))


def check_warp_occlusion(fixture: Fixture) -> None:
    meta = fixture.meta
    for dtype in DTYPES:
        image, flow12 = fixture.input("image", dtype).requires_grad_(), fixture.input("flow12", dtype).requires_grad_()
        flow21, weight = fixture.input("flow21", dtype), fixture.input("weight", dtype)
        for padding in ("border", "zeros"):
            warped = warp(image, flow12, padding=padding)
            fixture.expect(f"warp_{padding}", warped)
            fixture.expect(f"gimg_{padding}", gradient_of((weight * warped).sum(), image))
            fixture.expect(f"gflow_{padding}", gradient_of((weight * warped).sum(), flow12))
        for a, b, there, back in (("12", "21", flow12, flow21), ("21", "12", flow21, flow12)):
            fixture.expect(f"range_map_of_flow{b}", range_map(back))
            fixture.expect(f"occ_back_{a}", 1 - range_map_visibility(back, threshold=meta["backward_th"]))
            fixture.expect(f"occ_bidir_{a}", 1 - forward_backward_visibility(there, back, **meta["bidir"]))

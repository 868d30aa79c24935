"""Checks of fixtures 05 and 06: the released PWC-Lite and RAFT, filled with the fixtures' formulas."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.parity.conftest import Fixture
from tests.parity.losses import RELEASED
from unrollflow.contracts import FlowEstimate
from unrollflow.models import RAFT, PWCLite
from unrollflow.ops import edge_weights, image_gradient, resize_image, unroll

MODULO = np.uint64(2**32)


def hash_noise(count: int, k: int) -> np.ndarray:
    """The fixture's hash of (i, k), i < count, mapped to [-1, 1)."""
    i = np.arange(1, count + 1, dtype=np.uint64)
    x = (i * np.uint64(2654435761) + np.uint64(k + 1) * np.uint64(2246822519)) % MODULO
    x ^= x >> np.uint64(15)
    x = x * np.uint64(739982445) % MODULO
    x ^= x >> np.uint64(12)
    x = x * np.uint64(695872825) % MODULO
    x ^= x >> np.uint64(15)
    return 2 * (x.astype(np.float64) / 2**32) - 1


def hash_fill(shape: list[int], k: int, role: str, amplitude: float | None) -> np.ndarray:
    r = hash_noise(int(np.prod(shape)), k).reshape(shape)
    if role == "weight":
        centred = r - r.reshape(shape[0], -1).mean(axis=1).reshape(-1, *[1] * (len(shape) - 1))
        return amplitude * np.sqrt(6 / np.prod(shape[1:])) * centred
    return 0.02 * r if role == "bias" else 1 + 0.2 * r


def sine_fill(shape: list[int], k: int, role: str, amplitude: float | None) -> np.ndarray:
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    if role == "bias":
        return 0.01 * np.cos(0.13 * (i + 1) + k)
    wave = np.sin(0.37 * (i + 1) + 0.11 * k).reshape(shape)
    return amplitude * wave * np.sqrt(96 / np.prod(shape[1:])) if role == "weight" else 1 + 0.05 * wave


FILLS = {"hash": hash_fill, "sin": sine_fill}


def fill(model: nn.Module, fixture: Fixture, kind: str) -> None:
    """Set every parameter by the fixture's table, whose order is the released one, and ours."""
    table, parameters = fixture.meta[f"fill_{kind}"]["table"], list(model.parameters())
    assert len(table) == len(parameters)
    for (k, name, shape, role, amplitude), parameter in zip(table, parameters, strict=True):
        assert list(parameter.shape) == shape, f"{name}: {tuple(parameter.shape)}, reference {shape}"
        values = FILLS[kind](shape, k, role, amplitude)
        rounded = values.astype(np.float32).astype(np.float64).ravel()
        check = [rounded.sum(), np.square(rounded).sum(), rounded[0], rounded[min(1, rounded.size - 1)], rounded[-1]]
        np.testing.assert_allclose(check, fixture.arrays[f"fill_{kind}_check"][k], rtol=1e-6, atol=1e-9, err_msg=name)
        parameter.data.copy_(torch.from_numpy(values))


def directions(model: PWCLite, images: Tensor) -> dict[str, list[FlowEstimate]]:
    """Estimates of both directions, fine to coarse as the fixture numbers them."""
    forward, backward = model.bidirectional(images[:, :3], images[:, 3:])
    return {"fw": forward[::-1], "bw": backward[::-1]}


def expect_flows(fixture: Fixture, kind: str, flows: dict[str, list[FlowEstimate]]) -> None:
    for d, estimates in flows.items():
        for level, (raw, flow) in enumerate(estimates):
            fixture.expect(f"{kind}_raw_{d}_l{level}", raw)
            if f"{kind}_flow_{d}_l{level}" in fixture.arrays:
                fixture.meta["f32_vs_f64_maxabs_over_maxabs"].setdefault(f"{kind}_flow_{d}_l{level}", 2e-5)
                fixture.expect(f"{kind}_flow_{d}_l{level}", flow)


def expect_admm(fixture: Fixture, admm: dict[str, Any], flows: dict[str, list[FlowEstimate]], images: Tensor) -> None:
    """The unrolled block's view of the finest flow, at float32's precision."""
    order = {"1st": 1, "2nd": 2}[admm["grad"]]
    for d, image in (("fw", images[:, :3]), ("bw", images[:, 3:])):
        raw = flows[d][0].raw
        guide = resize_image(image, (raw.shape[-2], raw.shape[-1]))
        weights = edge_weights(guide, alpha=admm["alpha"], operator=RELEASED, order=order)
        gradients = image_gradient(raw, operator=RELEASED, order=order)
        c = torch.cat([w * g for w, g in zip(weights, gradients, strict=True)], dim=1)
        q, beta = unroll(c, lam=admm["lamb"], rho=admm["rho"], eta=float(admm["eta"]), steps=1)[1]
        for name, value in zip(("mask_x", "mask_y", "C", "Q1", "Beta1"), (*weights, c, q, beta), strict=True):
            fixture.meta["f32_vs_f64_maxabs_over_maxabs"].setdefault(f"hash_admm_{d}_{name}", 2e-5)
            fixture.expect(f"hash_admm_{d}_{name}", value)


def expect_parameter_gradients(
    fixture: Fixture, kind: str, model: nn.Module, flows: dict[str, list[FlowEstimate]]
) -> None:
    value = torch.stack([flow.square().mean() for estimates in flows.values() for _, flow in estimates]).sum()
    fixture.expect(f"{kind}_gradcheck_value", value)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(value, parameters)
    sums = [torch.stack([g.norm(), (g * p).sum()]) for g, p in zip(gradients, parameters, strict=True)]
    fixture.expect(f"{kind}_gradcheck", torch.stack(sums))


def check_pwclite(fixture: Fixture) -> None:
    for kind in FILLS:
        for dtype in (torch.float64, torch.float32):
            model = PWCLite(dense=not fixture.meta["reduce_dense"]).to(dtype)
            assert sum(p.numel() for p in model.parameters()) == fixture.meta["n_parameters"]
            fill(model, fixture, kind)
            images = fixture.input("images", dtype)
            flows = directions(model, images)
            expect_flows(fixture, kind, flows)
            if kind == "hash":
                expect_admm(fixture, fixture.meta["model"]["admm_args"], flows, images)
            if dtype == torch.float64:
                expect_parameter_gradients(fixture, kind, model, flows)


def expect_iterates(fixture: Fixture, kind: str, model: RAFT, images: Tensor) -> dict[str, list[FlowEstimate]]:
    flows = dict(zip(("fw", "bw"), model.bidirectional(images[:, :3], images[:, 3:]), strict=True))
    for d, estimates in flows.items():
        for i, (raw, flow) in enumerate(estimates):
            for name, value in ((f"{kind}_raw_{d}_it{i}", raw), (f"{kind}_flow_{d}_it{i}", flow)):
                if name in fixture.arrays or (f"{name}_f64" in fixture.arrays and value.dtype == torch.float64):
                    # batch statistics of few pixels amplify rounding; sin flows are nearly 0
                    fixture.meta["f32_vs_f64_maxabs_over_maxabs"].setdefault(name, 1e-4)
                    fixture.expect(name, value)
    return flows


def expect_iterates_admm(fixture: Fixture, flows: dict[str, list[FlowEstimate]], images: Tensor) -> None:
    """The unrolled block's view of every iterate, its masks from images in [-1, 1]."""
    admm = fixture.meta["model"]["admm_args"]
    for d, image in (("fw", images[:, :3]), ("bw", images[:, 3:])):
        raws = [estimate.raw for estimate in flows[d]]
        guide = resize_image(2 * image - 1, (raws[0].shape[-2], raws[0].shape[-1]))
        weights = edge_weights(guide, alpha=admm["alpha"], operator=RELEASED, order=1)
        c = torch.stack([torch.cat([w * g for w, g in zip(weights, image_gradient(raw, operator=RELEASED, order=1),
                                                         strict=True)], dim=1) for raw in raws])  # fmt: skip
        q, beta = unroll(c, lam=admm["lamb"], rho=admm["rho"], eta=float(admm["eta"]), steps=1)[1]
        for name, value in zip(("mask_x", "mask_y", "C", "Q1", "Beta1"), (*weights, c, q, beta), strict=True):
            fixture.meta["f32_vs_f64_maxabs_over_maxabs"].setdefault(f"hash_admm_{d}_{name}", 2e-5)
            fixture.expect(f"hash_admm_{d}_{name}", value)


def check_raft(fixture: Fixture) -> None:
    for kind in FILLS:
        for dtype in (torch.float64, torch.float32):
            iterations = {"iterations": 4, "evaluation_iterations": 4}
            model = RAFT(**iterations).to(dtype).eval()
            assert sum(p.numel() for p in model.parameters()) == fixture.meta["n_parameters"]
            fill(model, fixture, kind)
            images = fixture.input("images", dtype)
            flows = expect_iterates(fixture, kind, model, images)
            if kind == "hash":
                expect_iterates_admm(fixture, flows, images)
            if dtype == torch.float64:
                expect_parameter_gradients(fixture, kind, model, flows)
            elif kind == "hash":
                expect_iterates(fixture, "train_hash", model.train(), images)
                for name in ("running_mean", "running_var", "num_batches_tracked"):
                    fixture.expect(f"train_cnet_norm1_{name}", getattr(model.context.norm, name))

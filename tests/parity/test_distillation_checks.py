"""The checks of 07_sequence, 08 and 10, held against values that follow the reference's formulas line by line."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.parity.conftest import Fixture
from tests.parity.distillation import check_affine, check_student
from tests.parity.objectives import check_sequence
from unrollflow.ops import range_map_visibility

HEIGHT, WIDTH, COUNT, GAMMA = 32, 48, 3, 0.8
FLOAT32_ERROR = 1e-4
"""Relative, of the formulas' values in float32."""


def meta(arrays: dict[str, Any], **entries: Any) -> dict[str, Any]:
    return {"f32_vs_f64_maxabs_over_maxabs": dict.fromkeys(arrays, FLOAT32_ERROR)} | entries


def bilinear(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Border samples of (B, C, H, W) at (B, H, W), four neighbours gathered one by one."""
    height, width = image.shape[-2:]
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    total = torch.zeros_like(image)
    for dx in (0, 1):
        for dy in (0, 1):
            column, row = x.floor() + dx, y.floor() + dy
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
            index = (row.clamp(max=height - 1) * width + column.clamp(max=width - 1)).long()
            values = image.flatten(2).gather(2, index.flatten(1).unsqueeze(1).expand(-1, image.shape[1], -1))
            total = total + weight.unsqueeze(1) * values.view_as(image)
    return total


def warped(image: Tensor, flow: Tensor) -> Tensor:
    y, x = torch.meshgrid(torch.arange(flow.shape[-2]), torch.arange(flow.shape[-1]), indexing="ij")
    return bilinear(image, x + flow[:, 0], y + flow[:, 1])


def enlarged(raw: Tensor) -> Tensor:
    return 8 * F.interpolate(raw, scale_factor=8, mode="bilinear", align_corners=True)


def smoothness(flow: Tensor, image: Tensor, alpha: float) -> Tensor:
    """First order, absolute: a quarter of each direction's weighted mean."""
    total = flow.new_zeros(())
    for dim in (-1, -2):
        weight = torch.exp(-alpha * image.diff(dim=dim).abs().mean(dim=1, keepdim=True))
        total = total + (weight * flow.diff(dim=dim).abs()).mean() / 4
    return total


def unrolled(raw: Tensor, image: Tensor, *, rho: float, lam: float, eta: float, alpha: float) -> Tensor:
    """One step on un-normalised, zero-padded Sobel gradients; the guide in [-1, 1], at the size of the flow."""
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=raw.dtype)

    def derivative(field: Tensor, k: Tensor) -> Tensor:
        flat = field.reshape(-1, 1, *field.shape[-2:])
        return F.conv2d(flat, k.view(1, 1, 3, 3), padding=1).view_as(field)

    guide = F.avg_pool2d(2 * image - 1, 8)
    parts = []
    for k in (kernel, kernel.T):
        parts.append(derivative(raw, k) * torch.exp(-alpha * derivative(guide, k).abs().mean(dim=1, keepdim=True)))
    c = torch.cat(parts, dim=1)
    q = torch.where(c.abs() >= lam / rho, c - lam / rho * c.sign(), torch.zeros_like(c))
    beta = eta * (q - c)
    return rho / 2 * (c.square().mean() + (q - c + beta).square().mean()) / 2


def sequence_fixture() -> Fixture:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 6, HEIGHT, WIDTH, generator=generator)
    raws = {f"raw_{d}_{i}": 0.4 * torch.randn(2, 2, HEIGHT // 8, WIDTH // 8, generator=generator)
            for d in ("fw", "bw") for i in range(COUNT)}  # fmt: skip
    loss = {"type": "sequence", "gamma": GAMMA, "w_l1": 1.0, "w_ssim": 0.0, "w_ternary": 0.0, "occ_from_back": True,
            "warp_pad": "border", "with_bk": True, "alpha": 10, "sm_mode": "abs", "smooth_2nd": False}  # fmt: skip
    admm = {"rho": 0.05, "lamb": 0.1, "eta": 1, "T": 1, "grad": "1st", "alpha": 20}
    cases = {
        "tv": {"loss": loss | {"w_smooth": 2.5, "w_admm": 0.0, "admm_rho": 0.0}, "admm_args": None},
        "admm": {"loss": loss | {"w_smooth": 0.0, "w_admm": 1.0, "admm_rho": 0.05}, "admm_args": admm},
    }
    arrays = {"images": images.numpy()} | {name: raw.numpy() for name, raw in raws.items()}
    for name in cases:
        arrays |= sequence_values(name, images, raws)
    return Fixture(arrays, meta(arrays, cases=cases))


def sequence_values(name: str, images: Tensor, raws: dict[str, Tensor]) -> dict[str, np.ndarray]:
    leaves = {key: raw.double().requires_grad_() for key, raw in raws.items()}
    frames = images.double().chunk(2, dim=1)
    last = [enlarged(leaves[f"raw_{d}_{COUNT - 1}"]) for d in ("fw", "bw")]
    visible = [range_map_visibility(last[1].detach()), range_map_visibility(last[0].detach())]
    warp, smooth = torch.zeros(()).double(), torch.zeros(()).double()
    for i in range(COUNT):
        for k, d in enumerate(("fw", "bw")):
            raw, weight = leaves[f"raw_{d}_{i}"], GAMMA ** (COUNT - 1 - i) / 2
            flow = enlarged(raw)
            difference = (frames[k] - warped(frames[1 - k], flow)).abs() * visible[k]
            warp = warp + weight * difference.mean() / visible[k].mean()
            if name == "tv":
                smooth = smooth + weight * 2.5 * smoothness(flow / HEIGHT, frames[k], 10)
            else:
                smooth = smooth + weight * unrolled(raw, frames[k], rho=0.05, lam=0.1, eta=1.0, alpha=20)
    kind, other = ("smooth", "admm") if name == "tv" else ("admm", "smooth")
    values = {"total": warp + smooth, "warp": warp, kind: smooth}
    first = torch.cat([enlarged(leaves["raw_fw_0"]), enlarged(leaves["raw_bw_0"])])
    scalars = values | {other: torch.zeros(()), "flow_mean": first.abs().mean(), "noc1": visible[0]}
    arrays = {f"{name}_{key}": value for key, value in scalars.items()}
    for key, value in values.items():
        gradients = torch.autograd.grad(value, list(leaves.values()), retain_graph=True)
        arrays |= {f"{name}_grad_{key}_{leaf}": g for leaf, g in zip(leaves, gradients, strict=True)}
    exact = {f"{key}_f64": value.detach().numpy() for key, value in arrays.items()}
    return exact | {key: value.detach().float().numpy() for key, value in arrays.items()}


def affine_fixture() -> Fixture:
    generator = torch.Generator().manual_seed(0)
    image1, image2 = torch.rand(2, 2, 3, HEIGHT, WIDTH, generator=generator)
    flow = 3 * torch.randn(2, 2, HEIGHT, WIDTH, generator=generator)
    mask = (torch.rand(2, 1, HEIGHT, WIDTH, generator=generator) > 0.2).float()
    case = {
        "glob": [[1.3, 1.05, 0.05, -0.02, 0.1], [0.8, 1.0, 0.0, 0.1, -0.2]],  # the second shows the outside
        "rel": [[1.01, 1.0, 0.004, 0.0, 0.01], [0.99, 1.0, 0.0, 0.005, -0.01]],
        "sign": [[1, -1], [-1, 1]],
    }
    arrays = {"im1": image1, "im2": image2, "flow": flow, "mask": mask} | affine_values(
        case, image1, image2, flow, mask
    )
    return Fixture({name: np.asarray(value) for name, value in arrays.items()}, meta(arrays, cases={"c": case}))


def affine_values(case: dict[str, Any], *maps: Tensor) -> dict[str, Any]:
    image1, image2, flow, mask = (m.double().numpy() for m in maps)

    def matrix(row: list[float]) -> np.ndarray:
        zoom, squeeze, tx, ty, phi = row
        sx, sy = zoom * squeeze, zoom / squeeze
        return np.array(
            [[np.cos(phi) * sx, np.sin(phi) * sy, tx], [-np.sin(phi) * sx, np.cos(phi) * sy, ty], [0, 0, 1]]
        )

    def move(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = 2 * x / (WIDTH - 1) - 1, 2 * y / (HEIGHT - 1) - 1
        p, q, _ = np.einsum("ij,j...->i...", theta, np.stack([u, v, np.ones_like(u)]))
        return (p + 1) * (WIDTH - 1) / 2, (q + 1) * (HEIGHT - 1) / 2

    def show(field: np.ndarray, theta: np.ndarray) -> np.ndarray:
        sx, sy = move(np.linalg.inv(theta), x, y)
        sampled = bilinear(*(torch.from_numpy(a).unsqueeze(0) for a in (field, sx, sy))).numpy()[0]
        return sampled * ((sx >= 0) & (sx < WIDTH) & (sy >= 0) & (sy < HEIGHT))

    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    corners = [np.array([0, 0, WIDTH - 1, WIDTH - 1.0]), np.array([0, HEIGHT - 1, 0, HEIGHT - 1.0])]
    columns: dict[str, list[Any]] = {}
    for i in range(2):
        theta1 = matrix(case["glob"][i])
        theta2 = matrix(case["rel"][i]) @ theta1
        mirror = np.diag([*case["sign"][i], 1])
        sources = [move(np.linalg.inv(theta), *corners) for theta in (theta1, theta2)]
        leaving = [bool(((sx < 0) | (sx >= WIDTH) | (sy < 0) | (sy >= HEIGHT)).any()) for sx, sy in sources]
        final1, final2 = mirror @ theta1, mirror @ theta2
        sample_x, sample_y = move(np.linalg.inv(final1), x, y)
        moved = np.subtract(move(final2, x + flow[i, 0], y + flow[i, 1]), move(final1, x, y))
        values = {
            "theta1_before_mirror": theta1[:2].ravel(), "theta2_before_mirror": theta2[:2].ravel(),
            "theta1": final1[:2].ravel(), "theta2": final2[:2].ravel(),
            "sample_x1": sample_x, "sample_y1": sample_y, "invalid1": leaving[0], "invalid2": leaving[1],
            "im1_t": show(image1[i], final1), "im2_t": show(image2[i], final2),
            "mask_t": show(mask[i], final1), "flow_t": show(moved, final1),
        }  # fmt: skip
        for key, value in values.items():
            columns.setdefault(f"c_{key}", []).append(value)
    return {key: np.stack(rows) for key, rows in columns.items()}


def student_fixture() -> Fixture:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(2, 2, 8, 12, generator=generator)
    predictions = torch.randn(4, 2, 2, 8, 12, generator=generator)
    noc = (torch.rand(2, 1, 8, 12, generator=generator) > 0.3).float()
    cases = {"seq": {"ar_eps": 0.01, "ar_q": 0.4, "gamma": 0.8}, "pwc": [{"ar_eps": 0, "ar_q": 1}]}
    arrays: dict[str, Tensor] = {}
    leaf = predictions.double().requires_grad_()
    for name, eps, q, weights in (("seq", 0.01, 0.4, [0.512, 0.64, 0.8, 1.0]), ("pwc_q1", 0.0, 1.0, [0, 0, 0, 1.0])):
        value = torch.zeros(()).double()
        for flow, weight in zip(leaf, weights, strict=True):
            loss = ((flow - target.double()).abs() + eps) ** q
            value = value + weight * (loss * noc).mean() / (noc.double().mean() + 1e-7)
        (gradient,) = torch.autograd.grad(value, leaf)
        arrays |= {f"{name}_value": value.detach(), f"{name}_grad": gradient}
    exact = {f"{key}_f64": value.numpy() for key, value in arrays.items()}
    rounded = {key: value.float().numpy() for key, value in arrays.items()}
    inputs = {"target": target.numpy(), "preds": predictions.numpy(), "noc": noc.numpy()}
    return Fixture(inputs | exact | rounded, meta(exact | rounded, **cases))


CHECKS = {
    "sequence": (sequence_fixture, check_sequence, ["tv_total", "admm_grad_admm_raw_bw_1", "tv_flow_mean"]),
    "affine": (affine_fixture, check_affine, ["c_theta2", "c_flow_t", "c_im2_t", "c_sample_x1"]),
    "student": (student_fixture, check_student, ["seq_value", "pwc_q1_grad"]),
}


@pytest.mark.parametrize("name", CHECKS)
def test_check_agrees_with_the_formulas(name: str) -> None:
    make, check, _ = CHECKS[name]
    check(make())


@pytest.mark.parametrize(
    ("name", "array"), [(name, array) for name, (_, _, arrays) in CHECKS.items() for array in arrays]
)
def test_check_sees_a_deviation(name: str, array: str) -> None:
    make, check, _ = CHECKS[name]
    changed = make()
    for key in (array, f"{array}_f64"):
        if key in changed.arrays:
            changed.arrays[key] = changed.arrays[key] * np.float32(1.003)
    with pytest.raises(AssertionError):
        check(changed)

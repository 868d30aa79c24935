"""Compare flow and gradients of every network on the device and on the CPU, both in float32."""

import copy
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.backbones import network
from benchmarks.gpu.findings import Check, Finding
from benchmarks.gpu.modes import precision_of
from experiments.common.assembly import CONFIGS

SIZE, SHORT_SIZE = (128, 192), (64, 64)
SHORT = ("pyramid_matcher", "pwclite_small")
FLOW_TOLERANCE, GRADIENT_TOLERANCE = 1e-3, 1e-2
"""Tolerances: largest difference of flow over the largest flow; norm of the difference of gradients over their norm."""


def checks(device: torch.device, *, short: bool) -> dict[str, Check]:
    """Return one check for each file of configs/backbone."""
    names = SHORT if short else sorted(path.stem for path in (CONFIGS / "backbone").glob("*.yaml"))
    return {name: partial(agreement, name, device, SHORT_SIZE if short else SIZE) for name in names}


def agreement(name: str, device: torch.device, size: tuple[int, int]) -> list[Finding]:
    """Compare flow and gradients of a network with its initial weights, on a pair of smooth noise."""
    torch.manual_seed(0)
    here = network(name).train()
    there = copy.deepcopy(here).to(device)
    image1, image2 = smooth_pair(size)
    flow, gradients = flow_and_gradients(here, image1, image2)
    with precision_of("float32"):
        other_flow, other_gradients = flow_and_gradients(there, image1.to(device), image2.to(device))
    far = ((other_flow - flow).abs().max() / flow.abs().max().clamp_min(1e-6)).item()
    apart = ((other_gradients - gradients).norm() / gradients.norm().clamp_min(1e-12)).item()
    return [
        Finding(
            f"{name}: flow, largest relative difference", far, "", f"at most {FLOW_TOLERANCE:g}", far <= FLOW_TOLERANCE
        ),
        Finding(
            f"{name}: gradients, relative difference",
            apart,
            "",
            f"at most {GRADIENT_TOLERANCE:g}",
            apart <= GRADIENT_TOLERANCE,
        ),
    ]


def flow_and_gradients(net: nn.Module, image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
    """Return the last flow of both directions, and the gradients of its mean square as one vector, on the CPU."""
    flow = torch.cat([estimates[-1].flow for estimates in net.bidirectional(image1, image2)])
    flow.square().mean().backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    return flow.detach().cpu(), torch.cat([g.flatten().cpu() for g in gradients])


def smooth_pair(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return two images (1, 3, H, W) of smooth noise, the second moved by (3, 2) pixels."""
    small = torch.rand(1, 3, size[0] // 8, size[1] // 8, generator=torch.Generator().manual_seed(0))
    image = nn.functional.interpolate(small, size, mode="bicubic").clamp(0, 1)
    return image, image.roll((2, 3), dims=(-2, -1))

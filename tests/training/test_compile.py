"""A compiled step computes what the step itself does, without a graph break; compiled by stages of torch.compile that
need no C++ compiler, but for the slow tests."""

import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from experiments.common.assembly import CONFIGS, build_model
from tests.helpers.assembly import frames
from tests.helpers.command import run_one_step
from tests.training.test_module import NETWORK, OBJECTIVE, parts
from unrollflow.checkpoints import MODEL_KEY, read_checkpoint
from unrollflow.contracts import FlowSample
from unrollflow.losses import SSIM, Census, ForwardBackward, RangeMap, Staged, UnrolledTotalVariation
from unrollflow.models import PWCLite
from unrollflow.models.correlation import cost_volume
from unrollflow.ops import edge_weights, image_gradient, range_map, unrolled_cost, warp
from unrollflow.training.compile import check_compiler, compiled
from unrollflow.training.module import UnsupervisedFlow

QUICKSTART = CONFIGS / "experiment" / "quickstart_pwclite.yaml"
TRACED = partial(torch.compile, backend="aot_eager")
WHOLE = partial(TRACED, fullgraph=True)
"""Traces forward and backward, and raises where a graph breaks."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


IMAGE, OTHER, FLOW = noise(2, 3, 16, 24), noise(2, 3, 16, 24, seed=1), noise(2, 2, 16, 24, seed=2)
OPERATIONS: dict[str, tuple[Callable[..., Any], tuple[Tensor, ...]]] = {
    "image_gradient": (lambda f: image_gradient(f, operator="sobel", order=2), (IMAGE,)),
    "edge_weights": (lambda f: edge_weights(f, alpha=10.0, operator="sobel_unnormalised"), (IMAGE,)),
    "warp": (warp, (IMAGE, FLOW)),
    "census": (Census(), (IMAGE, OTHER)),
    "ssim": (SSIM(), (IMAGE, OTHER)),
    "gaussian ssim": (SSIM(window="gaussian", window_size=11), (IMAGE, OTHER)),
    "unrolled_cost": (lambda c: unrolled_cost(c, lam=0.1, rho=0.2, steps=3), (FLOW,)),
    "smoothness": (UnrolledTotalVariation(steps=2, detach=True), (FLOW, IMAGE)),
    "cost_volume": (partial(cost_volume, search_range=3), (IMAGE, OTHER)),
    "range_map": (range_map, (FLOW.detach(),)),
    "forward-backward": (ForwardBackward(), (FLOW.detach(), -FLOW.detach())),
    "staged": (lambda f, b: Staged(tests=[RangeMap(), ForwardBackward()], starts=[0, 5]).at(7)(f, b), (FLOW, FLOW)),
}


def value_and_gradients(function: Callable[..., Any], arguments: tuple[Tensor, ...]) -> list[Tensor]:
    result = function(*arguments)
    outputs = [result] if isinstance(result, Tensor) else list(result)
    inputs = [a for a in arguments if a.requires_grad]
    total = torch.stack([o.square().sum() for o in outputs]).sum()
    if not total.requires_grad:
        return outputs
    return [*outputs, *torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)]


LONG = frozenset({"census", "image_gradient"})
"""Of long graphs: with the slow tests."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in OPERATIONS])
def test_an_operation_is_one_graph_of_the_same_values_and_gradients(name: str) -> None:
    torch.compiler.reset()
    function, arguments = OPERATIONS[name]
    plain = value_and_gradients(function, arguments)
    traced = value_and_gradients(WHOLE(function), arguments)
    for one, other in zip(plain, traced, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def loss_and_gradients(model: UnsupervisedFlow, batch: FlowSample, *, step: int) -> tuple[Tensor, list[Tensor]]:
    model.zero_grad()
    forward, backward = model.parts.network.bidirectional(batch["image1"], batch["image2"])
    total = model.parts.objective(batch, forward, backward, step=step).total
    total.backward()
    return total.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def check_equal(model: UnsupervisedFlow, batch: FlowSample, compile_: Callable[..., Any], *, step: int) -> None:
    torch.compiler.reset()
    plain = loss_and_gradients(model, batch, step=step)
    with mock.patch("torch.compile", compile_):
        model.parts = compiled(model.backbone, model.objective, device=torch.device("cpu"))
    loss, gradients = loss_and_gradients(model, batch, step=step)
    torch.testing.assert_close(plain[0], loss)
    assert len(plain[1]) == len(gradients)
    for one, other in zip(plain[1], gradients, strict=True):  # single elements may be sums that cancel
        assert (one - other).norm() <= 1e-3 * one.norm() + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart", "quickstart_pwclite", "raft_moving_layers", "arflow_sintel_unrolled"])
def test_network_and_objective_are_one_graph_each(name: str) -> None:
    check_equal(build_model(CONFIGS / "experiment" / f"{name}.yaml"), frames(64), WHOLE, step=300)


@pytest.mark.slow
def test_generated_code_computes_the_same() -> None:
    # in a fresh process: behind other compilations of the same one, gradients of 1e-6 came out as zeros (torch 2.13)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(compare_generated_code)


def compare_generated_code() -> None:
    torch.manual_seed(0)
    network = PWCLite(**NETWORK | {"pyramid_channels": [4, 6, 8]})
    check_equal(UnsupervisedFlow(**parts(backbone=network)), frames(32), partial(torch.compile, fullgraph=True), step=0)


@pytest.mark.slow
def test_the_step_is_not_compiled_again_and_again() -> None:
    torch.compiler.reset()
    compilations = CompileCounter()
    objective = OBJECTIVE(SSIM(), UnrolledTotalVariation())
    network, batch = PWCLite(**NETWORK), frames(32)
    forward, backward = network.bidirectional(batch["image1"], batch["image2"])
    traced = torch.compile(objective, backend=compilations)
    for step in range(12):
        traced(cast(FlowSample, batch | {"name": [f"another {step}"] * 2}), forward, backward, step=step)
    assert compilations.frame_count <= 3  # for step 0, for step 1, for any other


@pytest.mark.slow
def test_a_compiled_fit_leaves_a_checkpoint_like_any_other(tmp_path: Path) -> None:
    torch.compiler.reset()
    with mock.patch("torch.compile", TRACED):
        run_one_step(tmp_path, QUICKSTART, "--model.compile", "true")
    path = tmp_path / "flow" / "version_0" / "checkpoints" / "last.ckpt"
    checkpoint = read_checkpoint(path)
    assert set(checkpoint["state_dict"]) == set(build_model(QUICKSTART).state_dict())
    assert "compile" not in checkpoint[MODEL_KEY]
    assert not UnsupervisedFlow.load_from_checkpoint(path).compiles
    # a compiled run can be resumed or validated without compilation
    run_one_step(tmp_path, QUICKSTART, "--ckpt_path", str(path), epochs=2)
    figures = (tmp_path / "flow" / "version_0" / "metrics.json").read_text()
    assert '"steps": 2' in figures


def test_the_reason_is_reported_if_compilation_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reason = RuntimeError("no working C++ compiler found")
    with mock.patch("torch.compile", side_effect=reason), pytest.raises(SystemExit) as refused:
        run_one_step(tmp_path, QUICKSTART, "--model.compile", "true")
    assert "unrollflow: torch.compile does not work for cpu" in str(refused.value)
    assert "no working C++ compiler found" in str(refused.value)
    assert "or omit --model.compile" in str(refused.value)


@pytest.mark.slow
def test_a_machine_without_a_compiler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # of what was compiled before
    with (
        torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}),
        pytest.raises(ValueError, match=r"does not work for cpu on this machine .*[Cc]ompiler.*g\+\+ or clang\+\+"),
    ):
        check_compiler(torch.device("cpu"))


def test_parts_of_a_module_are_not_registered_again() -> None:
    names = [name for name, _ in UnsupervisedFlow(**parts()).named_modules()]
    assert not [name for name in names if name.startswith("parts")]

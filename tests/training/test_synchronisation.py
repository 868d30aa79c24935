"""A training step never makes a GPU wait, and uses one device; tested without a GPU, on torch's `meta` device.

What a step does on a GPU is known from its shapes alone. A copy from the host counts as waiting unless it is
`non_blocking`, and so does a tensor that is made of a list of numbers.
"""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from experiments.common.assembly import CONFIGS, build_model
from tests.helpers.assembly import frames
from unrollflow.contracts import FlowSample
from unrollflow.training.module import UnsupervisedFlow

EXPERIMENT = CONFIGS / "experiment"
READS = {
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "repeat_interleave",
    "_linalg_check_errors",
}  # fmt: skip
"""Operations that transfer contents to the host, as values or in a shape."""

INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")
GPU = torch.device("meta")


class Waits(TorchDispatchMode):
    """Collects the operations for which a GPU and the host wait for each other, or that mix devices."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def report(self, what: str) -> None:
        stack = traceback.extract_stack()
        if "_to_device_nonblocking" not in {frame.name for frame in stack}:  # kornia's, which asks for CUDA by name
            lines = [f"{Path(f.filename).name}:{f.lineno}" for f in stack if "/unrollflow/" in f.filename]
            self.found.append(f"{what} at {lines[-1] if lines else '?'}")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[1]
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        target = kwargs.get("device")
        to_gpu = target is not None and torch.device(target) == GPU
        on_gpu, host = (
            [t for t in tensors if t.device == GPU],
            [t for t in tensors if t.device != GPU],
        )
        if name in ("_to_copy", "copy_"):
            asynchronous = kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2])
            if (on_gpu and (host or (target is not None and not to_gpu))) or (host and to_gpu and not asynchronous):
                self.report(f"{name} between devices")
        elif on_gpu and (name in READS or any(t.ndim for t in host)):
            self.report(name)
        elif on_gpu and name in INDEXING and torch.bool in {t.dtype for t in args[1] if t is not None}:
            self.report(f"{name} by a mask")
        if kwargs.get("generator") is not None and to_gpu:
            kwargs = kwargs | {"generator": None}
        return func(*args, **kwargs)


class Numbers(TorchFunctionMode):
    """Reports tensors that are made of Python's numbers on the GPU."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor, Tensor.new_tensor) and result.device == GPU:
            self.waits.report("numbers of the host")
        return result


@contextlib.contextmanager
def waiting() -> Iterator[list[str]]:
    """What makes a GPU wait inside, where the meta device stands for it."""
    waits, generator = Waits(), torch.Generator

    def on_the_cpu(device: object = "cpu") -> torch.Generator:  # there is none on the meta device
        return generator()

    no_autocast = mock.patch("torch.autocast", return_value=contextlib.nullcontext())
    with waits, Numbers(waits), no_autocast, mock.patch("torch.Generator", on_the_cpu):
        yield waits.found


def train(model: UnsupervisedFlow, batch: FlowSample) -> list[str]:
    """What makes a GPU wait in a late training step, its backward pass and the optimizer's step."""
    model = model.to(GPU)
    moved: Any = {name: v.to(GPU) if isinstance(v, Tensor) else v for name, v in batch.items()}
    made = model.configure_optimizers()
    optimizer = made["optimizer"] if isinstance(made, dict) else made
    with waiting() as found, mock.patch.object(UnsupervisedFlow, "global_step", 10**6):
        loss = model.training_step(moved, 0)
        assert loss.device == GPU
        loss.backward()
        model.on_before_optimizer_step(optimizer)
        optimizer.step()
    return found


@pytest.mark.parametrize(
    ("name", "side"),
    [("quickstart", 64), ("quickstart_pwclite", 64), pytest.param("raft_moving_layers", 128, marks=pytest.mark.slow)],
)
def test_no_step_of_a_small_network_makes_a_gpu_wait(name: str, side: int) -> None:
    assert train(build_model(EXPERIMENT / f"{name}.yaml"), frames(side)) == []


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("flownetc", "plain"),
        pytest.param("flownet2", "plain", marks=pytest.mark.slow),
        ("spynet", "plain"),
        ("likenet", "likelihood"),
    ],
)
def test_no_step_of_a_classic_network_makes_a_gpu_wait(name: str, objective: str) -> None:
    atoms = {"backbone": f"{name}_small", "objective": objective}
    paths = {part: CONFIGS / part / f"{atom}.yaml" for part, atom in atoms.items()}
    assert train(build_model(EXPERIMENT / "quickstart_pwclite.yaml", **paths), frames(64)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arflow_sintel_unrolled", "arflow_kitti_charbonnier"])
def test_no_step_of_a_pyramid_with_self_supervision_makes_a_gpu_wait(name: str) -> None:
    assert train(build_model(EXPERIMENT / f"{name}.yaml"), frames(256)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["raft_sintel_unrolled", "raft_kitti_unrolled", "raft_chairs_tv", "raft_labels"])
def test_no_step_of_a_raft_with_self_supervision_makes_a_gpu_wait(name: str) -> None:
    assert train(build_model(EXPERIMENT / f"{name}.yaml"), frames(384)) == []


@pytest.mark.parametrize("jitter", ["arflow", "smurf"])
def test_no_jitter_makes_a_gpu_wait(jitter: str) -> None:
    model = build_model(EXPERIMENT / "quickstart_pwclite.yaml", jitter=CONFIGS / "jitter" / f"{jitter}.yaml")
    assert train(model, frames(64)) == []


def test_full_image_warping_makes_no_gpu_wait() -> None:
    whole = frames(128)
    batch = frames(64) | {
        "full_image1": whole["image1"],
        "full_image2": whole["image2"],
        "crop_origin": torch.tensor([[3.0, 4.0], [5.0, 6.0]]),
    }
    assert train(build_model(EXPERIMENT / "quickstart_pwclite.yaml"), batch) == []  # type: ignore[arg-type]


def test_what_waits_is_found() -> None:
    with waiting() as found:
        here, there = torch.ones(2), torch.ones(2, device=GPU)
        here.to(GPU)
        there.new_tensor([1.0])
        here.to(GPU, non_blocking=True)
        with contextlib.suppress(RuntimeError, NotImplementedError):  # tensors on the meta device have no values
            bool(there.sum() > 0)
        with contextlib.suppress(RuntimeError, NotImplementedError):
            there.nonzero()
        with contextlib.suppress(RuntimeError, NotImplementedError):
            there[there > 0]
        with contextlib.suppress(RuntimeError, NotImplementedError):
            _ = there + here
    assert [entry.split()[0] for entry in found] == [
        "_to_copy",
        "numbers",
        "_local_scalar_dense",
        "nonzero",
        "index",
        "add",
    ]

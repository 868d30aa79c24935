"""Full precision in autocast regions."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from unrollflow.contracts import check_floating

P = ParamSpec("P")
R = TypeVar("R")


def lift(value: object) -> object:
    """Convert a float16 or bfloat16 tensor to float32; return other values, including float64, unchanged."""
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator that disables autocast for a function of tensors, and converts half-precision arguments to float32.

    Half precision is not sufficient for sub-pixel positions, differences of neighbours and variances (bfloat16 has 8
    bits: above 256 px, its step is 2 px), so coordinates, warping, correlation, census, SSIM and the unrolled steps are
    computed in full precision. float32 and float64 arguments are not changed.

    Raises:
        ValueError: if a tensor has integers; bool is allowed for masks.

    >>> full_precision(torch.square)(torch.ones((), dtype=torch.bfloat16)).dtype
    torch.float32
    """

    @wraps(function)
    def _in_full_precision(*args: P.args, **kwargs: P.kwargs) -> R:
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        for tensor in tensors:
            if tensor.dtype != torch.bool:
                check_floating(tensor, user=function.__qualname__)
        device_type = tensors[0].device.type if tensors else "cpu"
        # torch.export cannot store an autocast region, which has no effect here
        spared = torch.compiler.is_exporting() and not torch.is_autocast_enabled(device_type)
        with nullcontext() if spared else torch.autocast(device_type, enabled=False):
            lifted = [lift(a) for a in args]
            return function(*lifted, **{k: lift(v) for k, v in kwargs.items()})  # type: ignore[arg-type]

    return _in_full_precision

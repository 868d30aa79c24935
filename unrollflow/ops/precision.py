"""Full precision inside autocast."""

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
    """A float16 or bfloat16 tensor as float32; anything else, float64 included, as it is."""
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function of tensors outside autocast, with half-precision arguments lifted to float32.

    Sub-pixel positions, differences of neighbours and variances lose their meaning in half precision
    (bfloat16 holds 8 bits: above 256 px it steps by 2 px), so coordinates, warping, correlation, census, SSIM and
    the unrolled steps are computed in full precision. float32 and float64 arguments are left alone.

    Raises:
        ValueError: for a tensor of integers; bool stands for a mask.

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
        # a region in a program of torch.export cannot be stored, and disables nothing here
        spared = torch.compiler.is_exporting() and not torch.is_autocast_enabled(device_type)
        with nullcontext() if spared else torch.autocast(device_type, enabled=False):
            lifted = [lift(a) for a in args]
            return function(*lifted, **{k: lift(v) for k, v in kwargs.items()})  # type: ignore[arg-type]

    return _in_full_precision

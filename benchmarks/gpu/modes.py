"""Precisions of the GPU benchmark."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Mode = Literal["float32", "TF32", "bf16-mixed", "16-mixed"]


@contextmanager
def precision_of(mode: Mode) -> Iterator[None]:
    """Enable TF32 if the mode uses it, and disable it otherwise."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = mode == "TF32"
    torch.set_float32_matmul_precision("high" if mode == "TF32" else "highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])

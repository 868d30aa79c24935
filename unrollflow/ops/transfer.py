"""Transfer of numbers to a device without synchronising with a GPU.

`torch.tensor(numbers, device=...)`, `new_tensor` and a plain `.to` copy from the host, and return only after the GPU
has finished all queued work, so that it is then idle until the host has queued more.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def constant(values: Sequence[float], *, like: Tensor) -> Tensor:
    """Numbers (N,) with the type and device of a tensor, created on the device.

    >>> constant([1.0, 2.5], like=torch.zeros(3)).tolist()
    [1.0, 2.5]
    """
    return torch.stack([like.new_full((), value) for value in values])


def to_device(values: Tensor, *, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Copy values from the CPU to another device without waiting for it.

    With CUDA, unpinned memory has been read when the call returns; this is not guaranteed for MPS, which gets a
    blocking copy.

    >>> to_device(torch.ones(1, dtype=torch.float64), device=torch.device("cpu"), dtype=torch.float32)
    tensor([1.])
    """
    # convert the type on the CPU first, because some devices copy in two steps if the type changes
    return values.to(dtype or values.dtype).to(device, non_blocking=device.type != "mps")

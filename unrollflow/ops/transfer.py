"""Numbers on a tensor's device without making a GPU wait.

`torch.tensor(numbers, device=...)`, `new_tensor` and a plain `.to` copy from the host and return when everything that
the GPU still has to do is done, so that it stands idle until the host has queued more.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def constant(values: Sequence[float], *, like: Tensor) -> Tensor:
    """Numbers (N,) of a tensor's type, filled in on its device.

    >>> constant([1.0, 2.5], like=torch.zeros(3)).tolist()
    [1.0, 2.5]
    """
    return torch.stack([like.new_full((), value) for value in values])


def to_device(values: Tensor, *, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Values drawn on the CPU, copied to another device without waiting for it.

    CUDA has read unpinned memory when the call returns; others may not have, and get a plain copy.

    >>> to_device(torch.ones(1, dtype=torch.float64), device=torch.device("cpu"), dtype=torch.float32)
    tensor([1.])
    """
    # the type first, on the CPU: a copy that changes it is done in two steps on some devices
    return values.to(dtype or values.dtype).to(device, non_blocking=device.type != "mps")

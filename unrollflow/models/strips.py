"""Computation of large frames in strips of rows, without gradients, which needs less memory and time."""

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

MOST_PIXELS = 2**18
"""Pixels of a strip: 32 float32 channels need 32 MB. The system maps and clears larger tensors at each allocation."""


def rows_of_a_strip(like: Tensor) -> int | None:
    """Even number of rows of the strips of tensors (B, C, H, W); None if all rows are computed at once.

    With torch.compile, torch.export, or gradients, all rows are computed at once.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return None
    batch, _, height, width = like.shape
    rows = max(2, MOST_PIXELS // (batch * width) // 2 * 2)
    return rows if rows < height else None


def in_strips(
    compute: Callable[[slice], tuple[Tensor, ...]], like: Tensor, *, halo: int, scales: tuple[Fraction | int, ...]
) -> tuple[Tensor, ...]:
    """Compute a function of all rows in overlapping strips.

    Args:
        compute: function of a slice of rows (`slice(None)` for all) that returns tensors (B, C, h, w), one per scale.
        like: (B, C, H, W), tensor with the rows.
        halo: rows on both sides that a row depends on; even if a scale is 1/2.
        scales: ratio of output rows to input rows, for each output.

    Returns:
        tensors (B, C, H times scale, w), rounded up.
    """
    height = like.shape[2]
    rows = rows_of_a_strip(like)
    if rows is None:
        return compute(slice(None))  # not the height, which may be symbolic in torch.export
    outputs: list[Tensor] = []
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        low = max(top - halo, 0)
        parts = compute(slice(low, min(bottom + halo, height)))
        if not outputs:
            sizes = [-int(-height * scale // 1) for scale in scales]
            outputs = [part.new_empty(*part.shape[:2], n, part.shape[3]) for part, n in zip(parts, sizes, strict=True)]
        for output, part, scale in zip(outputs, parts, scales, strict=True):
            first, skipped = int(top * scale), int((top - low) * scale)
            count = -int(-bottom * scale // 1) - first
            output[:, :, first : first + count] = part[:, :, skipped : skipped + count]
    return tuple(outputs)

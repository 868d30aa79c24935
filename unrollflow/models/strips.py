"""Rows of large frames computed a strip at a time where nothing is differentiated: less memory, and less time."""

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

MOST_PIXELS = 2**18
"""Of a strip: 32 channels of float32 are 32 MB. The system maps and clears larger tensors each time they are made."""


def rows_of_a_strip(like: Tensor) -> int | None:
    """Rows of the strips of tensors (B, C, H, W), even; None where the whole is computed at once.

    A program of torch.compile or torch.export, and whatever will be differentiated, computes the whole.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return None
    batch, _, height, width = like.shape
    rows = max(2, MOST_PIXELS // (batch * width) // 2 * 2)
    return rows if rows < height else None


def in_strips(
    compute: Callable[[slice], tuple[Tensor, ...]], like: Tensor, *, halo: int, scales: tuple[Fraction | int, ...]
) -> tuple[Tensor, ...]:
    """What a function computes of all rows, in strips that overlap where there are several.

    Args:
        compute: of a slice of rows, `slice(None)` for all, tensors (B, C, h, w) whose rows lie at `scales` times those.
        like: (B, C, H, W), whose rows they are.
        halo: rows on either side that a row depends on, even where a scale is a half.
        scales: rows of each output for a row of the input.

    Returns:
        tensors (B, C, H times scale, w), rounded up.
    """
    height = like.shape[2]
    rows = rows_of_a_strip(like)
    if rows is None:
        return compute(slice(None))  # without the height, which may be a symbol of torch.export
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

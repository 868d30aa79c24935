"""Spring's .flo5: a flow in HDF5, through h5py, which is the extra `unrollflow[hdf5]`."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from unrollflow.data.files import check_flow, existing, write_whole

if TYPE_CHECKING:
    import h5py

COMPRESSION_LEVEL = 5  # as Spring's own files are written


def read_flo5(path: str | Path) -> Tensor:
    """Flow (2, H, W), float32, of a .flo5 file, as it stands there (unknown flow is NaN).

    Spring's maps have twice the rows and columns of its frames, but u and v are pixels of the frames: taking every
    second pixel gives the flow of the frames, without rescaling.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if h5py is not installed.
        ValueError: if it is no HDF5 file with a data set "flow" (H, W, 2) of float32.

    Source: Mehl et al., Spring, CVPR 2023; the set's own flow_library.
    """
    path = existing(path)
    h5py = import_h5py()
    try:
        with h5py.File(path, "r") as file:
            rows = np.asarray(file["flow"][()])
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f'{path} cannot be read as .flo5, which is HDF5 with a data set "flow": {error}') from error
    return torch.from_numpy(np.ascontiguousarray(rearrange(rows, "h w c -> c h w"), np.float32))


def write_flo5(path: str | Path, flow: Tensor) -> None:
    """Write a flow (2, H, W) as .flo5, compressed as Spring's files are, whole or not at all; unknown flow is NaN.

    Raises:
        ImportError: if h5py is not installed.
        ValueError: if the flow has another shape.
    """
    check_flow(flow, path)
    h5py = import_h5py()
    rows = rearrange(flow.detach().cpu().float(), "c h w -> h w c").contiguous().numpy()
    content = BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("flow", data=rows, compression="gzip", compression_opts=COMPRESSION_LEVEL)
    write_whole(path, content.getvalue())


def import_h5py() -> h5py:
    """The module h5py, or an ImportError that says how to install it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(".flo5 files are HDF5, which needs h5py: pip install 'unrollflow[hdf5]'") from error
    return h5py

"""Spring's .flo5 files: flow in HDF5, read with h5py (extra `unrollflow[hdf5]`)."""

from __future__ import annotations

import zlib
from io import BytesIO
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from unrollflow.data.io.files import check_flow, check_size, existing, write_atomic

if TYPE_CHECKING:
    import h5py

GZIP = 1  # the number of HDF5's deflate filter
COMPRESSION_LEVEL = 5  # as in Spring's files


def read_flo5(path: str | Path) -> Tensor:
    """Flow (2, H, W), float32, as stored in a .flo5 file (unknown flow is NaN).

    Spring's maps have twice the rows and columns of the frames, but u and v are in pixels of the frames: every second
    row and column is the flow of the frames, without rescaling.

    For security, libhdf5 only reads the layout; this module decompresses the blocks and checks their sizes.

    Raises:
        FileNotFoundError: if the file does not exist.
        ImportError: if h5py is not installed.
        ValueError: if it is not a complete HDF5 file with a data set "flow" (H, W, 2) of float32, gzip or uncompressed.

    Source: Mehl et al., Spring, CVPR 2023, and its flow_library; The HDF5 File Format Specification 3.0.
    """
    path = existing(path)
    h5py = import_h5py()
    try:
        with h5py.File(path, "r") as file:
            flow = file["flow"] if isinstance(file.get("flow", getlink=True), h5py.HardLink) else None
            if not isinstance(flow, h5py.Dataset):
                raise ValueError(f'it contains {list(file)[:8]}; expected a data set "flow" in the file itself')
            check_layout(path, flow)
            return read_blocks(path, flow) if flow.chunks else read_plain(flow)
    except Exception as error:  # h5py raises errors of many kinds
        raise ValueError(f"{path} cannot be read as .flo5 (HDF5): {error}") from error


def check_layout(path: Path, flow: h5py.Dataset) -> None:
    """Raise ValueError unless the data set is a float32 flow, stored in this file, uncompressed or with gzip."""
    if flow.ndim != 3 or flow.shape[2] != 2 or flow.dtype.kind != "f" or flow.dtype.itemsize != 4:
        raise ValueError(f'its "flow" is {flow.dtype} of shape {flow.shape}; expected float32 of shape (H, W, 2)')
    check_size(path, flow.shape[1], flow.shape[0])
    creation = flow.id.get_create_plist()
    filters = [creation.get_filter(k)[0] for k in range(creation.get_nfilters())]
    if flow.is_virtual or flow.external or filters not in ([], [GZIP]):
        raise ValueError(f"its flow is in another file, or has the filters {filters}; expected none or [{GZIP}]")


def read_plain(flow: h5py.Dataset) -> Tensor:
    """Flow (2, H, W) of a data set that is stored uncompressed."""
    if flow.id.get_storage_size() != flow.nbytes:
        raise ValueError(f"wrong size: {flow.shape} needs {flow.nbytes} bytes; {flow.id.get_storage_size()} are stored")
    return torch.from_numpy(np.ascontiguousarray(rearrange(flow[()], "h w c -> c h w"), np.float32))


def read_blocks(path: Path, flow: h5py.Dataset) -> Tensor:
    """Flow (2, H, W) of a data set that is stored in blocks (HDF5 chunks), with or without gzip."""
    blocks = stored_blocks(flow, path.stat().st_size)
    planes = np.empty((2, *flow.shape[:2]), np.float32)
    rows = rearrange(planes, "c h w -> h w c")
    packed = flow.compression is not None
    with path.open("rb") as file:
        for block in blocks:
            file.seek(block.byte_offset)
            content = file.read(block.size)
            place = tuple(
                slice(start, start + side) for start, side in zip(block.chunk_offset, flow.chunks, strict=True)
            )
            target = rows[place]
            values = unpack(content, flow.chunks, flow.dtype, packed=packed and not block.filter_mask)
            target[:] = values[tuple(slice(side) for side in target.shape)]
    return torch.from_numpy(planes)


def stored_blocks(flow: h5py.Dataset, file_bytes: int) -> list[h5py.h5d.StoreInfo]:
    """Position of each block of a data set in its file; ValueError unless all blocks exist and do not overlap."""
    expected = prod(-(-side // block) for side, block in zip(flow.shape, flow.chunks, strict=True))
    too_large = any(block > side for side, block in zip(flow.shape, flow.chunks, strict=True))
    if too_large or expected > file_bytes // flow.dtype.itemsize:  # a block has at least one value
        raise ValueError(f"{flow.shape} in blocks of {flow.chunks} does not fit in a file of {file_bytes} bytes")
    blocks: list[h5py.h5d.StoreInfo] = []
    flow.id.chunk_iter(blocks.append)
    grid = set(product(*(range(0, side, block) for side, block in zip(flow.shape, flow.chunks, strict=True))))
    stored = sum(block.size for block in blocks)
    if len(blocks) != expected or {block.chunk_offset for block in blocks} != grid or stored > file_bytes:
        raise ValueError(
            f"{flow.shape} in blocks of {flow.chunks} needs {expected} blocks; found {len(blocks)} with {stored} bytes "
            f"in a file of {file_bytes} bytes"
        )
    return blocks


def unpack(content: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], *, packed: bool) -> np.ndarray[Any, Any]:
    """Return one block of values, or raise ValueError if its number of bytes is wrong."""
    expected = prod(shape) * dtype.itemsize
    try:
        values = zlib.decompressobj().decompress(content, expected + 1) if packed else content
    except zlib.error as error:
        raise ValueError(f"a block of {len(content)} bytes is damaged: {error}") from error
    if len(values) != expected:
        raise ValueError(f"a block of {shape} needs {expected} bytes; found at least {len(values)}")
    return np.frombuffer(values, dtype).reshape(shape)


def write_flo5(path: str | Path, flow: Tensor) -> None:
    """Write a flow (2, H, W) as .flo5, compressed like Spring's files, atomically; unknown flow is NaN.

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
    write_atomic(path, content.getvalue())


def import_h5py() -> h5py:
    """Return the module h5py, or raise ImportError with the command to install it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(".flo5 files (HDF5) need h5py: pip install 'unrollflow[hdf5]'") from error
    return h5py

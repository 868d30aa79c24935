"""Spring's .flo5: a flow in HDF5, through h5py, which is the extra `unrollflow[hdf5]`."""

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
COMPRESSION_LEVEL = 5  # as Spring's own files are written


def read_flo5(path: str | Path) -> Tensor:
    """Flow (2, H, W), float32, of a .flo5 file, as it stands there (unknown flow is NaN).

    Spring's maps have twice the rows and columns of its frames, but u and v are pixels of the frames: taking every
    second row and column gives the flow of the frames, without rescaling.

    libhdf5 reads the layout alone; the pixels are unpacked here, each block into no more bytes than it may hold.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if h5py is not installed.
        ValueError: if it is not a complete HDF5 file with a data set "flow" (H, W, 2) of float32, gzip or plain.

    Source: Mehl et al., Spring, CVPR 2023, and its flow_library; The HDF5 File Format Specification 3.0.
    """
    path = existing(path)
    h5py = import_h5py()
    try:
        with h5py.File(path, "r") as file:
            flow = file["flow"] if isinstance(file.get("flow", getlink=True), h5py.HardLink) else None
            if not isinstance(flow, h5py.Dataset):
                raise ValueError(f'it holds {list(file)[:8]}; a data set "flow" of its own is expected')
            check_layout(path, flow)
            return read_blocks(path, flow) if flow.chunks else read_plain(flow)
    except Exception as error:  # h5py raises errors of many kinds
        raise ValueError(f"{path} cannot be read as .flo5, which is HDF5: {error}") from error


def check_layout(path: Path, flow: h5py.Dataset) -> None:
    """Raise ValueError unless the data set is a flow of float32, stored in this file, plain or by gzip."""
    if flow.ndim != 3 or flow.shape[2] != 2 or flow.dtype.kind != "f" or flow.dtype.itemsize != 4:
        raise ValueError(f'its "flow" is {flow.dtype} of shape {flow.shape}; float32 of shape (H, W, 2) is expected')
    check_size(path, flow.shape[1], flow.shape[0])
    creation = flow.id.get_create_plist()
    filters = [creation.get_filter(k)[0] for k in range(creation.get_nfilters())]
    if flow.is_virtual or flow.external or filters not in ([], [GZIP]):
        raise ValueError(f"its flow is elsewhere, or packed by the filters {filters}; none or [{GZIP}] is expected")


def read_plain(flow: h5py.Dataset) -> Tensor:
    """Flow (2, H, W) of a data set that is stored as it is."""
    if flow.id.get_storage_size() != flow.nbytes:
        raise ValueError(f"{flow.shape} takes {flow.nbytes} bytes; {flow.id.get_storage_size()} are stored")
    return torch.from_numpy(np.ascontiguousarray(rearrange(flow[()], "h w c -> c h w"), np.float32))


def read_blocks(path: Path, flow: h5py.Dataset) -> Tensor:
    """Flow (2, H, W) of a data set that is stored in blocks (HDF5's chunks), each perhaps packed by gzip."""
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
    """Where each block of a data set stands in its file; ValueError unless all are there, side by side."""
    expected = prod(-(-side // block) for side, block in zip(flow.shape, flow.chunks, strict=True))
    too_large = any(block > side for side, block in zip(flow.shape, flow.chunks, strict=True))
    if too_large or expected > file_bytes // flow.dtype.itemsize:  # a block takes a value at least
        raise ValueError(f"{flow.shape} in blocks of {flow.chunks} is not what a file of {file_bytes} bytes can hold")
    blocks: list[h5py.h5d.StoreInfo] = []
    flow.id.chunk_iter(blocks.append)
    grid = set(product(*(range(0, side, block) for side, block in zip(flow.shape, flow.chunks, strict=True))))
    stored = sum(block.size for block in blocks)
    if len(blocks) != expected or {block.chunk_offset for block in blocks} != grid or stored > file_bytes:
        raise ValueError(
            f"{flow.shape} in blocks of {flow.chunks} is {expected} blocks; {len(blocks)} of {stored} bytes are "
            f"listed, the file has {file_bytes} bytes"
        )
    return blocks


def unpack(content: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], *, packed: bool) -> np.ndarray[Any, Any]:
    """One block of values, or ValueError if its bytes are not as many as it takes."""
    expected = prod(shape) * dtype.itemsize
    try:
        values = zlib.decompressobj().decompress(content, expected + 1) if packed else content
    except zlib.error as error:
        raise ValueError(f"a block of {len(content)} bytes is damaged: {error}") from error
    if len(values) != expected:
        raise ValueError(f"a block of {shape} takes {expected} bytes; at least {len(values)} are stored")
    return np.frombuffer(values, dtype).reshape(shape)


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
    write_atomic(path, content.getvalue())


def import_h5py() -> h5py:
    """The module h5py, or an ImportError that says how to install it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(".flo5 files are HDF5, which needs h5py: pip install 'unrollflow[hdf5]'") from error
    return h5py

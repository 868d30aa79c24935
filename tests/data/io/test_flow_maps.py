"""PFM and .flo5: values, order of rows and bytes, and invalid files."""

import builtins
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrollflow.data.io.flow import read_flo5, read_pfm, write_flo5, write_pfm

SIDE = st.integers(1, 9)
ODD_VALUES = (float("nan"), float("inf"), -0.0, 1e-45, 3.4e38)


def field(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    values = torch.randn(channels, height, width, generator=torch.Generator().manual_seed(seed))
    odd = torch.tensor(ODD_VALUES)[: values.numel()]
    values.view(-1)[: len(odd)] = odd
    return values


def same_bits(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.view(torch.int32), other.view(torch.int32))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(channels=st.sampled_from([1, 3]), height=SIDE, width=SIDE, seed=st.integers(0, 1000))
def test_pfm_keeps_every_bit(tmp_path: Path, channels: int, height: int, width: int, seed: int) -> None:
    values = field(channels, height, width, seed)
    write_pfm(tmp_path / "a.pfm", values)
    assert same_bits(read_pfm(tmp_path / "a.pfm"), values)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=SIDE, width=SIDE, seed=st.integers(0, 1000))
def test_flo5_keeps_every_bit(tmp_path: Path, height: int, width: int, seed: int) -> None:
    flow = field(2, height, width, seed)
    write_flo5(tmp_path / "a.flo5", flow)
    assert same_bits(read_flo5(tmp_path / "a.flo5"), flow)


def test_pfm_is_a_header_and_rows_from_the_bottom_up(tmp_path: Path) -> None:
    write_pfm(tmp_path / "a.pfm", torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    assert (tmp_path / "a.pfm").read_bytes() == b"Pf\n2 2\n-1.0\n" + struct.pack("<4f", 3, 4, 1, 2)


def test_a_flow_as_pfm_gains_a_third_channel_of_zeros(tmp_path: Path) -> None:
    write_pfm(tmp_path / "a.pfm", torch.tensor([1.0, 2.0]).view(2, 1, 1))
    assert (tmp_path / "a.pfm").read_bytes() == b"PF\n1 1\n-1.0\n" + struct.pack("<3f", 1, 2, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"PF\n1 2\n1.0\n" + struct.pack(">6f", 4, 5, 6, 1, 2, 3),  # a positive scale: big endian
        b"PF\n1 2\n-1.0\n" + struct.pack("<6f", 4, 5, 6, 1, 2, 3),
        b"PF 1\t2 -2.5e-1\n" + struct.pack("<6f", 4, 5, 6, 1, 2, 3),  # its magnitude is not a factor
    ],
)
def test_the_sign_of_a_pfm_scale_is_the_order_of_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pfm").write_bytes(content)
    values = read_pfm(tmp_path / "a.pfm")
    assert values.tolist() == [[[1], [4]], [[2], [5]], [[3], [6]]]
    assert values.is_contiguous()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a PFM"),
        (b"P6\n1 1\n255\n" + bytes(12), "not a PFM"),
        (b"Pf\n1 1\n" + bytes(4), "not a PFM"),
        (b"Pf\n-1 1\n-1.0\n" + bytes(4), "not a PFM"),
        (b"Pf\n1 1\n0.0\n" + bytes(4), "scale in .* is '0.0'"),
        (b"Pf\n1 1\n-1e999\n" + bytes(4), "scale in .* is '-1e999'"),
        (b"Pf\n1 1\n1.2.3\n" + bytes(4), "1.2.3"),
        (b"Pf\n0 1\n-1.0\n", "0x1"),
        (b"Pf\n2 1\n-1.0\n" + bytes(7), r"2x1 pixels of 1 channel.*\(20 bytes .*the file has 19"),
        (b"Pf\n2 1\n-1.0\n" + bytes(9), "the file has 21"),
        (b"PF\n2147483647 4294967295\n-1.0\n", "2147483647x4294967295"),
    ],
)
def test_a_pfm_with_a_wrong_header_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "liar.pfm"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_pfm(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("write", "shape"), [(write_flo5, (3, 4, 4)), (write_pfm, (4, 4, 4)), (write_pfm, (3, 0, 4))])
def test_a_map_of_another_shape_is_refused(
    write: Callable[[Path, Tensor], None], shape: tuple[int, ...], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"H, W\)"):
        write(tmp_path / "a", torch.zeros(shape))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [read_flo5, read_pfm])
def test_a_missing_map_is_named(read: Callable[[Path], Tensor], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        read(tmp_path / "missing")


def stored(path: Path, values: np.ndarray, name: str = "flow", **layout: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=values, **layout)
    return path


ROWS = np.arange(7 * 5 * 2, dtype=np.float32).reshape(7, 5, 2)  # u is even, v odd


@pytest.mark.parametrize(
    ("values", "layout"),
    [
        (ROWS, {}),
        (ROWS, {"chunks": (3, 2, 1)}),
        (ROWS, {"compression": "gzip", "compression_opts": 5}),  # as Spring's own writer stores it
        (ROWS, {"compression": "gzip", "chunks": (4, 5, 2)}),
        (ROWS.astype(">f4"), {"compression": "gzip", "chunks": (7, 5, 2)}),
    ],
)
def test_flo5_is_read_as_h5py_reads_it(tmp_path: Path, values: np.ndarray, layout: dict[str, object]) -> None:
    flow = read_flo5(stored(tmp_path / "a.flo5", values, **layout))
    assert flow.is_contiguous()
    assert flow.dtype == torch.float32
    np.testing.assert_array_equal(flow.numpy(), np.moveaxis(ROWS, -1, 0))


def test_flo5_is_written_as_springs_own_writer_does(tmp_path: Path) -> None:
    write_flo5(tmp_path / "a.flo5", torch.from_numpy(np.moveaxis(ROWS, -1, 0)))
    with h5py.File(tmp_path / "a.flo5") as file:
        flow = file["flow"]
        assert (flow.shape, flow.dtype, flow.compression, flow.compression_opts) == ((7, 5, 2), np.float32, "gzip", 5)
        np.testing.assert_array_equal(flow[()], ROWS)


@pytest.mark.parametrize(
    ("values", "layout", "message"),
    [
        (ROWS.astype(np.float64), {}, r"float64 of shape \(7, 5, 2\); expected float32"),
        (ROWS.astype(np.int32), {}, "int32"),
        (ROWS[..., :1], {}, r"\(7, 5, 1\)"),
        (ROWS[0], {}, r"\(5, 2\)"),
        (ROWS, {"name": "disparity"}, "disparity"),
        (ROWS, {"compression": "lzf"}, "filters"),
        (ROWS, {"compression": "gzip", "shuffle": True}, "filters"),
    ],
)
def test_a_data_set_that_is_not_a_flow_is_refused(
    tmp_path: Path, values: np.ndarray, layout: dict[str, object], message: str
) -> None:
    path = stored(tmp_path / "other.flo5", values, **layout)
    with pytest.raises(ValueError, match=rf"other\.flo5.*{message}"):
        read_flo5(path)


def test_a_flo5_without_its_blocks_is_not_read_as_zeros(tmp_path: Path) -> None:
    path = tmp_path / "sparse.flo5"
    with h5py.File(path, "w") as file:  # 2^26 pixels are claimed, one block of 256 values is there
        flow = file.create_dataset("flow", (8192, 8192, 2), np.float32, chunks=(16, 16, 1), compression="gzip")
        flow[:16, :16, 0] = 1
    with pytest.raises(ValueError, match=r"sparse\.flo5.*does not fit in a file of \d+ bytes"):
        read_flo5(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("flow", (64, 64, 2), np.float32, chunks=(32, 32, 2))[:32, :32] = 1
    with pytest.raises(ValueError, match=r"needs 4 blocks; found 1 with 8192 bytes"):
        read_flo5(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("flow", (8192, 8192, 2), np.float32)  # plain, and never written
    with pytest.raises(ValueError, match="needs 536870912 bytes; 0 are stored"):
        read_flo5(path)


def test_a_flo5_must_not_refer_to_other_files(tmp_path: Path) -> None:
    secret = stored(tmp_path / "secret.h5", ROWS)
    with h5py.File(tmp_path / "link.flo5", "w") as file:
        file["flow"] = h5py.ExternalLink(str(secret), "flow")
    with h5py.File(tmp_path / "outside.flo5", "w") as file:
        file.create_dataset("flow", ROWS.shape, np.float32, external=[(str(secret), 0, ROWS.nbytes)])
    layout = h5py.VirtualLayout(ROWS.shape, np.float32)
    layout[:] = h5py.VirtualSource(str(secret), "flow", ROWS.shape)
    with h5py.File(tmp_path / "virtual.flo5", "w") as file:
        file.create_virtual_dataset("flow", layout)
    for name in ("link", "outside", "virtual"):
        with pytest.raises(ValueError, match=rf"{name}\.flo5"):
            read_flo5(tmp_path / f"{name}.flo5")


def test_a_damaged_block_of_a_flo5_is_named(tmp_path: Path) -> None:
    path = stored(tmp_path / "damaged.flo5", ROWS, compression="gzip", chunks=(7, 5, 2))
    with h5py.File(path) as file:
        block = file["flow"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[block.byte_offset + block.size // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.flo5.*block"):
        read_flo5(path)


def test_a_block_that_unpacks_to_more_than_it_may_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.flo5"
    with h5py.File(path, "w") as file:
        flow = file.create_dataset("flow", ROWS.shape, np.float32, chunks=ROWS.shape, compression="gzip")
        flow.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(10**6)))
    with pytest.raises(ValueError, match="needs 280 bytes"):
        read_flo5(path)


def test_without_h5py_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_flo5(tmp_path / "a.flo5", torch.zeros(2, 1, 1))
    real = builtins.__import__

    def absent(name: str, *rest: object) -> object:
        if name == "h5py":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r"pip install 'unrollflow\[hdf5\]'"):
        read_flo5(tmp_path / "a.flo5")

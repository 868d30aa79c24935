import os
import stat
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrollflow.data import read_flo, read_image, read_kitti_flow, write_flo, write_image, write_kitti_flow

SIDE = st.integers(1, 7)


def random_flow(height: int, width: int, seed: int = 0, scale: float = 30) -> Tensor:
    return scale * torch.randn(2, height, width, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=SIDE, width=SIDE, seed=st.integers(0, 1000), scale=st.sampled_from([1e-20, 1.0, 1e9, 1e30]))
def test_flo_keeps_every_bit(tmp_path: Path, height: int, width: int, seed: int, scale: float) -> None:
    flow = random_flow(height, width, seed, scale)
    write_flo(tmp_path / "a.flo", flow)
    assert torch.equal(read_flo(tmp_path / "a.flo"), flow)


def test_flo_keeps_what_is_not_finite(tmp_path: Path) -> None:
    flow = torch.tensor([float("nan"), float("inf")]).view(2, 1, 1)
    write_flo(tmp_path / "a.flo", flow)
    assert torch.equal(read_flo(tmp_path / "a.flo").view(torch.int32), flow.view(torch.int32))


def test_flo_is_magic_width_height_and_rows_of_u_and_v(tmp_path: Path) -> None:
    flow = torch.tensor([[[1.0, 2.0, 3.0]], [[-1.0, -2.0, -3.0]]])  # one row of three pixels
    write_flo(tmp_path / "a.flo", flow)
    expected = b"PIEH" + struct.pack("<2i6f", 3, 1, 1, -1, 2, -2, 3, -3)
    assert (tmp_path / "a.flo").read_bytes() == expected


def header(width: int, height: int, magic: float = 202021.25) -> bytes:
    return struct.pack("<f2i", magic, width, height)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a .flo file"),
        (header(2, 2)[:11], "not a .flo file"),
        (header(1, 1, magic=1.0) + bytes(8), "202021.25"),
        (header(2, 2) + bytes(31), r"2x2 pixels \(44 bytes\), the file has 43 bytes"),
        (header(2, 2) + bytes(33), "the file has 45"),
        (header(0, 2), "0x2"),
        (header(-1, -1) + bytes(8), "-1x-1"),
        (header(2**31 - 1, 2**31 - 1), "2147483647x2147483647"),
        (header(40_000, 40_000) + bytes(8), "40000x40000"),
    ],
)
def test_a_flo_file_with_a_wrong_header_is_refused_before_memory_is_allocated(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "liar.flo"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_flo(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("read", [read_flo, read_kitti_flow, read_image])
def test_a_missing_file_is_named(read: object, tmp_path: Path) -> None:
    assert callable(read)
    for path in (tmp_path / "missing.png", tmp_path):  # a folder is not a file
        with pytest.raises(FileNotFoundError, match=path.name):
            read(path)


@pytest.mark.parametrize("write", [write_flo, write_kitti_flow])
@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 2, 4, 4), (4, 4, 2)])
def test_a_flow_of_another_shape_is_refused(write: object, shape: tuple[int, ...], tmp_path: Path) -> None:
    assert callable(write)
    with pytest.raises(ValueError, match=r"\(2, H, W\)"):
        write(tmp_path / "a", torch.zeros(shape))
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=SIDE, width=SIDE, seed=st.integers(0, 1000))
def test_kitti_flow_survives_within_a_64th_of_a_pixel(tmp_path: Path, height: int, width: int, seed: int) -> None:
    flow = random_flow(height, width, seed)
    valid = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) < 0.7
    write_kitti_flow(tmp_path / "a.png", flow, valid)
    read, read_valid = read_kitti_flow(tmp_path / "a.png")
    assert torch.equal(read_valid, valid)
    lost = torch.where(valid, flow - read, 0.0)
    assert (lost >= 0).all(), "writing truncates"
    assert (lost < 1 / 64).all()
    assert not read[:, ~valid].any()


@pytest.mark.parametrize(
    ("u", "stored"),
    [
        (0.0, 32768),
        (1 / 64, 32769),
        (0.99 / 64, 32768),
        (-0.01 / 64, 32767),
        (600.0, 65535),
        (-600.0, 0),
        (511.99, 65535),
    ],
)
def test_kitti_stores_the_floor_of_64_u_plus_32768_clipped(tmp_path: Path, u: float, stored: int) -> None:
    write_kitti_flow(tmp_path / "a.png", torch.tensor([u, 0.0], dtype=torch.float64).view(2, 1, 1))
    valid, v, red = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)[0, 0].tolist()
    assert (red, v, valid) == (stored, 32768, 1)


def test_kitti_refuses_what_it_cannot_hold_but_not_where_it_is_unknown(tmp_path: Path) -> None:
    flow = torch.tensor([[[float("nan"), 1.0]], [[0.0, 2.0]]])
    for unknown in (flow, flow.nan_to_num(nan=1e10)):
        with pytest.raises(ValueError, match=r"a\.png is unknown \(not finite, or over 1e\+09 px\)"):
            write_kitti_flow(tmp_path / "a.png", unknown)
    write_kitti_flow(tmp_path / "a.png", flow, torch.tensor([[False, True]]))
    read, valid = read_kitti_flow(tmp_path / "a.png")
    assert read.flatten().tolist() == [0, 1, 0, 2]
    assert valid.tolist() == [[False, True]]
    with pytest.raises(ValueError, match=r"validity .* \(2, 2\); expected \(1, 2\)"):
        write_kitti_flow(tmp_path / "a.png", flow, torch.ones(2, 2, dtype=torch.bool))


@pytest.mark.parametrize("pixels", [np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint16)])
def test_kitti_needs_three_channels_of_16_bits(tmp_path: Path, pixels: np.ndarray) -> None:
    path = tmp_path / "shallow.png"
    cv2.imwrite(str(path), pixels)
    with pytest.raises(ValueError, match=rf"shallow.png.*{pixels.dtype}.*three 16-bit"):
        read_kitti_flow(path)


@pytest.mark.parametrize("read", [read_kitti_flow, read_image])
@pytest.mark.parametrize("keep", [0, 4, 60, 400])
def test_a_damaged_picture_is_named(read: object, keep: int, tmp_path: Path) -> None:
    assert callable(read)
    path = tmp_path / "damaged.png"
    write_image(path, torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"damaged\.png"):
        read(path)


def test_image_is_rgb_of_8_or_16_bits_grey_repeated_and_alpha_dropped(tmp_path: Path) -> None:
    colour = np.array([[[10, 20, 30]]], np.uint8)  # OpenCV's order: blue, green, red
    deep = colour.astype(np.uint16) * 257
    for name, pixels, expected in (
        ("rgb", colour, [30, 20, 10]),
        ("rgba", np.concatenate([colour, [[[7]]]], axis=-1).astype(np.uint8), [30, 20, 10]),
        ("grey", colour[..., 0], [10, 10, 10]),
        ("deep", deep, [30, 20, 10]),
        ("deep_grey", deep[..., 0], [10, 10, 10]),
    ):
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
        image = read_image(tmp_path / f"{name}.png")
        assert image.dtype == torch.float32
        assert image.is_contiguous()
        assert torch.allclose(image.flatten(), torch.tensor(expected) / 255, atol=1e-7), name


def test_image_survives_within_half_a_step(tmp_path: Path) -> None:
    image = torch.rand(3, 9, 11, generator=torch.Generator().manual_seed(0))
    write_image(tmp_path / "new" / "a.png", image)
    assert (read_image(tmp_path / "new" / "a.png") - image).abs().max() <= 0.5 / 255 + 1e-6


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.flo"
    write_flo(path, torch.zeros(2, 1, 1))
    before = path.read_bytes()

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_flo(path, torch.ones(2, 3, 3))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="permissions are those of POSIX")
def test_written_files_have_the_permissions_of_ordinary_ones(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    write_flo(tmp_path / "a.flo", torch.zeros(2, 1, 1))
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ordinary", "a.flo")]
    assert modes[0] == modes[1]

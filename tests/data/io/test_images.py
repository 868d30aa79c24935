"""Images of every supported format: exact values, and errors for truncated files."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor

from tests.helpers.pictures import (
    LOSSLESS,
    LOSSY,
    PNG_MAGIC,
    PROGRESSIVE,
    RESTARTS,
    by_pillow,
    chunk,
    colours,
    jpeg,
    jpeg_with_size,
    memory_below,
    png_with_size,
    tiff_with_size,
)
from unrollflow.data.io.flow import (
    read_image,
    read_kitti_flow,
    read_label_map,
    read_mask,
    write_image,
    write_kitti_flow,
)

RGB = colours(37, 53)
PNG = LOSSLESS["png"](RGB)


def read_bytes(content: bytes, folder: Path, read: Callable[[Path], Tensor] = read_image) -> Tensor:
    path = folder / "picture"
    path.write_bytes(content)
    return read(path)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_8_bits_are_read_as_they_stand(kind: str, tmp_path: Path) -> None:
    image = read_bytes(LOSSLESS[kind](RGB), tmp_path)
    assert torch.equal(image, torch.from_numpy(RGB.transpose(2, 0, 1) / np.float32(255)))


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm"])
def test_16_bits_are_read_as_they_stand(suffix: str, tmp_path: Path) -> None:
    deep = colours(37, 53, np.uint16)
    content = cv2.imencode(suffix, np.ascontiguousarray(deep[..., ::-1]))[1].tobytes()
    image = read_bytes(content, tmp_path)
    assert torch.equal(image, torch.from_numpy(deep.transpose(2, 0, 1) / np.float32(65535)))


@pytest.mark.parametrize("kind", LOSSY)
def test_a_lossy_picture_is_read_nearly_as_it_stood(kind: str, tmp_path: Path) -> None:
    y, x = np.mgrid[:37, :53]
    smooth = np.stack([3 * x, 4 * y, x + y], axis=-1).astype(np.uint8)
    image = read_bytes(LOSSY[kind](smooth), tmp_path)
    assert (image - torch.from_numpy(smooth.transpose(2, 0, 1) / 255)).abs().mean() < 0.02


def test_pgm_is_grey_and_digits_are_read_too(tmp_path: Path) -> None:
    for content in (b"P5 # grey\n3 1\n255\n\x00\x33\xff", b"P2\n3 1\n255\n0 51 255\n"):
        assert read_bytes(content, tmp_path).tolist() == [[[0, torch.tensor(51 / 255).item(), 1]]] * 3


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")  # Pillow warns before it fails
@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_a_truncated_image_is_refused(kind: str, tmp_path: Path) -> None:
    content = (LOSSLESS | LOSSY)[kind](RGB)
    for length in [*range(0, len(content), len(content) // 65 + 1), len(content) - 1]:
        with pytest.raises(ValueError, match="picture"):
            read_bytes(content[:length], tmp_path)


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize("compression", [1, 5, 8, 32773])  # none, LZW, deflate, PackBits
def test_a_truncated_16_bit_tiff_is_refused(compression: int, tmp_path: Path) -> None:
    settings = (cv2.IMWRITE_TIFF_COMPRESSION, compression)
    content = cv2.imencode(".tiff", colours(37, 53, np.uint16), settings)[1].tobytes()
    assert read_bytes(content, tmp_path).shape == (3, 37, 53)
    for length in [*range(0, len(content), len(content) // 65 + 1), len(content) - 1]:
        with pytest.raises(ValueError, match="picture"):
            read_bytes(content[:length], tmp_path)


@pytest.mark.parametrize("settings", [(), PROGRESSIVE, RESTARTS])
def test_a_picture_of_the_grey_of_missing_data_is_one(settings: tuple[int, ...], tmp_path: Path) -> None:
    content = jpeg(np.full((64, 64, 3), 128, np.uint8), *settings)
    assert (read_bytes(content, tmp_path) == 128 / 255).all()


def test_bytes_after_the_end_of_a_jpeg_are_not_its_own(tmp_path: Path) -> None:
    content = jpeg(RGB)
    assert torch.equal(read_bytes(content + b"notes of a camera", tmp_path), read_bytes(content, tmp_path))


LIARS = {
    "png": png_with_size(PNG, 9000, 9000),
    "png of 2^32 columns": png_with_size(PNG, 1, 2**32 - 1),
    "png with a chunk of 2 GB": PNG[:33] + b"\x7f" + PNG[34:],
    "interlaced png": png_with_size(LOSSLESS["interlaced png"](RGB), 9000, 9000),
    "jpeg": jpeg_with_size(jpeg(RGB), 9000, 9000),
    "progressive jpeg": jpeg_with_size(jpeg(RGB, *PROGRESSIVE), 9000, 9000),
    "largest jpeg": jpeg_with_size(jpeg(RGB), 65_535, 65_535),
    "ppm": LOSSLESS["ppm"](RGB).replace(b"53 37", b"9000 9000"),
    "ppm in digits": b"P3\n9000 9000\n255\n0 0 0",
    "bmp": LOSSLESS["bmp"](RGB)[:18] + struct.pack("<ii", 9000, -9000) + LOSSLESS["bmp"](RGB)[26:],
    "tiff": tiff_with_size(LOSSLESS["tiff"](RGB), 9000, 9000),
    "deflate tiff": tiff_with_size(LOSSLESS["deflate tiff"](RGB), 9000, 9000),
    "deep tiff": tiff_with_size(cv2.imencode(".tiff", colours(37, 53, np.uint16))[1].tobytes(), 9000, 9000),
}


@pytest.mark.parametrize("kind", LIARS)
def test_a_wrong_header_is_detected_before_memory_is_allocated(kind: str, tmp_path: Path) -> None:
    read_bytes(jpeg(RGB), tmp_path)  # what is loaded once
    with memory_below(64), pytest.raises(ValueError, match="picture"):
        read_bytes(LIARS[kind], tmp_path)


def test_large_pictures_take_twice_their_size_at_most(tmp_path: Path) -> None:
    side = 2400
    decoded = 12 * side**2 / 2**20  # float32 RGB: 66 MB
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[:, ::2] = 255
    for content in (LOSSLESS["png"](pixels), jpeg(pixels), jpeg(pixels, *PROGRESSIVE), LOSSLESS["lzw tiff"](pixels)):
        with memory_below(2 * decoded + 64):
            assert read_bytes(content, tmp_path).shape == (3, side, side)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes, first b''"),
        (b"GIF89a" + bytes(100), "expected PNG, JPEG, PPM, PGM, BMP, TIFF or WebP"),
        (PNG[:-20], "Truncated File Read"),
        (PNG[:33] + b"\x05" + PNG[34:], "Truncated File Read"),  # 5 * 2^24 more in the first chunk of data
        (PNG[:-12], "truncated PNG file"),
        (PNG[:20] + b"\x01" + PNG[21:], "damaged"),
        (PNG[:23] + bytes([PNG[23] - 1]) + PNG[24:], "damaged"),  # a row less; only the checksum tells
        (PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], "bad header checksum in b'IDAT'"),  # a bit of the pixels
        (PNG_MAGIC + chunk(b"IEND", b""), "20 bytes"),
        (PNG[:8] + chunk(b"IHDR", PNG[16:24] + b"\x03\x02\0\0\0") + PNG[33:], "damaged"),
        (b"\xff\xd8\xff\xd9", "4 bytes"),
        (jpeg_with_size(jpeg(RGB), 0, 53), "damaged"),
        (b"P6\n1 1\n4095\n" + bytes(6), "with maximum 255 or 65535"),
        (b"P6\n2 1\n255\n" + bytes(5), "its 16 bytes are damaged or truncated"),
        (b"P4\n8 1\n\0", "a PPM or PGM with"),
        (b"P6\n2\n", "5 bytes"),
        (b"BM" + bytes(20), "22 bytes"),
        (b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8 ", "16 bytes"),
        (b"RIFF" + struct.pack("<I", 4) + b"WAVE", "12 bytes"),
        (b"II*\0" + bytes(30), "TIFF"),
    ],
)
def test_the_error_for_a_damaged_image_names_the_damage(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_bytes(content, tmp_path)
    assert str(tmp_path / "picture") in str(caught.value)


@pytest.mark.parametrize(("height", "width"), [(38, 53), (74, 53), (37, 54)])
@pytest.mark.parametrize("kind", ["png", "interlaced png"])
def test_a_png_with_a_little_less_data_than_it_says_is_refused(
    kind: str, height: int, width: int, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="picture"):
        read_bytes(png_with_size(LOSSLESS[kind](RGB), height, width), tmp_path)


def test_a_large_png_with_less_data_than_it_says_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in colours(30, 5000))
    header = struct.pack(">IIBBBBB", 5000, 5000, 8, 2, 0, 0, 0)
    for data in (zlib.compress(rows), zlib.compress(rows)[:-20]):
        content = PNG_MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
        with pytest.raises(ValueError, match="damaged or truncated"):
            read_bytes(content, tmp_path)


RGBA = np.tile(np.array([200, 100, 50, 64], np.uint8), (16, 16, 1))
DEEP = RGBA.astype(np.uint16) * 257
PALETTE = Image.fromarray(RGBA[..., :3]).quantize(4)
CMYK = Image.frombytes("CMYK", (16, 16), RGBA.tobytes())


def pillow(picture: Image.Image, kind: str, **settings: object) -> bytes:
    file = BytesIO()
    picture.save(file, kind, **settings)
    return file.getvalue()


def tiff(pixels: np.ndarray, colours: str, **settings: object) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, pixels, photometric=colours, **settings)
    return file.getvalue()


def ycck_jpeg() -> bytes:
    """The CMYK JPEG with Adobe's marker of YCCK: its numbers (55, 155, 205, 191) are Y, Cb, Cr and white - K."""
    content = pillow(CMYK, "JPEG", quality=100)
    place = content.index(b"Adobe") + 11
    assert content[place] == 0
    return content[:place] + b"\2" + content[place + 1 :]


COLOUR_MODELS = {
    "rgba png": (by_pillow(RGBA, "PNG"), (200, 100, 50)),
    "rgba tiff": (by_pillow(RGBA, "TIFF"), (200, 100, 50)),
    "rgba lzw tiff": (by_pillow(RGBA, "TIFF", compression="tiff_lzw"), (200, 100, 50)),
    "rgba webp": (by_pillow(RGBA, "WEBP", lossless=True), (200, 100, 50)),
    "deep rgba png": (cv2.imencode(".png", DEEP[..., [2, 1, 0, 3]])[1].tobytes(), (200, 100, 50)),
    "deep rgba tiff": (tiff(DEEP, "rgb", extrasamples=["unassalpha"]), (200, 100, 50)),
    "grey and alpha png": (by_pillow(RGBA[..., ::3], "PNG"), (200, 200, 200)),
    "grey and alpha tiff": (by_pillow(RGBA[..., ::3], "TIFF"), (200, 200, 200)),
    # 50 of an opacity of 64 are 50 * 255 / 64 = 199 of an opaque pixel, and so on
    "tiff multiplied by alpha": (
        tiff(RGBA * 0 + np.array([50, 25, 13, 64], np.uint8), "rgb", extrasamples=["assocalpha"]),
        (199, 99, 51),
    ),
    "grey tiff, 0 is white": (tiff(RGBA[..., 0], "miniswhite"), (55, 55, 55)),
    "deep grey tiff": (tiff(DEEP[..., 0], "minisblack"), (200, 200, 200)),
    "tiff in planes": (tiff(np.moveaxis(RGBA[..., :3], -1, 0), "rgb", planarconfig="separate"), (200, 100, 50)),
    "palette png": (pillow(PALETTE, "PNG", transparency=0), (200, 100, 50)),
    "palette tiff": (pillow(PALETTE, "TIFF"), (200, 100, 50)),
    "grey jpeg": (jpeg(RGBA[..., [0, 0, 0]], cv2.IMWRITE_JPEG_QUALITY, 100), (200, 200, 200)),
    # 255 (1 - C) (1 - K)
    "cmyk jpeg": (pillow(CMYK, "JPEG", quality=100), (41.2, 116.1, 153.5)),
    "cmyk tiff": (pillow(CMYK, "TIFF"), (41.2, 116.1, 153.5)),
    # white - (C, M, Y) = 255 - (Y + 1.402 Cr', Y - 0.344 Cb' - 0.714 Cr', Y + 1.772 Cb') with Cb' = 27, Cr' = 77
    "ycck jpeg": (ycck_jpeg(), (68.9, 191.0, 114.0)),
}


@pytest.mark.parametrize("kind", COLOUR_MODELS)
def test_every_colour_model_gives_its_rgb_and_alpha_is_dropped(kind: str, tmp_path: Path) -> None:
    content, expected = COLOUR_MODELS[kind]
    image = 255 * read_bytes(content, tmp_path)
    assert image.shape == (3, 16, 16)
    torch.testing.assert_close(image, torch.tensor(expected).float().view(3, 1, 1).expand_as(image), rtol=0, atol=1.2)


REFUSED_TIFFS = {
    "float": by_pillow(np.ones((4, 4), np.float32), "TIFF"),
    "float rgb": tiff(RGBA[..., :3].astype(np.float32), "rgb"),
    "32 bits": tiff(RGBA[..., 0].astype(np.uint32), "minisblack"),
    "signed": tiff(RGBA[..., 0].astype(np.int8), "minisblack"),
    "deep, 0 is white": tiff(DEEP[..., 0], "miniswhite"),
    "deep, in planes": tiff(np.moveaxis(DEEP[..., :3], -1, 0), "rgb", planarconfig="separate"),
    "deep, multiplied by alpha": tiff(DEEP, "rgb", extrasamples=["assocalpha"]),
    "deep, grey and alpha": tiff(DEEP[..., ::3], "minisblack", planarconfig="contig", extrasamples=["unassalpha"]),
    "deep cmyk": tiff(DEEP, "separated"),
    "lab": pillow(Image.frombytes("LAB", (4, 4), bytes(48)), "TIFF"),
}


@pytest.mark.parametrize("kind", REFUSED_TIFFS)
def test_a_tiff_that_would_be_misread_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"picture cannot be read as (a TIFF: .*; expected unsigned|an image)"):
        read_bytes(REFUSED_TIFFS[kind], tmp_path)


@pytest.mark.parametrize(("dtype", "half"), [(np.uint8, 127), (np.uint16, 32767)])
def test_a_mask_is_true_above_half_of_white_and_a_label_map_above_0(dtype: type, half: int, tmp_path: Path) -> None:
    grey = np.array([[0, 1, half], [half + 1, np.iinfo(dtype).max, 0]], dtype)
    content = cv2.imencode(".png", grey)[1].tobytes()
    assert read_bytes(content, tmp_path, read_mask).tolist() == [[False, False, False], [True, True, False]]
    assert read_bytes(content, tmp_path, read_label_map).tolist() == [[False, True, True], [True, True, False]]


@pytest.mark.parametrize("read", [read_mask, read_label_map])
def test_a_mask_has_one_channel(read: Callable[[Path], Tensor], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"uint8 image of shape \(37, 53, 3\); expected one grey channel"):
        read_bytes(PNG, tmp_path, read)
    with pytest.raises(FileNotFoundError, match="missing"):
        read(tmp_path / "missing")


@pytest.mark.parametrize(
    ("image", "message"), [(torch.zeros(2, 4, 4), r"\(2, 4, 4\)"), (torch.full((3, 2, 2), float("nan")), "not finite")]
)
def test_an_image_that_a_png_cannot_hold_is_refused(image: Tensor, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        write_image(tmp_path / "a.png", image)
    assert list(tmp_path.iterdir()) == []


def test_sixteen_bits_hold_finer_steps_than_eight(tmp_path: Path) -> None:
    image = torch.tensor([0.0, 0.9991, 0.9993, 1.0]).view(1, 2, 2)
    for depth, step in (("uint8", 255), ("uint16", 65535)):
        write_image(tmp_path / "a.png", image, depth=depth)
        assert read_image(tmp_path / "a.png")[:1].equal((step * image).round() / step)


def test_a_kitti_flow_takes_twice_its_size_at_most(tmp_path: Path) -> None:
    write_kitti_flow(tmp_path / "a.png", torch.zeros(2, 2000, 2000))
    with memory_below(2 * 9 * 2000**2 / 2**20 + 64):
        flow, valid = read_kitti_flow(tmp_path / "a.png")
    assert not flow.any()
    assert valid.all()


def test_maps_of_real_sets_are_read(real_data: Callable[[str], Path]) -> None:
    occluded = sorted(real_data("sintel").glob("training/occlusions/*/*.png"))
    assert occluded
    for path in occluded:
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(stored)) <= {0, 255}
        assert torch.equal(read_mask(path), torch.from_numpy(stored == 255))


def test_real_frames_are_read_as_opencv_reads_them(real_data: Callable[[str], Path]) -> None:
    frames = [*real_data("kitti2015").glob("**/image_2/*.png"), *real_data("chairs").glob("data/*.ppm")]
    assert frames
    for path in frames:
        rgb = cv2.imread(str(path))[..., ::-1].transpose(2, 0, 1)
        assert torch.equal(read_image(path), torch.from_numpy(rgb / np.float32(255)))

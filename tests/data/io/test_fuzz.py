"""Reading any damaged file returns a tensor or raises a ValueError that names the file, in bounded memory."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.damage import damaged
from tests.helpers.pictures import LOSSLESS, LOSSY, colours, memory_below
from unrollflow.data.io.files import LARGEST_PIXELS
from unrollflow.data.io.flow import (
    read_flo,
    read_image,
    read_kitti_flow,
    read_label_map,
    read_mask,
    read_pfm,
    write_flo,
    write_kitti_flow,
    write_pfm,
)

Read = Callable[[Path], Tensor | tuple[Tensor, Tensor]]
HEIGHT, WIDTH = 19, 27
LIMIT = 64
"""Maximum additional memory of reading, MB, beside twice the size of the intact file, which is negligible here."""
PICTURE_LIMIT = 2 * 12 * LARGEST_PIXELS // 2**20
"""Maximum memory for an image with a wrong header, MB: twice that of the largest image that is read."""


def flow() -> Tensor:
    return 10 * torch.randn(2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


def written(write: Callable[[Path, Tensor], None], values: Tensor, folder: Path) -> bytes:
    write(folder / "honest", values)
    return (folder / "honest").read_bytes()


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


HONEST: dict[str, tuple[Read, Callable[[Path], bytes]]] = {
    "flo": (read_flo, lambda folder: written(write_flo, flow(), folder)),
    "pfm": (read_pfm, lambda folder: written(write_pfm, flow(), folder)),
    "grey pfm": (read_pfm, lambda folder: written(write_pfm, flow()[:1], folder)),
    "kitti png": (read_kitti_flow, lambda folder: written(write_kitti_flow, flow(), folder)),
    "mask": (read_mask, lambda _: encoded(".png", colours(HEIGHT, WIDTH)[..., 0])),
    "label map": (read_label_map, lambda _: encoded(".png", colours(HEIGHT, WIDTH)[..., 0])),
    "deep png": (read_image, lambda _: encoded(".png", colours(HEIGHT, WIDTH, np.uint16))),
    "pgm in digits": (read_image, lambda _: b"P2\n4 2\n255\n0 1 2 3\n252 253 254 255\n"),
    **{
        kind: (read_image, lambda _, encode=encode: encode(colours(HEIGHT, WIDTH)))
        for kind, encode in (LOSSLESS | LOSSY).items()
    },
}


def fuzz(kind: str, folder: Path, examples: int) -> None:
    """Read `examples` damaged files of a kind."""
    read, honest = HONEST[kind]
    content = honest(folder)
    path = folder / "damaged"

    complaints: list[str] = []

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(damaged(content))
    def run(broken: bytes) -> None:
        path.write_bytes(broken)
        with memory_below(LIMIT if kind in ("flo", "pfm", "grey pfm") else PICTURE_LIMIT):
            try:
                values = read(path)
            except ValueError as error:
                complaints.append(str(error))
                return
        for tensor in values if isinstance(values, tuple) else (values,):
            assert tensor.numel(), "what is read holds pixels"

    path.write_bytes(content)
    read(path)  # read the intact file first, so that imports and caches are not measured
    run()
    assert complaints
    assert all(str(path) in complaint for complaint in complaints), "an error names the file"


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")  # Pillow warns before it fails
@pytest.mark.parametrize("kind", HONEST)
def test_a_damaged_file_is_a_value_error_in_bounded_memory(kind: str, tmp_path: Path) -> None:
    fuzz(kind, tmp_path, examples=100)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize("kind", HONEST)
def test_a_file_damaged_in_thousands_of_ways_is_a_value_error_in_bounded_memory(kind: str, tmp_path: Path) -> None:
    fuzz(kind, tmp_path, examples=3000)


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    magic=st.sampled_from(
        [b"", b"PIEH", b"PF\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"P6\n", b"BM", b"II*\0", b"RIFF"]
    ),
    rest=st.binary(max_size=200),
    read=st.sampled_from([read_flo, read_pfm, read_kitti_flow, read_mask, read_image]),
)
def test_what_only_begins_like_a_file_is_a_value_error(magic: bytes, rest: bytes, read: Read, tmp_path: Path) -> None:
    path = tmp_path / "noise"
    path.write_bytes(magic + rest)
    with pytest.raises(ValueError, match="noise"):
        read(path)

"""Checks of the flow files 09: values read, and bytes written."""

from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch

from tests.parity.conftest import Fixture
from unrollflow.data import read_flo, read_kitti_flow, write_flo, write_kitti_flow


def check_flo(path: Path) -> None:
    """What is read and written again has the same bytes."""
    with TemporaryDirectory() as folder:
        write_flo(Path(folder) / "again.flo", read_flo(path))
        assert (Path(folder) / "again.flo").read_bytes() == path.read_bytes()


def check_kitti_png(path: Path) -> None:
    """Values follow the format's formula, and survive being written again."""
    flow, valid = read_kitti_flow(path)
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1].astype(np.float64)  # u, v, valid
    assert valid.numpy().tolist() == (stored[..., 2] > 0).tolist()
    for component in (0, 1):
        expected = np.where(stored[..., 2] > 0, (stored[..., component] - 2**15) / 64, 0)
        np.testing.assert_array_equal(flow[component].numpy(), expected)
    with TemporaryDirectory() as folder:
        write_kitti_flow(Path(folder) / "again.png", flow, valid)
        again, still_valid = read_kitti_flow(Path(folder) / "again.png")
    assert again.equal(flow)
    assert still_valid.equal(valid)


def check_flow_files(fixture: Fixture) -> None:
    """Writing the flow gives the reference's files, reading them its values."""
    arrays = fixture.arrays
    flow = torch.from_numpy(arrays["flow"]).movedim(-1, 0)
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_flo(folder / "a.flo", flow)
        assert (folder / "a.flo").read_bytes() == arrays["flo_bytes"].tobytes()
        assert read_flo(folder / "a.flo").movedim(0, -1).equal(torch.from_numpy(arrays["loaded_flo"]))
        write_kitti_flow(folder / "a.png", flow)
        written = cv2.imread(str(folder / "a.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
        np.testing.assert_array_equal(written, arrays["kitti_png_rgb"])
        for kind, loaded in (("kitti", "loaded_kitti"), ("sparse", "loaded_sparse")):
            (folder / "b.png").write_bytes(arrays[f"{kind}_png_bytes"].tobytes())
            values, valid = read_kitti_flow(folder / "b.png")
            # the reference stores 1e-10 in the place of 0
            np.testing.assert_allclose(values.movedim(0, -1).numpy(), arrays[loaded], rtol=0, atol=1e-9)
            np.testing.assert_array_equal(valid.numpy(), arrays[f"{loaded}_valid"][..., 0] > 0)

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unrollflow.data import write_flo, write_image

# of an environment of its own, with W&B's sweep engine; started by torchrun
collect_ignore = ["helpers/sweep_engine.py", "reliability/two_processes.py"]

DATA_DIR = Path(os.environ.get("UNROLLFLOW_DATA_DIR", Path(__file__).parents[1].parent / "shared" / "data"))


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Folder of a real data set by its name; skips where the folder is absent."""

    def find(name: str) -> Path:
        if not (DATA_DIR / name).is_dir():
            pytest.skip(f"no real data in {DATA_DIR / name}; name the folder of all sets with UNROLLFLOW_DATA_DIR")
        return DATA_DIR / name

    return find


@pytest.fixture
def middlebury_tree(tmp_path: Path) -> Path:
    """Two tiny sequences in Middlebury's layout, moved by (1, 0); one pixel of each is unknown."""
    generator = torch.Generator().manual_seed(0)
    for name in ("Alpha", "Beta"):
        frame = torch.rand(3, 40, 50, generator=generator)
        flow = torch.tensor([1.0, 0.0]).view(2, 1, 1).repeat(1, 40, 50)
        flow[:, 3, 4] = 1.7e9
        write_image(tmp_path / "middlebury" / name / "frame10.png", frame)
        write_image(tmp_path / "middlebury" / name / "frame11.png", frame.roll(1, dims=-1))
        write_flo(tmp_path / "middlebury" / name / "flow10.flo", flow)
    return tmp_path / "middlebury"

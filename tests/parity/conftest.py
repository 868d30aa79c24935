import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

PARITY_DIR = Path(os.environ.get("UNROLLFLOW_PARITY_DIR", Path(__file__).parents[2].parent / "shared" / "parity"))

FLOAT64_TOLERANCE = 1e-9
FLOAT32_TOLERANCE = 1e-6  # a few roundings, where the reference's own float32 happened to be exact


class Fixture(NamedTuple):
    """One file of the reference's inputs and values (see its meta)."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> "Fixture":
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files if name != "meta"}
            return cls(arrays, json.loads(str(archive["meta"])))

    def input(self, name: str, dtype: torch.dtype = torch.float64) -> Tensor:
        """An input, saved in float32, in the precision of the check."""
        return torch.from_numpy(self.arrays[name]).to(dtype)

    def expect(self, name: str, value: Tensor) -> None:
        """Assert that a value is the reference's: float64 to 1e-9 of the largest, float32 to its own error."""
        exact = value.dtype == torch.float64 and f"{name}_f64" in self.arrays
        reference = torch.from_numpy(np.asarray(self.arrays[f"{name}_f64" if exact else name])).double()
        value = value.detach().double()
        assert value.shape == reference.shape, f"{name}: {tuple(value.shape)}, reference {tuple(reference.shape)}"
        own_error = self.meta["f32_vs_f64_maxabs_over_maxabs"].get(name, 0.0)
        relative = FLOAT64_TOLERANCE if exact else max(10 * own_error, FLOAT32_TOLERANCE)
        error = (value - reference).abs().max().item()
        scale = reference.abs().max().item()
        assert error <= relative * scale + 1e-15, (
            f"{name}: off by {error:.3g}, largest {scale:.3g}, allowed {relative:.1g}"
        )

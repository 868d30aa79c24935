"""The exact optimum of total-variation denoising in one dimension."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear


def exact_total_variation(noisy: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Return the minimiser of 1/2 |x - noisy|^2 + weight * sum |x_(i+1) - x_i|, to machine precision.

    scipy's active-set solver solves the dual, min 1/2 |noisy - D' z|^2 with |z| <= weight; x = noisy - D' z. It is 100
    times slower than Condat's direct algorithm, but needs no other package.

    Args:
        noisy: (N,).
        weight: >= 0.

    Raises:
        ValueError: if the signal is not a vector of at least two finite numbers, or the weight is negative.
        RuntimeError: if the solver does not report an optimum.

    Source: Condat, A Direct Algorithm for 1-D Total Variation Denoising, IEEE SPL 2013, equations 1 to 3.

    >>> exact_total_variation(np.array([0.0, 0.0, 3.0, 3.0]), 1.0).round(9)
    array([0.5, 0.5, 2.5, 2.5])
    """
    if noisy.ndim != 1 or len(noisy) < 2 or not np.isfinite(noisy).all() or weight < 0:
        raise ValueError(
            f"signal {noisy.shape}, weight {weight}: a vector of at least two finite numbers and a weight >= 0 are "
            "needed."
        )
    if weight == 0:
        return noisy.copy()
    differences = np.diff(np.eye(len(noisy)), axis=0)  # (N - 1, N)
    found = lsq_linear(differences.T, noisy, bounds=(-weight, weight), method="bvls", tol=1e-14, max_iter=10_000)
    if found.status not in (1, 3):
        raise RuntimeError(f"the solver stopped before the optimum: {found.message}")
    solution: NDArray[np.float64] = noisy - differences.T @ found.x
    return solution


def energy(signal: NDArray[np.float64], noisy: NDArray[np.float64], weight: float) -> float:
    """Return 1/2 |signal - noisy|^2 + weight * sum |differences|."""
    return float(np.square(signal - noisy).sum() / 2 + weight * np.abs(np.diff(signal)).sum())

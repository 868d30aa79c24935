"""The check of 09_metrics, held against values that follow the reference's formulas line by line."""

import cv2
import numpy as np
import pytest

from tests.parity.conftest import Fixture
from tests.parity.metrics import check_metrics

HEIGHT, WIDTH = 12, 18


def reference(truth: np.ndarray, flow: np.ndarray, moving: np.ndarray | None = None) -> np.ndarray:
    """Columns of the reference (its evaluation of flow, restated from its formulas), averaged over images."""
    rows = []
    for i in range(len(truth)):
        u, v, valid, noc = np.moveaxis(truth[i], -1, 0)
        e = np.hypot(flow[i, ..., 0] - u, flow[i, ..., 1] - v)
        row = [(e * valid).sum() / valid.sum(), (e * noc).sum() / noc.sum()]
        row.append((e * (valid - noc)).sum() / max((valid - noc).sum(), 1))
        wrong = (e * valid > 3) & (e * valid / np.maximum(np.hypot(u, v), 1e-10) > 0.05)
        row.append(100 * wrong.sum() / valid.sum())
        if moving is not None:
            row += [(e * valid * m).sum() / (valid * m).sum() for m in (moving[i], 1 - moving[i])]
        rows.append(row)
    return np.mean(rows, axis=0)


def fixture() -> Fixture:
    random = np.random.default_rng(0)
    valid = (random.random((2, HEIGHT, WIDTH)) < 0.8).astype(float)
    noc = valid * (random.random(valid.shape) < 0.7)
    noc[1] = valid[1]  # the second image has no occluded pixel
    truth = np.concatenate([6 * random.normal(size=(2, HEIGHT, WIDTH, 2)), valid[..., None], noc[..., None]], axis=-1)
    flow = truth[..., :2] + 3 * random.normal(size=(2, HEIGHT, WIDTH, 2))
    small = random.normal(size=(2, HEIGHT // 2, WIDTH // 3, 2))
    resized = np.stack([cv2.resize(f * [3.0, 2.0], (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) for f in small])
    moving = (random.random(valid.shape) < 0.5).astype(float)
    results = {
        "res_same_size": reference(truth, flow),
        "res_other_size": reference(truth, resized),
        "res_moving": reference(truth, flow, moving),
        "res_gt2": np.array([np.hypot(*np.moveaxis(flow - truth[..., :2], -1, 0)).mean()]),
    }
    results |= {f"res_same_size_b{i}": reference(truth[i : i + 1], flow[i : i + 1]) for i in (0, 1)}
    inputs = {"gt4": truth, "gt2": truth[..., :2], "pred": flow, "pred_other_size": small, "moving": moving}
    return Fixture(inputs | {"pred_other_size_resized": resized} | results, {})


def test_check_agrees_with_the_formulas() -> None:
    check_metrics(fixture())


@pytest.mark.parametrize("name", ["res_same_size", "res_other_size", "res_moving", "res_gt2", "res_same_size_b1"])
def test_check_sees_a_deviation(name: str) -> None:
    changed = fixture()
    changed.arrays[name][-1] *= 1.001
    with pytest.raises(AssertionError):
        check_metrics(changed)

import pytest
import torch

from experiments.exp05_gradients import __main__ as gradients


def test_opposite_gradients_flip_every_sign() -> None:
    gradient = torch.tensor([3.0, -4.0, 0.0])
    assert gradients.compared(gradient, -gradient) == (pytest.approx(-1), 5, 1)
    assert gradients.compared(gradient, 3 * gradient) == (pytest.approx(1), 10, 0)

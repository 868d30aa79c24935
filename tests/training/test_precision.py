import pytest
import torch

from unrollflow.training import precision
from unrollflow.training.precision import bfloat16_ratio, chosen_precision


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.45, "bf16-mixed"), (0.75, "bf16-mixed"), (0.76, "32-true"), (15, "32-true")]
)
def test_bfloat16_is_chosen_where_it_is_clearly_faster(
    ratio: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "bfloat16_ratio", lambda: ratio)
    choice = chosen_precision("cpu")
    assert choice.precision == expected
    assert f"{ratio:.2f} of the float32 time" in choice.reason


def test_only_a_cpu_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bfloat16_ratio", lambda: pytest.fail("probed"))
    assert chosen_precision("gpu").precision == "32-true"


def test_the_probe_changes_neither_random_numbers_nor_threads() -> None:
    before = torch.get_rng_state(), torch.get_num_threads()
    assert bfloat16_ratio() > 0
    assert torch.equal(before[0], torch.get_rng_state())
    assert torch.get_num_threads() == before[1]

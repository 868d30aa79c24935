import pytest
import torch

from experiments.exp09_curriculum import __main__ as curriculum


def test_every_order_has_as_many_of_each() -> None:
    assert curriculum.order("easy first", 1, 6) == ["easy"] * 3 + ["hard"] * 3
    assert curriculum.order("hard first", 1, 6) == ["hard"] * 3 + ["easy"] * 3
    mixed = [curriculum.order("mixed", seed, 60) for seed in (1, 1, 2)]
    assert mixed[0] == mixed[1] != mixed[2]
    assert sorted(mixed[0]) == ["easy"] * 30 + ["hard"] * 30
    assert set(mixed[0][:30]) == {"easy", "hard"}


def test_the_batches_are_the_same_in_every_order() -> None:
    def flows(arm: str) -> list[float]:
        return [batch["flow"].double().sum().item() for batch in curriculum.batches(arm, 1, 4)]

    found = {arm: flows(arm) for arm in curriculum.ARMS}
    assert sorted(found["mixed"]) == sorted(found["easy first"]) == sorted(found["hard first"])
    assert found["hard first"] == found["easy first"][2:] + found["easy first"][:2]


def test_easy_motions_are_a_third_of_hard_ones() -> None:
    easy, hard = (
        torch.stack([sample["flow"].abs().amax() for sample in curriculum.layers("test", difficulty, 6)])
        for difficulty in ("easy", "hard")
    )
    torch.testing.assert_close(easy / hard, torch.full((6,), 1 / 3), atol=0.03, rtol=0)


def test_unknown_orders_are_refused() -> None:
    for arm, steps in (("easy", 4), ("mixed", 3)):
        with pytest.raises(ValueError, match="take one of easy first, mixed, hard first and an even number"):
            curriculum.order(arm, 1, steps)

import json

from experiments.exp11_occlusion_ladder.__main__ import (
    BASELINE,
    LABELS,
    SEEDS,
    best_baseline,
    complete,
    helpful,
    single_arms,
    together_arms,
)
from experiments.exp11_occlusion_ladder.ingredients import arguments, compatible

BEST, GOOD, OTHER = "full-image warping", "student with a crop", "second order"


def row(arm: dict, seed: int, epe: float, occluded: float) -> dict:
    errors = {"epe": [epe], "epe_noc": [epe], "epe_occ": [occluded]}
    return {"settings": {**arm, "seed": seed}, "results": {"validation": errors, "test": errors}, "seconds": 1.0}


def rows(changes: dict[str, tuple[float, float]], seed: int = 0) -> list[dict]:
    """All single arms with an error of 1 and 2 px, except those of some ingredients."""
    return [row(arm, seed, *changes.get(str(arm["ingredients"]), (1.0, 2.0))) for arm in single_arms()]


def test_an_ingredient_helps_if_occluded_pixels_gain_and_the_others_do_not_lose() -> None:
    found = helpful(rows({GOOD: (1.0, 1.9), BEST: (0.9, 1.5), OTHER: (1.1, 1.0), "unrolled propagation": (0.9, 1.99)}))
    assert found == [BEST, GOOD]


def test_ingredients_that_exclude_each_other_are_not_combined() -> None:
    assert compatible(["no visibility test", BEST, "forward-backward test"]) == ["no visibility test", BEST]


def test_one_helpful_ingredient_is_no_combination() -> None:
    assert together_arms(rows({BEST: (1.0, 1.0)})) == []
    both = together_arms(rows({BEST: (1.0, 1.0), GOOD: (1.0, 1.5)}))
    assert {arm["ingredients"] for arm in both} == {f"{BEST} + {GOOD}"}


def test_the_baseline_is_the_best_strength_on_validation_samples() -> None:
    found = rows({})
    next(row for row in found if row["settings"]["strength"] == 0.6)["results"]["validation"]["epe"] = [0.5]
    assert best_baseline(found) == {"term": BASELINE, "strength": 0.6, "ingredients": ""}


def test_a_seed_without_all_arms_is_not_reported() -> None:
    assert complete([*rows({}), *rows({}, seed=SEEDS[1])[:-1]]) == rows({})


def test_arms_differ_and_one_has_ground_truth() -> None:
    arms = [json.dumps(arm) for arm in single_arms()]
    assert len(set(arms)) == len(arms)
    assert [arm["term"] for arm in single_arms()].count(LABELS) == 1


def test_students_of_several_ingredients_are_all_used_from_half_of_the_steps_on() -> None:
    words = arguments([GOOD, "solver as teacher, all pixels"], steps=600)
    terms = json.loads(words[words.index("--model.distillation") + 1])
    assert [term["init_args"]["start"] for term in terms] == [300, 300]

import math
from pathlib import Path

import numpy as np
import pytest

from experiments.common.assembly import CONFIGS
from experiments.exp10_smoothness_front.forms import FORMS, SHARED, arguments
from experiments.exp10_smoothness_front.fronts import Mix, at_level, mixed, tolerated
from experiments.exp10_smoothness_front.report import BASELINE, Comparison, compared, read_fronts, write_levels
from unrollflow.metrics.paired import Interval

STRENGTHS = (0.1, 1.0, 10.0)


def row(term: str, strength: float, seed: int, visible: float, occluded: float) -> dict:
    errors = {"epe": [visible], "epe_noc": [visible, visible], "epe_occ": [occluded, None]}
    settings = {"term": term, "rounding": 0.0, "strength": strength, "ramp": 0, "seed": seed, "test": True}
    return {"settings": settings, "results": {"layers": errors}}


def rows(term: str, visible: tuple[float, ...], occluded: tuple[float, ...]) -> list:
    points = list(zip(STRENGTHS, visible, occluded, strict=True))
    return [row(term, strength, seed, *errors) for seed in (0, 1) for strength, *errors in points]


def test_a_level_between_two_strengths_is_interpolated() -> None:
    assert at_level([1.0, 2.0], 1.5) == Mix(0, 0.5)
    assert at_level([1.0, 2.0], 2.0) == Mix(0, 1.0)


def test_strengths_below_the_least_visible_error_do_not_count() -> None:
    assert at_level([2.0, 1.0, 3.0], 2.0) == Mix(1, 0.5)


@pytest.mark.parametrize("level", [0.5, 3.5, math.nan])
def test_a_level_that_the_front_does_not_reach_has_no_point(level: float) -> None:
    assert at_level([2.0, 1.0, 3.0], level) is None


def test_errors_are_mixed_seed_by_seed() -> None:
    errors = np.array([[[1.0, 2.0], [5.0, 6.0]], [[3.0, 4.0], [7.0, math.nan]]])  # (strengths, seeds, images)
    found = mixed(errors, [Mix(0, 0.25), None])
    assert found[0].tolist() == [1.5, 2.5]
    assert np.isnan(found[1]).all()


def test_a_tolerated_range_that_the_grid_does_not_end_is_open() -> None:
    assert tolerated([1.0, 10.0], [1.0, 1.01]) == (0.0, math.inf)


def test_terms_are_compared_at_equal_visible_error() -> None:
    base = rows(BASELINE, (1.0, 2.0, 3.0), (4.0, 2.0, 1.0))  # the best one has 1.0 visible, 4.0 occluded
    other = rows("Huber", (0.5, 1.5, 3.0), (6.0, 2.0, 1.0))  # 1.0 visible is half-way: 4.0 occluded
    better = rows("Charbonnier", (0.5, 1.5, 3.0), (4.0, 2.0, 1.0))  # 3.0 occluded there
    fronts = read_fronts([*base, *other, *better])
    assert compared(fronts["Huber"], fronts[BASELINE], "layers", "epe_occ").change.estimate == pytest.approx(0.0)
    assert compared(fronts["Charbonnier"], fronts[BASELINE], "layers", "epe_occ").change.estimate == pytest.approx(
        -0.25
    )
    assert math.isnan(compared(fronts[BASELINE], fronts[BASELINE], "layers", "epe_occ").change.estimate)


def test_a_seed_without_all_strengths_is_omitted() -> None:
    found = [*rows(BASELINE, (1.0, 2.0, 3.0), (4.0, 2.0, 1.0)), row(BASELINE, 1.0, 2, 1.0, 1.0)]
    assert read_fronts(found)[BASELINE].seeds == [0, 1]


def test_a_term_with_two_roundings_has_two_fronts_of_long_trainings() -> None:
    found = rows("Huber", (1.0, 2.0, 3.0), (4.0, 2.0, 1.0))
    other = rows("Huber", (1.0, 2.0, 3.0), (4.0, 2.0, 1.0))
    for changed in other:
        changed["settings"]["rounding"] = 0.3
    assert list(read_fronts([*found, *other], by_rounding=True)) == ["Huber", "Huber, rounding 0.3 px/px"]


def test_a_change_is_written_in_percent_with_the_share_of_the_seeds() -> None:
    change = Interval(-0.012, -0.02, 0.001)
    assert str(Comparison(change, 2, 2)) == "-1.2 [-2.0, +0.1]"
    assert str(Comparison(change, 1, 2)) == "-1.2 [-2.0, +0.1] (1 of 2 seeds)"
    assert str(Comparison(Interval(math.nan, math.nan, math.nan), 0, 2)) == "not reached"
    assert str(Comparison(Interval(math.nan, math.nan, math.nan), 0, 0)) == ""


def test_levels_are_the_useful_strengths_of_total_variation(tmp_path: Path) -> None:
    base = rows(BASELINE, (1.0, 1.2, 3.0), (4.0, 2.0, 1.0))
    other = rows("Huber", (0.8, 1.2, 3.0), (4.0, 1.0, 1.0))
    write_levels(tmp_path, read_fronts([*base, *other]))
    headings, line = (text.split(",") for text in (tmp_path / "table.csv").read_text().splitlines())
    assert len(headings) == 2 + 2 * 2  # two levels; each heading has one comma
    assert line[:2] == ["Huber", "2"]
    assert "-37.5" in ",".join(line)  # 1.0 visible is half-way: 2.5 occluded, against 4.0
    assert "-50.0" in ",".join(line)


def test_the_weight_gives_the_strength_as_slope_on_strong_edges() -> None:
    words = arguments("Huber", rounding=0.1, strength=0.6, ramp=0)
    assert words[words.index("--model.objective.init_args.smoothness_weight") + 1] == "6.0"
    words = arguments("total variation", rounding=0.0, strength=0.6, ramp=7)
    assert words[words.index("--model.objective.init_args.smoothness_weight") + 1] == "0.6"
    assert words[-2:] == ["--model.objective.init_args.smoothness_ramp.init_args.steps", "7"]


def test_every_form_has_a_configuration_and_shares_what_exists() -> None:
    assert all((CONFIGS / "smoothness" / f"{form.file}.yaml").is_file() for form in FORMS.values())
    assert all(len(FORMS[other].roundings) > 1 for other in SHARED.values())
    assert all(len(FORMS[name].roundings) == 1 for name in SHARED)

import math
import re

import pytest
import torch

from tests.helpers.comparison import group, run, sample
from unrollflow.metrics.names import UNLABELLED
from unrollflow.visualization.compared import group_label
from unrollflow.visualization.comparison import comparison_page
from unrollflow.visualization.comparison_table import difference, mean_text, resampled
from unrollflow.visualization.curves import GroupCurves, curves_svg
from unrollflow.visualization.report import Curve

SAMPLES = [sample(0), sample(1)]


def two_groups() -> list:
    return [group(0, run(1.0), run(1.2, seed=1), lam=0.1), group(1, run(0.5), run(0.7, seed=1), lam=0.3)]


def test_the_page_holds_all_parts_and_loads_nothing() -> None:
    page = comparison_page(two_groups(), SAMPLES)
    assert "4 runs in 2 groups, evaluated on 2 validation images." in page
    for heading in ("Settings that differ", "Learning curves", "Measures", "Samples", "Runs"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count('class="run"') == 2 * 4
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(source.startswith("data:") for source in sources)
    assert "url(" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_differences_are_paired_by_seed() -> None:
    reference, other = two_groups()
    assert difference(other, reference, "epe") == pytest.approx((-0.5, -0.5, -0.5))
    swapped = other._replace(runs=other.runs[::-1])
    assert difference(swapped, reference, "epe") == pytest.approx((-0.5, -0.5, -0.5))
    assert "over images and 2 common seeds" in resampled(other, reference)


def test_seeds_without_a_counterpart_are_omitted_and_counted() -> None:
    reference, other = group(0, run(1.0), run(3.0, seed=1)), group(1, run(2.0), run(9.0, seed=7))
    assert difference(other, reference, "epe") == pytest.approx((1.0, 1.0, 1.0))
    assert "one common seed (2 run(s) of other seeds are omitted)" in resampled(other, reference)


def test_without_a_common_seed_the_means_over_the_seeds_are_compared() -> None:
    reference, other = group(0, run(1.0), run(2.0, seed=1)), group(1, run(4.0, seed=2))
    assert difference(other, reference, "epe") == pytest.approx((2.5, 2.5, 2.5))
    assert "no common seed" in resampled(other, reference)


def test_a_broken_run_is_named_and_not_compared() -> None:
    broken = run(1.0)
    broken = broken._replace(
        means=broken.means | {"epe": [math.inf, 1.0]}, flows=[torch.full_like(flow, math.nan) for flow in broken.flows]
    )
    groups = [group(0, run(1.0)), group(1, broken)]
    assert difference(groups[1], groups[0], "epe") is None
    assert "not finite" in mean_text(groups[1], "epe")
    assert "not finite" in comparison_page(groups, SAMPLES)


def test_without_ground_truth_there_are_no_errors() -> None:
    samples = [sample(i, labelled=False) for i in range(2)]
    page = comparison_page([group(i, run(0.1 + i, labelled=False)) for i in range(2)], samples)
    assert UNLABELLED["census"].label in page
    assert 'data-kind="error"' not in page
    assert "ground truth</figcaption>" not in page


def test_runs_that_differ_only_by_seed_are_one_group() -> None:
    page = comparison_page([group(0, run(1.0), run(1.4, seed=1))], SAMPLES)
    assert "All runs differ only by their seeds." in page
    assert "1.200" in page
    assert "± 0.283" in page
    assert "paired bootstrap" not in page


def test_no_samples_and_no_curves_are_left_out() -> None:
    page = comparison_page([group(i, run(1.0 + i, curves={})) for i in range(2)], [])
    assert "<h2>Samples</h2>" not in page
    assert "<h2>Learning curves</h2>" not in page


def test_names_are_text_and_not_html() -> None:
    hostile = "<script>alert(1)</script>"
    groups = [group(i, run(1.0, folder=hostile, seeds=hostile), name=f"{hostile}{i}") for i in range(2)]
    page = comparison_page(groups, [SAMPLES[0]._replace(name=f'"{hostile}')])
    assert "alert(1)" in page
    assert hostile not in page
    assert 'data-name=""' not in page


def test_error_pictures_of_a_sample_share_one_range() -> None:
    page = comparison_page([group(0, run(1.0)), group(1, run(8.0))], SAMPLES)
    assert page.count('data-errors="0 to 8 px"') == 2
    assert page.count('data-flows="0 to 1 px"') == 2, "the ground truth's longest"


def test_a_group_has_a_line_for_each_run_and_their_mean() -> None:
    curves = [Curve([0, 1], [2.0, 1.0]), Curve([0, 1], [4.0, math.nan])]
    drawing = curves_svg([GroupCurves("A", ["one", "two"], curves)], label="EPE")
    assert drawing.count("<polyline") == 3
    assert curves_svg([GroupCurves("A", ["one"], curves[:1])], label="EPE").count("<polyline") == 1
    assert curves_svg([GroupCurves("A", ["one"], [Curve([], [])])], label="EPE") == ""


def test_one_validation_can_be_drawn() -> None:
    assert "NaN" not in curves_svg([GroupCurves("A", ["one"], [Curve([5], [0.0])])], label="EPE")


def test_labels_count_beyond_the_alphabet() -> None:
    assert [group_label(i, {}) for i in (0, 25, 26, 52)] == ["A", "Z", "AA", "BA"]

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.common.boundary_score import best_threshold, boundary_f1
from experiments.common.flow_training import (
    AfterSteps,
    fit,
    flow_model,
    points_of,
    smoothness_term,
    train_flow,
    training_batches,
)
from experiments.common.grid import Row, identity, read_rows
from experiments.exp04_flow_ablation import __main__ as ablation
from experiments.exp04_flow_ablation.finals import compared, counts, first_at, steps_to
from experiments.exp04_flow_ablation.report import write_report, write_weights
from experiments.exp04_flow_ablation.search import FAMILY, Protocol, finalist, refined, starting_trials
from unrollflow import losses
from unrollflow.metrics.paired import relative_change


def row(term: str, epe: float, occluded: float, **settings: float) -> Row:
    return {
        "settings": {"term": term, "weight": 0.1, "learning_rate": 1e-3, "seed": 0} | settings,
        "results": {"validation": {"epe": epe, "epe_occ": occluded}},
    }


def final(term: str, seed: int, occluded: list[float | None], curve: list[float]) -> Row:
    return {
        "settings": {"term": term, "seed": seed, "test_images": len(occluded)},
        "results": {
            "test": {"images": {"epe_occ": occluded}},
            "curve": {"step": [10 * (i + 1) for i in range(len(curve))], "epe": curve},
        },
    }


def step(height: float, *, at: int = 8, width: int = 1) -> Tensor:
    """Flow (1, 2, 16, 16) whose u rises to a height over `width` steps between columns."""
    columns = torch.arange(16.0)
    flow = torch.zeros(1, 2, 16, 16)
    flow[:, 0] = height * ((columns - at + 1) / width).clamp(0, 1)
    return flow


def test_relative_change_of_equal_runs_is_zero() -> None:
    errors = np.random.default_rng(0).uniform(1, 2, (3, 20))
    assert relative_change(errors, errors) == (0, 0, 0)


def test_relative_change_is_of_means_not_a_mean_of_changes() -> None:
    assert relative_change([[1.0, 8.0]], [[2.0, 8.0]]).estimate == pytest.approx(-0.1)


def test_pairing_removes_the_variance_that_images_share() -> None:
    hard = 10.0 ** np.random.default_rng(0).uniform(-1, 1, (5, 200))
    change = relative_change(0.9 * hard, hard)
    assert change == pytest.approx((-0.1, -0.1, -0.1))


def test_an_image_without_occlusion_counts_nowhere() -> None:
    hard, ours = [[1.0, math.nan, 3.0]], [[2.0, math.nan, 6.0]]
    assert relative_change(ours, hard) == pytest.approx((1, 1, 1))


def test_more_images_of_few_seeds_do_not_narrow_the_interval_below_what_seeds_vary() -> None:
    seeds = np.array([0.8, 0.9, 1.0, 1.1, 1.2])[:, None]
    few, many = (relative_change(np.repeat(seeds, n, axis=1), np.ones((5, n))) for n in (10, 200))
    assert many.low == pytest.approx(few.low, abs=0.01)
    assert many.high == pytest.approx(few.high, abs=0.01)
    # Student's interval of five values with standard deviation 0.158 (n - 1): 2.776 times 0.158 / sqrt(5) either side
    assert many.high - many.low == pytest.approx(2 * 2.776 * 0.0707, rel=0.05)


@pytest.mark.parametrize("count", [3, 5])
def test_the_interval_covers_a_known_change_as_often_as_it_says(count: int) -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        seed, image = generator.normal(0, 0.1, (count, 1)), generator.normal(0, 0.3, (1, 40))
        ours = 0.8 + seed + image + generator.normal(0, 0.1, (count, 40))
        change = relative_change(ours, np.ones((count, 40)), draws=400, seed=trial)
        hits += change.low <= -0.2 <= change.high
    assert 184 <= hits <= 200  # of 190 meant, two standard deviations less


def test_a_failed_run_is_not_omitted_silently() -> None:
    with pytest.raises(ValueError, match="1 of 2 runs have failed: their errors are infinite"):
        relative_change([[math.inf, math.inf], [1.0, 1.0]], [[2.0, 2.0], [2.0, 2.0]])


def test_errors_of_other_runs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\) and \(1, 1\)"):
        relative_change([[1.0, 2.0]], [[1.0]])
    with pytest.raises(ValueError, match="none of 1 is defined"):
        relative_change([[math.nan]], [[1.0]])


def test_boundaries_are_found_within_the_tolerance_and_not_beyond() -> None:
    truth = step(3.0)
    assert boundary_f1(truth, truth, threshold=0.5) == 1
    assert boundary_f1(step(3.0, at=10), truth, threshold=0.5) == 1  # two pixels aside
    assert boundary_f1(step(3.0, at=13), truth, threshold=0.5) == 0  # the nearest pixels are four aside
    assert boundary_f1(step(0.4), truth, threshold=0.5) == 0


def test_f1_of_a_hand_made_flow() -> None:
    truth = step(3.0)  # columns 7 and 8
    flow = truth.clone()
    flow[:, 0, :, 13:] += 3  # columns 12 and 13 as well: half of what is predicted is wrong
    assert boundary_f1(flow, truth, threshold=0.5) == pytest.approx(2 * 0.5 / 1.5)


def test_without_a_true_boundary_there_is_no_f1() -> None:
    assert math.isnan(boundary_f1(step(3.0), step(0.0), threshold=0.5))


def test_the_threshold_is_one_that_finds_a_smeared_edge() -> None:
    assert boundary_f1(step(3.0, width=4), step(3.0), threshold=1.0) == 0  # 0.75 px/px
    assert best_threshold(step(3.0, width=4), step(3.0)) < 0.75


def test_both_families_get_the_same_trials() -> None:
    trials = starting_trials(Protocol())
    assert [FAMILY[str(trial["term"])] for trial in trials] == ["hard", "unrolled"] * 16
    assert len({identity(trial) for trial in trials}) == 32
    assert ablation.VERIFIED in trials
    assert all("test_images" not in trial for trial in trials)


def test_refining_is_the_same_when_it_is_done_again() -> None:
    best = row("unrolled", 1.0, 1.0, scale=0.3)["settings"]
    near = refined(best, 3)
    assert near == refined(best, 3)
    assert near != refined(best, 4)
    assert 1 / 4 <= near["weight"] / 0.1 <= 4
    assert 1 / 3 <= near["scale"] / 0.3 <= 3
    assert near["seed"] == 0
    assert "scale" not in refined(row("tv", 1.0, 1.0)["settings"], 3)


def test_the_finalist_helps_occluded_pixels_without_ruining_the_others() -> None:
    none = row("none", 1.0, 3.0)
    useful, better, ruinous = row("tv", 0.9, 2.8), row("huber", 1.0, 2.5), row("charbonnier", 1.1, 2.0)
    assert finalist([none, ruinous, useful, better], "hard") is better
    assert finalist([none, ruinous], "hard") is ruinous
    assert finalist([none, row("none", 0.8, 4.0)], "none")["results"]["validation"]["epe"] == 0.8
    broken = row("unrolled", math.nan, math.nan)
    assert finalist([none, broken, row("unrolled", 5.0, 5.0)], "unrolled") is not broken


def test_finals_are_paired_by_seed_and_image() -> None:
    rows = [
        final("tv", 1, [1.0, None], [3.0, 2.0]),
        final("tv", 2, [3.0, None], [4.0, 2.0]),
        final("unrolled", 2, [1.5, None], [2.0, 1.0]),
        final("unrolled", 3, [9.0, None], [9.0, 9.0]),  # no hard run has this seed
    ]
    assert compared(rows, "unrolled", "epe_occ") == pytest.approx((-0.5, -0.5, -0.5))
    assert math.isnan(compared(rows, "none", "epe_occ").estimate)
    for one, epe in zip(rows, (1.0, 2.0, 1.0, 9.0), strict=True):
        one["results"]["validation"] = {"epe_occ": epe}
    alone = compared(rows, "unrolled", "epe_occ", "validation")
    assert alone.estimate == pytest.approx(-0.5)
    assert math.isnan(alone.low)  # one seed's mean over images has no interval


def test_steps_to_the_hard_finals_last_error_of_the_seed() -> None:
    ends = {1: 2.0, 2: 1.0, 3: 3.0}
    rows = [final("tv", seed, [1.0], [4.0, 3.5, end]) for seed, end in ends.items()]
    rows += [final("unrolled", seed, [1.0], [4.0, 2.0, 1.5]) for seed in ends]
    assert steps_to(rows, "hard") == "30 [30, 30]"
    assert steps_to(rows, "unrolled") == "20 [20, never]"
    assert math.isinf(first_at(rows[0], 1.0))


def test_a_comparison_counts_where_smoothness_helps_and_flow_is_better_than_none() -> None:
    def finals(hard: float, unrolled: float, none: float = 2.0) -> list[Row]:
        rows = [final(name, 1, [1.0], [1.0]) for name in ("none", "tv", "unrolled")]
        for row, epe in zip(rows, (none, hard, unrolled), strict=True):
            row["results"]["test"] |= {"epe_occ": epe, "zero_epe_occ": 2.5}
        return rows

    assert counts(finals(1.9, 1.8)).startswith("counts")
    assert counts(finals(2.1, 1.8)) == "does not count: hard is not better than none"
    assert counts(finals(2.6, 2.7, none=3.0)).count("not better than zero flow") == 2


def test_runs_of_another_protocol_are_not_reported() -> None:
    def trial(term: str, steps: int, **settings: float) -> Row:
        return row(term, 1.0, 1.0, steps=steps, **settings)

    protocol = Protocol()
    trials = [trial(term, 900) for term in ("none", "tv", "unrolled", "supervised")]
    better = {"validation": {"epe": 0.5, "epe_occ": 0.5}}
    long = [{"settings": cell, "results": better} for cell in protocol.long_trials(trials)]
    finals = [{"settings": cell} for cell in protocol.finals(trials + long)]
    stale = [{"settings": dict(cell["settings"], steps=7)} for cell in finals]
    assert protocol.own([*trials, trial("tv", 1200), *stale, *finals]) == trials
    assert protocol.own([*trials, *long, trial("tv", 1200), *stale, *finals]) == trials + long + finals
    assert len(long) == 2 * 3 + 1
    assert len(finals) == 3 * 5 + 1
    scan = [{"settings": cell, "results": better} for cell in protocol.scan(trials)]
    assert len(protocol.own(trials + scan)) == len(trials) + 2 * 13
    assert finalist(trials + long, "hard") is trials[1]  # they choose no finalist
    assert finalist(trials + scan, "hard") is trials[1]


def test_other_weights_are_averaged_over_their_seeds(tmp_path: Path) -> None:
    protocol = Protocol()
    trials = [row(term, 1.0, 1.0, steps=900) for term in ("none", "tv", "unrolled", "supervised")]
    trials[2]["settings"] |= {"iterations": 1, "detach": False, "initial_term": True}
    scan = [{"settings": cell, "results": {}} for cell in protocol.scan(trials)]
    for one in scan:
        seed, none = one["settings"]["seed"], one["settings"]["term"] == "none"
        epe = 1.0 if none else seed / 7  # of seeds 6 and 8: 1 on average
        one["results"] = {"validation": {"epe": epe, "epe_occ": 2 * epe}}
    write_weights(tmp_path, trials + scan)
    lines = [line.split(",") for line in (tmp_path / "table.csv").read_text().splitlines()[1:]]
    assert len(lines) == 13
    assert {(line[-6], float(line[-5]), float(line[-4]), line[-1]) for line in lines} == {("2", 1.0, 2.0, "yes")}


def test_long_trials_choose_the_weight_of_the_finals() -> None:
    protocol = Protocol()
    trials = [row(term, 1.0, 1.0, steps=900) for term in ("none", "tv", "unrolled", "supervised")]
    long = [{"settings": cell, "results": {}} for cell in protocol.long_trials(trials)]
    assert {(cell["settings"]["term"], cell["settings"]["weight"]) for cell in long} == {
        (term, weight) for term in ("tv", "unrolled") for weight in (0.1, 0.17, 0.3)
    } | {("none", 0.1)}  # fmt: skip
    for one in long:
        term, weight = one["settings"]["term"], one["settings"]["weight"]
        # ruinous from a weight on, total variation sooner, against the long run without smoothness, not a short one
        epe = 0.5 if term == "none" or weight < (0.15 if term == "tv" else 0.25) else 0.6
        one["results"] = {"validation": {"epe": epe, "epe_occ": 2 - weight}}
    weights = {cell["term"]: cell["weight"] for cell in protocol.finals(trials + long)}
    assert weights == {"none": 0.1, "tv": 0.1, "unrolled": 0.17, "supervised": 0.1}


@pytest.mark.parametrize("term", ["tv", "charbonnier", "huber"])
def test_hard_terms_pull_alike_beyond_their_scale(term: str) -> None:
    smoothness, factor = smoothness_term(term, 0.05, 1, False, True)
    gradient = torch.tensor([5.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(factor * smoothness.penalty(gradient).sum(), gradient)
    assert slope.item() == pytest.approx(1, rel=1e-3)


def test_a_bounded_unrolled_term_pulls_about_as_total_variation_does() -> None:
    smoothness, factor = smoothness_term("unrolled", 0.3, 4, True, False)
    gradient = torch.tensor([0.2, 0.5, 5.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(factor * smoothness.penalty(gradient).sum(), gradient)
    assert slope.tolist() == pytest.approx([1.2] * 3, abs=0.1)


def test_an_unknown_term_is_named() -> None:
    with pytest.raises(ValueError, match="term='l2'; choose none, tv"):
        smoothness_term("l2", 1.0, 1, False, True)


def test_the_weight_ramps_up_over_half_of_the_steps() -> None:
    settings = {"learning_rate": 1e-3, "steps": 4, "weight": 0.8}
    for options, expected in (({}, [0, 0.4, 0.8, 0.8]), ({"ramp": 0}, [0.8] * 4)):
        objective = flow_model(losses.TotalVariation(), **settings, **options).objective
        assert [objective.smoothness_weight * objective.smoothness_ramp.at(step) for step in range(4)] == expected


def test_a_training_makes_the_steps_and_measures_after_those_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = flow_model(losses.TotalVariation(), learning_rate=1e-3, steps=4, weight=0.1)
    states: dict[int, Tensor] = {}

    def note(step: int) -> None:
        states[step] = next(model.parameters()).detach().clone()
        model.eval()

    callback = AfterSteps(points_of(4, 2), note)
    fit(model, training_batches(4, 0), steps=4, callback=callback)
    assert list(states) == [2, 4]
    assert not states[2].equal(states[4])
    assert model.training
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_run_depends_on_its_settings_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"learning_rate": 1e-3, "seed": 3, "steps": 2, "samples": 4, "images": 2, "points": 2}
    first, again, smooth = (train_flow(term=t, weight=9.0, **settings) for t in ("none", "none", "tv"))
    assert first == again
    assert first["curve"]["step"] == [1, 2]
    assert first["curve"]["epe"][0] == smooth["curve"]["epe"][0]  # the ramp starts at weight 0
    assert first["curve"]["epe"][1] != smooth["curve"]["epe"][1]
    assert "test" not in first


@pytest.mark.slow
def test_the_whole_protocol_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ablation.main(smoke=True, folder=tmp_path / "results")
    rows = read_rows(tmp_path / "results" / "rows.jsonl")
    assert len(rows) == (1 + 2 + 1 + 2) + 2 * 13 + 3 + (3 * 2 + 1)  # search, other weights, long trials, finals
    (tmp_path / "results" / "table.md").unlink()
    assert len((tmp_path / "results" / "weights" / "table.md").read_text().splitlines()) == 2 + 13 + 3
    ablation.main(smoke=True, folder=tmp_path / "results")
    assert read_rows(tmp_path / "results" / "rows.jsonl") == rows
    table = (tmp_path / "results" / "table.md").read_text()
    assert [line.split(" | ")[1] for line in table.splitlines()[2:7]] == [
        "none", "hard: tv", "unrolled: unrolled", "supervised", "zero flow",
    ]  # fmt: skip
    assert [line.split(" | ")[0] for line in table.splitlines()[2:]] == ["| test"] * 6 + ["| validation"] * 6
    assert (tmp_path / "results" / "figure.png").stat().st_size > 10_000


def test_a_cell_that_was_never_run_cannot_be_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FULL", raising=False)
    with pytest.raises(SystemExit, match="no finished run"):
        ablation.main(folder=tmp_path)


def test_nothing_to_report_is_reported(tmp_path: Path) -> None:
    (tmp_path / "table.md").write_text("finals of an earlier protocol")
    write_report(tmp_path, [])
    assert (tmp_path / "figure.png").is_file()
    assert not (tmp_path / "table.md").exists()

import json
from pathlib import Path

import torch

from unrollflow.data import read_image, write_image
from unrollflow.visualization.report import headline, read_curves, shrunk, spread, write_report

FIGURES = {"epe": 1.0, "epe_occ": None, "epe_zero_flow": 2.0, "epe_median_flow": 1.5, "seconds": 12.0, "steps": 7}
CSV = "epoch,step,loss/total,val/epe,note\n0,0,2.5,,\n0,1,2.0,,\n0,1,,1.25,\n"


def test_report_is_complete_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(FIGURES))
    (tmp_path / "metrics.csv").write_text(CSV)
    (tmp_path / "config.yaml").write_text("name: <script>alert(1)</script>\n")
    for step in (1, 2):
        for sample in range(2):
            write_image(tmp_path / "panels" / f"step-{step:06d}_{sample:02d}-a.png", torch.rand(3, 4, 4))
    page = write_report(tmp_path, title="a & b").read_text()
    assert "0.50 times that of zero flow" in page
    assert "better than that of the constant median of each image" in page
    assert "<title>a &amp; b</title>" in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<img") == 2 + 2 + 1  # two plots, the last step's two panels, one of the history
    assert "Predictions at step 2" in page
    assert not list(tmp_path.glob("*.part"))


def test_missing_parts_are_omitted(tmp_path: Path) -> None:
    page = write_report(tmp_path, title="nothing").read_text()
    assert "<h2>" not in page
    assert "<img" not in page


def test_headline_is_honest_about_a_bad_result() -> None:
    assert "not better than that of the constant median of each image" in headline({**FIGURES, "epe": 1.6})
    assert "not finite" in headline({**FIGURES, "epe": None})
    assert headline({"epe": None}) == ""


def test_headline_without_ground_truth_says_what_is_known() -> None:
    blind = {"epe": None, "zero_flow_ratio": 0.456, "visible_fraction": 0.9, "motion": 3.21}
    text = headline(blind)
    assert "explains held-out frames better than zero flow" in text
    assert "0.46 times that of zero flow" in text
    assert "90% of the pixels are visible" in text
    assert "not better than zero flow" in headline(blind | {"zero_flow_ratio": 1.01})


def test_without_ground_truth_the_shares_are_drawn(tmp_path: Path) -> None:
    rows = "epoch,step,val/zero_flow_ratio,val/visible_fraction\n0,1,0.9,0.8\n0,2,0.5,0.9\n"
    (tmp_path / "metrics.csv").write_text(rows)
    assert 'alt="validation against step"' in write_report(tmp_path, title="blind").read_text()


def test_wide_panels_are_shrunk_and_others_kept(tmp_path: Path) -> None:
    for width, expected in ((3200, 1600), (1500, 1500)):
        write_image(tmp_path / "wide.png", torch.rand(3, 40, width))
        content = (tmp_path / "wide.png").read_bytes()
        (tmp_path / "shrunk.png").write_bytes(shrunk(content))
        assert read_image(tmp_path / "shrunk.png").shape == (3, 40 * expected // width, expected)
        assert (shrunk(content) == content) is (width == expected)


def test_history_runs_from_the_first_validation_to_the_last() -> None:
    for count in (1, 5, 12, 13, 100):
        chosen = spread(list(range(count)))
        assert (chosen[0], chosen[-1]) == (0, count - 1)
        assert len(set(chosen)) == len(chosen) == min(count, 12)


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(CSV)
    write_image(tmp_path / "panels" / "step-000001_00-a.png", torch.rand(3, 4, 4))
    page = write_report(tmp_path, title="alone").read_text()
    assert page.count("src=") == page.count('src="data:image/png;base64,') == 3
    assert "href" not in page
    assert "url(" not in page


def test_curves_are_sparse_columns(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(CSV)
    curves = read_curves(tmp_path / "metrics.csv")
    assert curves["loss/total"] == ([0, 1], [2.5, 2.0])
    assert curves["val/epe"] == ([1], [1.25])
    assert "note" not in curves

import json
from pathlib import Path

import torch

from unrollflow.data import write_image
from unrollflow.report import headline, read_curves, write_report

FIGURES = {"epe": 1.0, "epe_occ": None, "epe_zero_flow": 2.0, "epe_best_constant": 1.5, "seconds": 12.0, "steps": 7}
CSV = "epoch,step,loss/total,val/epe,note\n0,0,2.5,,\n0,1,2.0,,\n0,1,,1.25,\n"


def test_report_tells_everything_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(FIGURES))
    (tmp_path / "metrics.csv").write_text(CSV)
    (tmp_path / "config.yaml").write_text("name: <script>alert(1)</script>\n")
    for step in (1, 2):
        for sample in range(2):
            write_image(tmp_path / "panels" / f"step-{step:06d}_{sample:02d}-a.png", torch.rand(3, 4, 4))
    page = write_report(tmp_path, title="a & b").read_text()
    assert "0.50 of what zero flow leaves" in page
    assert "better than the best constant flow" in page
    assert "<title>a &amp; b</title>" in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<img") == 2 + 2 + 1  # two plots, the last step's two panels, one of the history
    assert "Predictions at step 2" in page
    assert not list(tmp_path.glob("*.part"))


def test_whatever_is_missing_is_left_out(tmp_path: Path) -> None:
    page = write_report(tmp_path, title="nothing").read_text()
    assert "<h2>" not in page
    assert "<img" not in page


def test_headline_is_honest_about_a_bad_result() -> None:
    assert "no better than the best constant" in headline({**FIGURES, "epe": 1.6})
    assert headline({"epe": None}) == ""


def test_curves_are_sparse_columns(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(CSV)
    curves = read_curves(tmp_path / "metrics.csv")
    assert curves["loss/total"] == ([0, 1], [2.5, 2.0])
    assert curves["val/epe"] == ([1], [1.25])
    assert "note" not in curves

from experiments.ship_weights.confidence import TABLE, confidence_figures, with_confidence
from unrollflow.ops.occlusion import CALIBRATION
from unrollflow.weights import DEFAULT, read_card, weights_file


def test_the_part_about_the_confidence_is_added_once_before_the_known_failures() -> None:
    column = {"EPE (px)": 0.5, "area, confidence (px)": 0.2, "area, oracle (px)": 0.1}
    column |= {"mean confidence": 0.9, "under 1 px": 0.875, "calibration error": 0.025}
    figures = {"command": "the command", "calibration": {"network": CALIBRATION._asdict()}, "sets": {"a set": column}}
    text = with_confidence("# Weights\n\nKnown failures:\n\n- none\n", figures)
    assert text.startswith("# Weights\n\nConfidence of the flow (")
    assert "\n| a set | 0.500 | 0.200 | 0.100 | 0.900 | 0.875 | 0.025 |\n\nKnown failures:\n\n- none\n" in text
    assert with_confidence(text, figures) == text


def test_the_shipped_card_holds_the_experiments_figures_and_the_packages_calibration() -> None:
    file = weights_file(DEFAULT)
    card = read_card(file)
    assert card["confidence"] == confidence_figures(TABLE)
    text = file.with_suffix(".md").read_text()
    assert with_confidence(text, card["confidence"]) == text

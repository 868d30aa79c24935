"""Add the figures of the confidence to the card of the shipped weights "small"; the weights do not change.

Command: python -m experiments.ship_weights.confidence

It reads the table of `python -m experiments.confidence`, and rewrites small.json and small.md. Run it after
`python -m experiments.ship_weights small`, which writes the card without these figures.
"""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unrollflow.data.io.files import write_atomic
from unrollflow.ops.occlusion import CALIBRATION, REFINED_CALIBRATION
from unrollflow.weights import DEFAULT, read_card, weights_file

TABLE = Path(__file__).parents[1] / "confidence" / "results" / "table.csv"

CALIBRATIONS = {"network": CALIBRATION, "refined": REFINED_CALIBRATION}

NEXT = "Known failures:"
"""First line of the section after this part of the card."""

START = "Confidence of the flow"
TEXT = """{start} (`predict --confidence`, `unrollflow.flow_and_confidence`): the estimated probability that the
end-point error is under 1 px, from the forward-backward mismatch.

- Calibration, fitted on MovingLayers that are neither in the training nor in this table: {numbers}.
- Command: `{command}`. All pixels of a set are pooled.
- Area: under the sparsification curve, in pixels; a constant confidence has the EPE as its area.
- Calibration error: mean over deciles of |mean confidence - share under 1 px|.

{table}

"""

COLUMNS = {
    "EPE (px)": "EPE",
    "area, confidence (px)": "area",
    "area, oracle (px)": "area of the oracle",
    "mean confidence": "mean confidence",
    "under 1 px": "share under 1 px",
    "calibration error": "calibration error",
}
"""Columns of the table of the experiment, and their headings in the card."""


def confidence_figures(table: Path) -> dict[str, Any]:
    """Return the content of the card: command, calibration, and figures of every set of the experiment's table."""
    with table.open(newline="") as file:
        sets = {row["set"]: {name: round(float(row[name]), 6) for name in COLUMNS} for row in csv.DictReader(file)}
    calibrations = {name: numbers._asdict() for name, numbers in CALIBRATIONS.items()}
    return {"command": "python -m experiments.confidence", "calibration": calibrations, "sets": sets}


def with_confidence(text: str, confidence: Mapping[str, Any]) -> str:
    """Return the text of the card with the part about the confidence, before the known failures."""
    before, heading, after = text.partition(NEXT)
    lines = [["set", *COLUMNS.values()], ["---"] * (1 + len(COLUMNS))]
    lines += [[name, *(f"{found[column]:.3f}" for column in COLUMNS)] for name, found in confidence["sets"].items()]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    numbers = "; ".join(
        f"{name} scale {of['scale']:g} px, power {of['power']:g}, floor {of['floor']:g}"
        for name, of in confidence["calibration"].items()
    )
    part = TEXT.format(start=START, numbers=numbers, command=confidence["command"], table=table)
    return before.partition(START)[0] + part + heading + after


def main() -> None:
    """Rewrite NAME.json and NAME.md."""
    file = weights_file(DEFAULT)
    card, confidence = read_card(file), confidence_figures(TABLE)
    digest = card.pop("sha256")
    content = json.dumps({**card, "confidence": confidence, "sha256": digest}, indent=2) + "\n"
    text = file.with_suffix(".md")
    write_atomic(file.with_suffix(".json"), content.encode())
    write_atomic(text, with_confidence(text.read_text(), confidence).encode())


if __name__ == "__main__":
    main()

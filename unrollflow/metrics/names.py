"""Names of the measures, with and without ground truth, and their labels in tables and reports."""

from typing import NamedTuple


class Measure(NamedTuple):
    """Label and unit of a measure."""

    label: str
    unit: str


MEASURES = {
    "epe": Measure("EPE, all pixels", "px"),
    "epe_noc": Measure("EPE, visible pixels (noc)", "px"),
    "epe_occ": Measure("EPE, occluded pixels (occ)", "px"),
    "epe_fg": Measure("EPE, foreground", "px"),
    "epe_bg": Measure("EPE, background", "px"),
    "epe_s0_10": Measure("EPE, moving under 10 px (s0-10)", "px"),
    "epe_s10_40": Measure("EPE, moving 10 to 40 px (s10-40)", "px"),
    "epe_s40": Measure("EPE, moving 40 px or more (s40+)", "px"),
    "epe_d0_5": Measure("EPE, under 5 px from a motion boundary", "px"),
    "epe_d0_10": Measure("EPE, under 10 px from one (d0-10)", "px"),
    "epe_d10_60": Measure("EPE, 10 to 60 px from one (d10-60)", "px"),
    "epe_d60_140": Measure("EPE, 60 to 140 px from one (d60-140)", "px"),
    "angular": Measure("Angular error", "deg"),
    "fl": Measure("Fl: error over 3 px and 5 %", "%"),
    "fl_noc": Measure("Fl, visible pixels (noc)", "%"),
    "fl_fg": Measure("Fl, foreground", "%"),
    "fl_bg": Measure("Fl, background", "%"),
    "over_1px": Measure("Error over 1 px", "%"),
    "over_3px": Measure("Error over 3 px", "%"),
    "over_5px": Measure("Error over 5 px", "%"),
    "epe_zero_flow": Measure("EPE of zero flow", "px"),
    "epe_median_flow": Measure("EPE of a constant: the true flow's component-wise median per image", "px"),
}

UNLABELLED = {
    "census": Measure("Census difference, visible pixels (0 alike, 1 nothing visible)", ""),
    "zero_flow_ratio": Measure("Census difference, ratio to zero flow's (over 1: worse than none)", ""),
    "consistency": Measure("Forward-backward mismatch", "px"),
    "visible_fraction": Measure("Visible share of the pixels", ""),
    "occluded_fraction": Measure("Occluded share, within the frame", ""),
    "out_of_frame_fraction": Measure("Share that leaves the frame", ""),
    "motion": Measure("Predicted motion, mean", "px"),
}
"""Measures without ground truth, see :func:`~unrollflow.losses.unlabelled_measures`."""

HEADLINE = {
    "epe": "EPE",
    "epe_noc": "noc",
    "epe_occ": "occ",
    "fl": "Fl %",
    "epe_zero_flow": "zero flow",
    "epe_median_flow": "median flow",
}
"""Measures of a short table, and its column headings."""

UNLABELLED_HEADLINE = {
    "census": "census",
    "zero_flow_ratio": "ratio to zero",
    "consistency": "mismatch px",
    "visible_fraction": "visible",
    "motion": "motion px",
}
"""Measures of a short table without ground truth, and its column headings."""

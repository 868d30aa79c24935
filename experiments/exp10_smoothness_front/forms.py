"""Smoothness terms of experiment 10, and their arguments of the command line."""

from typing import NamedTuple

from experiments.common.grid import significant

SMOOTHNESS, OBJECTIVE = "--model.smoothness", "--model.objective.init_args"


class Form(NamedTuple):
    """A smoothness term.

    Attributes:
        file: file in configs/smoothness.
        rounding: name of the argument with the limit of small gradients, px/px; "" for none.
        roundings: values of the search.
        scales: whether the slope on strong edges is the rounding instead of 1.
        changes: further arguments.
    """

    file: str
    rounding: str = ""
    roundings: tuple[float, ...] = (0.0,)
    scales: bool = False
    changes: tuple[str, ...] = ()


THRESHOLDS = (0.05, 0.1, 0.3)

FORMS = {
    "none": Form("none"),
    "total variation": Form("tv_l1"),
    "Charbonnier": Form("tv_charbonnier", "epsilon", (0.003, 0.01, 0.03)),
    "Huber": Form("tv_huber", "delta", THRESHOLDS, scales=True),
    "unrolled, T = 4, detached": Form("unrolled_tv_detached", "lam", THRESHOLDS, scales=True),
    "unrolled, T = 1, released": Form("unrolled_tv", "lam", THRESHOLDS, scales=True),
    "unrolled, T = 2, released": Form("unrolled_tv", "lam", scales=True, changes=("steps", "2")),
    "unrolled, T = 4, released": Form("unrolled_t4_attached_with_t0", "lam", scales=True),
    "unrolled, T = 4, attached without t = 0": Form("unrolled_t4_attached_without_t0", "lam", scales=True),
}
"""Forms without `roundings` use those of the form in :data:`SHARED`. T = 1 detached without t = 0 is twice Huber's
penalty (experiment 01)."""

SHARED = {
    "unrolled, T = 2, released": "unrolled, T = 1, released",
    "unrolled, T = 4, released": "unrolled, T = 1, released",
    "unrolled, T = 4, attached without t = 0": "unrolled, T = 4, detached",
}


def arguments(name: str, *, rounding: float, strength: float, ramp: int) -> list[str]:
    """Return the arguments of the command line.

    Args:
        name: key of :data:`FORMS`.
        rounding: px/px.
        strength: slope on strong edges, which is the weight of total variation. Terms with their rounding as slope get
            the weight strength / rounding. (The released form has no such slope: its slope grows with the edge.)
        ramp: steps over which the weight rises from 0; 0: full weight from the first step.
    """
    form = FORMS[name]
    words = [SMOOTHNESS, f"configs/smoothness/{form.file}.yaml"]
    if name == "none":
        return words
    if form.rounding:
        words += [f"{SMOOTHNESS}.init_args.{form.rounding}", str(rounding)]
    if form.changes:
        words += [f"{SMOOTHNESS}.init_args.{form.changes[0]}", form.changes[1]]
    words += [f"{OBJECTIVE}.smoothness_weight", str(significant(strength / (rounding if form.scales else 1.0)))]
    if ramp:
        words += [f"{OBJECTIVE}.smoothness_ramp.class_path", "unrollflow.losses.Ramp"]
        words += [f"{OBJECTIVE}.smoothness_ramp.init_args.steps", str(ramp)]
    return words

"""Changes of the quickstart's recipe that may lower the error of occluded pixels, as arguments of the command line."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.common.recipe import crops_transform, scheduled, self_supervision

OBJECTIVE, VARIANTS = "--model.objective.init_args", "experiments.exp08_levers.variants"
TESTS = f"{OBJECTIVE}.visibility.init_args.tests"
FORWARD_BACKWARD = {"class_path": "unrollflow.losses.ForwardBackward", "init_args": {"scale": 0.01, "bias": 0.5}}
ALL = {"class_path": "unrollflow.losses.AllVisible"}
SUPERPIXELS = 40
"""Superpixels of a crop of 80x80."""

Part = dict[str, Any]
"""`class_path` and `init_args` of an object."""


class Ingredient(NamedTuple):
    """A change of the recipe.

    Attributes:
        words: arguments of the command line.
        student: a term of the self-supervision, without its start and ramp; None: no term.
        keep_whole: keep the whole frames beside the crops (full-image warping).
        segments: add superpixels to the samples.
        factor: of the smoothness weight.
        group: ingredients of the same group exclude each other; "": of no group.
    """

    words: tuple[str, ...] = ()
    student: Part | None = None
    keep_whole: bool = False
    segments: bool = False
    factor: float = 1.0
    group: str = ""


def student(view: str, *, trusted: Part = FORWARD_BACKWARD, weight: float, **arguments: Any) -> Part:
    """Return a term with one view."""
    views = [{"class_path": view, "init_args": arguments}]
    return {"views": views, "visibility": trusted, "weight": weight}


TEACHER = "unrollflow.variational.RefinedTeacher"

INGREDIENTS: Mapping[str, Ingredient] = {
    "no visibility test": Ingredient((TESTS, json.dumps([ALL, ALL])), group="test"),
    "forward-backward test": Ingredient((TESTS, json.dumps([ALL, FORWARD_BACKWARD])), group="test"),
    "full-image warping": Ingredient(keep_whole=True),
    "occlusion-aware smoothness": Ingredient(
        ("--model.objective.class_path", f"{VARIANTS}.OcclusionAwareObjective", f"{OBJECTIVE}.occluded_weight", "3.0")
    ),
    "second order": Ingredient(("--model.smoothness.init_args.order", "2"), factor=3.0),
    "student with other colours and positions": Ingredient(student=self_supervision("affine")),
    "student with a crop": Ingredient(student=student("unrollflow.losses.RandomWindow", weight=0.1, size=[64, 64])),
    "student with hidden superpixels": Ingredient(
        student=student(
            "unrollflow.losses.HallucinatedOcclusion", weight=0.1, count=[2, 6], superpixels=SUPERPIXELS
        ),
        segments=True,
    ),
    "solver as teacher, visible pixels": Ingredient(student=self_supervision("refined"), group="teacher"),
    "solver as teacher, all pixels": Ingredient(student=student(TEACHER, trusted=ALL, weight=0.5), group="teacher"),
    "unrolled propagation": Ingredient(("--model.backbone", f"{VARIANTS}.UnrolledPropagation")),
}  # fmt: skip
"""By name. The weights of the students and teachers are those of configs/distillation; they were not tuned."""


def arguments(names: Sequence[str], *, steps: int) -> list[str]:
    """Return the arguments of the command line for some ingredients; students start at half of the steps."""
    chosen = [INGREDIENTS[name] for name in names]
    words = [word for ingredient in chosen for word in ingredient.words]
    terms = [scheduled(ingredient.student, steps) for ingredient in chosen if ingredient.student is not None]
    if terms:
        words += ["--model.distillation", json.dumps(terms)]
    if any(ingredient.keep_whole or ingredient.segments for ingredient in chosen):
        words += ["--data.transform", json.dumps(transform(chosen))]
    return words


def transform(chosen: Sequence[Ingredient]) -> Part:
    """Return the quickstart's transform with whole frames or superpixels."""
    whole = crops_transform()
    parts = whole["init_args"]["transforms"]
    parts[0]["init_args"]["keep_whole"] = any(ingredient.keep_whole for ingredient in chosen)
    if any(ingredient.segments for ingredient in chosen):
        parts.append({"class_path": "unrollflow.data.Superpixels", "init_args": {"count": SUPERPIXELS}})
    return whole


def factor(names: Sequence[str]) -> float:
    """Return the product of the factors of the smoothness weight."""
    product = 1.0
    for name in names:
        product *= INGREDIENTS[name].factor
    return product


def compatible(names: Sequence[str]) -> list[str]:
    """Return the names without those whose group an earlier name has."""
    found: list[str] = []
    for name in names:
        group = INGREDIENTS[name].group
        if not group or group not in {INGREDIENTS[other].group for other in found}:
            found.append(name)
    return found

"""Flow without a network: direct minimisation of the package's objective, and classical methods."""

from unrollflow.variational.descent import OPTIMIZERS, FlowEnergy, Optimizer, estimate_flow
from unrollflow.variational.linearised import LinearisedFlow
from unrollflow.variational.median import median_flow, weighted_median_flow
from unrollflow.variational.presets import Preset, preset_flow, preset_solver, refine_flow
from unrollflow.variational.primal_dual import primal_dual_flow
from unrollflow.variational.refined_teacher import RefinedTeacher

__all__ = [
    "OPTIMIZERS",
    "FlowEnergy",
    "LinearisedFlow",
    "Optimizer",
    "Preset",
    "RefinedTeacher",
    "estimate_flow",
    "median_flow",
    "preset_flow",
    "preset_solver",
    "primal_dual_flow",
    "refine_flow",
    "weighted_median_flow",
]

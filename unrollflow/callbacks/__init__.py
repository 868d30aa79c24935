"""Lightning callbacks that save, print and monitor a run."""

from unrollflow.callbacks.average_weights import AverageWeights
from unrollflow.callbacks.checkpoint_on_signal import CheckpointOnSignal
from unrollflow.callbacks.collapse_guard import CollapseGuard
from unrollflow.callbacks.evaluation_table import EvaluationTable
from unrollflow.callbacks.flow_panels import FlowPanels
from unrollflow.callbacks.keep_start import KeepStart
from unrollflow.callbacks.last_checkpoint import LastCheckpoint
from unrollflow.callbacks.pending_work import PendingWork
from unrollflow.callbacks.run_report import RunReport
from unrollflow.callbacks.skip_non_finite import SkipNonFiniteSteps
from unrollflow.callbacks.smoothness_telemetry import SmoothnessTelemetry

__all__ = [
    "AverageWeights",
    "CheckpointOnSignal",
    "CollapseGuard",
    "EvaluationTable",
    "FlowPanels",
    "KeepStart",
    "LastCheckpoint",
    "PendingWork",
    "RunReport",
    "SkipNonFiniteSteps",
    "SmoothnessTelemetry",
]

"""Training: the LightningModule and learning-rate schedules."""

from unrollflow.training.lr_schedulers import DecayAfter
from unrollflow.training.module import UnsupervisedFlow

__all__ = ["DecayAfter", "UnsupervisedFlow"]

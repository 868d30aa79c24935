"""Linearised solver as a teacher: a network learns from its own flow, refined by the solver."""

from unrollflow.losses.views import LabelledPair, View
from unrollflow.variational.presets import refine_flow


class RefinedTeacher(View):
    """Refines the teacher's flow by :func:`~unrollflow.variational.refine_flow`, without changing the frames.

    As the first view of a :class:`~unrollflow.losses.Distillation`, it makes the student's target better than the
    network's own flow, without labels. Each pair and step costs two linear systems of the size of the frames.
    """

    def forward(self, pair: LabelledPair, *, seeds: list[int]) -> LabelledPair:
        """Return the same frames with a refined flow; the seeds are not used."""
        return pair._replace(flow=refine_flow(pair.image1, pair.image2, pair.flow))

"""The linearised solver as a teacher: a network learns from its own flow after the solver's finishing warps."""

from unrollflow.losses.views import LabelledPair, View
from unrollflow.variational.presets import refine_flow


class RefinedTeacher(View):
    """Frames as they are; the teacher's flow is refined by :func:`~unrollflow.variational.refine_flow`.

    As the first view of a :class:`~unrollflow.losses.Distillation` it makes the student's target better than the
    network's own flow, without labels. It costs two linear systems of each pair's size a step.
    """

    def forward(self, pair: LabelledPair, *, seeds: list[int]) -> LabelledPair:
        """The same frames with a refined flow; nothing is drawn."""
        return pair._replace(flow=refine_flow(pair.image1, pair.image2, pair.flow))

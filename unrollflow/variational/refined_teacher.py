"""The linearised solver as a teacher: a network learns from its own flow after the solver's finishing warps."""

from unrollflow.losses.views import Lesson, View
from unrollflow.variational.presets import refine_flow


class RefinedTeacher(View):
    """Frames as they are; the teacher's flow is refined by :func:`~unrollflow.variational.refine_flow`.

    As the first view of a :class:`~unrollflow.losses.Distillation` it makes the student's target better than the
    network's own flow, without labels. It costs two linear systems of each pair's size a step.
    """

    def forward(self, lesson: Lesson, *, seeds: list[int]) -> Lesson:
        """The same frames with a refined flow; nothing is drawn."""
        return lesson._replace(flow=refine_flow(lesson.image1, lesson.image2, lesson.flow))

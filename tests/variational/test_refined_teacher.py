"""The solver as a teacher of a network."""

import torch

from tests.helpers.pairs import error, moved
from unrollflow.losses import Distillation, ForwardBackward, LabelledPair
from unrollflow.models import PyramidMatcher
from unrollflow.variational import RefinedTeacher


def test_the_target_comes_nearer_to_the_truth_and_nothing_else_changes() -> None:
    image1, image2 = moved(2.0, -1.0)
    rough = torch.tensor([1.6, -0.7]).view(1, 2, 1, 1).expand(len(image1), 2, *image1.shape[-2:])
    weight = torch.ones_like(image1[:, :1])
    found = RefinedTeacher()(LabelledPair(image1, image2, rough, weight, None), seeds=[0])
    assert error(found.flow, 2.0, -1.0) < 0.1 * error(rough, 2.0, -1.0)
    assert all(a is b for a, b in ((found.image1, image1), (found.image2, image2), (found.weight, weight)))


def test_a_network_learns_from_it() -> None:
    torch.manual_seed(0)
    network = PyramidMatcher()
    image1, image2 = moved(2.0, -1.0)
    term = Distillation(views=[RefinedTeacher()], visibility=ForwardBackward(scale=0.01, bias=0.5), weight=1.0)
    with torch.no_grad():
        there, back = network.bidirectional(image1, image2)
    sample = {"image1": image1, "image2": image2, "name": ["a"]}
    loss = term(network, sample, there[-1].flow, back[-1].flow, seeds=[0], step=0)
    loss.backward()
    assert loss > 0
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())

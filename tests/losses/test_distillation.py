from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate, FlowSample
from unrollflow.losses import AllVisible, Distillation, ForwardBackward, Margin, RandomWindow, Staged, consistency_loss
from unrollflow.losses.distillation import consistency_map

SIZE = (16, 24)
SETTINGS: dict[str, Any] = {"epsilon": 0.0, "exponent": 1.0, "gamma": 0.0}


class Nothing(AllVisible):
    """Trusts no pixel."""

    def forward(self, flow_forward: Tensor, flow_backward: Tensor) -> Tensor:
        return 0 * super().forward(flow_forward, flow_backward)


class Constant(nn.Module):
    """A network whose forward flow is one parameter everywhere, and whose backward flow is zero."""

    stride, minimum_size = 8, 8

    def __init__(self, *flows: float) -> None:
        super().__init__()
        self.flows = nn.Parameter(torch.tensor(flows))
        self.seen: list[torch.Size] = []

    def forward(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        self.seen.append(image1.shape)
        flows = [value.expand(len(image1), 2, *image1.shape[-2:]) for value in self.flows]
        return [FlowEstimate(flow, flow) for flow in flows]

    def bidirectional(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        forward = self(image1, image2)
        return forward, [FlowEstimate(0 * raw, 0 * flow) for raw, flow in forward]


def sample(count: int = 2) -> FlowSample:
    return FlowSample(image1=torch.rand(count, 3, *SIZE), image2=torch.rand(count, 3, *SIZE), name="noise")


def estimate(value: float, size: tuple[int, int] = SIZE) -> FlowEstimate:
    flow = torch.full((1, 2, *size), value, dtype=torch.float64)
    return FlowEstimate(flow, flow)


def teacher(value: float, count: int = 2) -> tuple[Tensor, Tensor]:
    flow = torch.full((count, 2, *SIZE), value)
    return flow, -flow


def distillation(**options: Any) -> Distillation:
    return Distillation(**({"views": [], "visibility": AllVisible(), "weight": 1.0} | options))


def test_loss_by_hand() -> None:
    target = torch.zeros(1, 2, *SIZE).double()
    weight = torch.zeros(1, 1, *SIZE).double()
    weight[..., :6] = 1
    iterates = [estimate(4.0), estimate(1.0)]
    plain = consistency_loss(iterates, target, weight, **SETTINGS)
    assert plain == pytest.approx(1.0)
    sequence = consistency_loss(iterates, target, weight, epsilon=0.0, exponent=0.5, gamma=0.8)
    assert sequence == pytest.approx(0.8 * 2 + 1)
    rooted = consistency_loss(iterates[-1:], target, weight, epsilon=0.01, exponent=0.4, gamma=0.0, masking="released")
    assert rooted == pytest.approx(1.01**0.4, rel=1e-6)
    assert consistency_loss(iterates, target, 0 * weight, **SETTINGS) == 0


def test_gradcheck() -> None:
    generator = torch.Generator().manual_seed(0)
    flow, target = torch.randn(2, 2, 2, 5, 6, dtype=torch.float64, generator=generator)
    weight = torch.rand(2, 1, 5, 6, dtype=torch.float64, generator=generator)

    def loss(flow: Tensor) -> Tensor:
        return consistency_loss([FlowEstimate(flow, flow)], target, weight, epsilon=0.01, exponent=0.4, gamma=0.0)

    assert torch.autograd.gradcheck(loss, flow.requires_grad_())


def test_map_is_lifted_to_full_precision() -> None:
    half = torch.tensor([300.0]).bfloat16()
    assert consistency_map(half, half - 1, epsilon=0.0, exponent=1.0).dtype == torch.float32


def test_the_weight_starts_and_ramps() -> None:
    ramped = distillation(weight=0.3, start=100, ramp=50)
    assert [ramped.weight_at(step) for step in (0, 99, 100, 125, 150, 10**6)] == pytest.approx(
        [0, 0, 0, 0.15, 0.3, 0.3]
    )
    assert distillation(weight=0.3, start=5).weight_at(5) == 0.3


def test_student_follows_the_teacher_and_the_teacher_nobody() -> None:
    network = Constant(0.0)
    flow, backward = (f.requires_grad_() for f in teacher(2.0))
    loss = distillation()(network, sample(), flow, backward, seeds=[0, 1], step=0)
    assert loss.item() == pytest.approx(2.0)
    loss.backward()
    assert network.flows.grad is not None
    assert network.flows.grad.item() == pytest.approx(-1.0)
    assert flow.grad is None


def test_trust_is_that_of_the_step() -> None:
    visibility = Staged(tests=[AllVisible(), Nothing()], starts=[0, 10])
    part, network = distillation(visibility=visibility), Constant(1.0)
    losses = [part(network, sample(), *teacher(3.0), seeds=[0, 1], step=step).item() for step in (9, 10)]
    assert losses == [2.0, 0.0]


class Normed(Constant):
    """A network whose flow is the first frame after batch norm."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        flow = self.norm(image1)[:, :2]
        return [FlowEstimate(flow, flow)]


@pytest.mark.parametrize("pixels", ["visible", "newly_occluded"])
def test_students_frames_do_not_move_the_statistics_of_evaluation(pixels: str) -> None:
    network = Normed()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    distillation(pixels=pixels)(network, sample(), *teacher(3.0), seeds=[0, 1], step=0).backward()
    assert network.norm.running_mean.equal(before["norm.running_mean"])
    assert network.norm.running_var.equal(before["norm.running_var"])
    assert network.norm.momentum == 0.1
    assert network.norm.weight.grad.abs().sum() > 0 or pixels == "newly_occluded"
    network(*(sample()[key] for key in ("image1", "image2")))
    assert not network.norm.running_mean.equal(before["norm.running_mean"])


def test_views_follow_one_another() -> None:
    network = Constant(0.0)
    views = [RandomWindow(size=(12, 20)), Margin(width=2)]
    distillation(views=views)(network, sample(), *teacher(1.0), seeds=[0, 1], step=0)
    assert network.seen == [torch.Size([2, 3, 8, 16])]


def test_every_step_has_its_own_view() -> None:
    lessons = distillation(views=[RandomWindow(size=(8, 8))])
    image = torch.arange(SIZE[0] * SIZE[1]).view(1, 1, *SIZE).expand(1, 3, *SIZE).float()
    pair: FlowSample = {"image1": image, "image2": image, "name": "ramp"}
    corners = set()
    for step in range(8):
        network = Corner()
        lessons(network, pair, *teacher(1.0, 1), seeds=[0], step=step)
        corners.add(network.corner)
    assert len(corners) > 4


class Corner(Constant):
    """A network that remembers the first pixel that it saw."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.corner = -1.0

    def forward(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        self.corner = image1.flatten()[0].item()
        return super().forward(image1, image2)


def test_only_trusted_pixels_teach() -> None:
    flow, backward = teacher(2.0)
    backward[..., :12] = 0  # the test fails there, and where the flow leaves the frame
    network = Constant(0.0, 5.0)
    loss = distillation(visibility=ForwardBackward())(network, sample(), flow, backward, seeds=[0, 1], step=0)
    assert loss.item() == pytest.approx(3.0)
    everywhere_occluded = distillation(visibility=ForwardBackward())(
        network, sample(), flow, 0 * backward, seeds=[0, 1], step=0
    )
    assert everywhere_occluded == 0


def test_newly_occluded_pixels_alone() -> None:
    newly = distillation(pixels="newly_occluded")
    agreeing = newly(Constant(0.0), sample(), *teacher(2.0), seeds=[0, 1], step=0)
    assert agreeing == 0  # the student's own flows agree: nothing is occluded for it
    failing = newly(Constant(5.0), sample(), *teacher(2.0), seeds=[0, 1], step=0)
    assert failing.item() == pytest.approx(3.0)


def test_estimates_of_another_size_are_named() -> None:
    target, weight = torch.zeros(1, 2, *SIZE).double(), torch.ones(1, 1, *SIZE).double()
    with pytest.raises(
        ValueError, match=r"an estimate and the teacher.s flow differ in size: \(1, 2, 8, 12\).*set gamma to 0"
    ):
        consistency_loss([estimate(0.0, (8, 12)), estimate(0.0)], target, weight, **(SETTINGS | {"gamma": 0.8}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight": -1.0}, "all must be at least 0"),
        ({"exponent": 0.4}, "epsilon above 0 if the exponent is below 1"),
        ({"pixels": "all"}, "pixels='all'; choose one of 'visible', 'newly_occluded'"),
        ({"masking": "none"}, "masking='none'; choose one of"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        distillation(**options)

"""Networks that are trained part by part, and on ground truth, by the files that we ship for it."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from experiments.common.assembly import CONFIGS, build
from tests.helpers.assembly import frames
from unrollflow.contracts import FlowSample
from unrollflow.metrics import endpoint_error
from unrollflow.training.module import UnsupervisedFlow

QUICKSTART = CONFIGS / "experiment" / "quickstart_pwclite.yaml"
PARTS = ("correlation", "second", "third", "small", "fusion")
OBJECTIVES = dict.fromkeys(PARTS, "supervised_flownet") | {"fusion": "supervised_last"}
"""Of FlowNet 2.0's stages, as its file names them."""

FLOWNET2 = [("flownet2_small", "trained", list(PARTS))]
SPYNET = [("spynet_small", "trained_level", [0, 1, 2, 3])]


def model(backbone: str, objective: str, **options: Any) -> UnsupervisedFlow:
    """The quickstart's model with another backbone, some of whose arguments are exchanged, and objective."""
    config = yaml.safe_load(QUICKSTART.read_text())["model"]
    files = {part: QUICKSTART.parent / value for part, value in config.items() if isinstance(value, str)}
    files |= {
        part: CONFIGS / part / f"{name}.yaml" for part, name in (("backbone", backbone), ("objective", objective))
    }
    config |= {part: yaml.safe_load(Path(path).read_text()) for part, path in files.items()}
    config["backbone"]["init_args"] |= options
    torch.manual_seed(0)
    return build(UnsupervisedFlow, config)


def descend(network: UnsupervisedFlow, batch: FlowSample, steps: int = 1) -> None:
    """Steps of the run's optimizer on one batch."""
    optimizer = network.configure_optimizers()["optimizer"]
    for _ in range(steps):
        estimates = network.backbone.bidirectional(batch["image1"], batch["image2"])
        optimizer.zero_grad()
        network.objective(batch, *estimates, step=0).total.backward()
        optimizer.step()


def tensors(network: UnsupervisedFlow) -> dict[str, Tensor]:
    """Copies of all weights and buffers, those outside of checkpoints too."""
    named = [*network.backbone.named_parameters(), *network.backbone.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in named}


def sample(image1: Tensor, image2: Tensor, flow: Tensor) -> FlowSample:
    return FlowSample(image1=image1, image2=image2, flow=flow, name="noise")


def is_of(name: str, stage: str | int) -> bool:
    """Whether a weight belongs to the trained part or level."""
    return name.startswith(f"{stage}." if isinstance(stage, str) else f"networks.{stage}.")


@pytest.mark.parametrize(("backbone", "argument", "stages"), FLOWNET2 + SPYNET)
def test_a_stage_changes_only_its_own_part_and_saves_all_parts(
    backbone: str, argument: str, stages: list[str | int]
) -> None:
    weights = None
    for stage in stages:
        network = model(backbone, "supervised_last", **{argument: stage})
        if weights is not None:
            network.load_state_dict(weights, strict=True)
        before = tensors(network)
        descend(network, frames(32))
        after = tensors(network)
        moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
        assert moved == {name for name, _ in network.backbone.named_parameters() if is_of(name, stage)}
        assert moved
        weights = network.state_dict()


@pytest.mark.parametrize("stage", PARTS)
def test_flownet2s_stages_learn_by_the_objectives_that_its_file_names(stage: str) -> None:
    assert f"{OBJECTIVES[stage]}.yaml" in (CONFIGS / "backbone" / "flownet2.yaml").read_text()
    with FakeTensorMode():
        network = model("flownet2", OBJECTIVES[stage], trained=stage)
        descend(network, sample(torch.rand(1, 3, 64, 128), torch.rand(1, 3, 64, 128), torch.rand(1, 2, 64, 128)))


@pytest.mark.parametrize("stage", range(5))
def test_spynets_levels_learn_at_their_own_size_by_the_objective_that_its_file_names(stage: int) -> None:
    assert "supervised_last.yaml" in (CONFIGS / "backbone" / "spynet.yaml").read_text()
    network = model("spynet", "supervised_last", trained_level=stage)
    batch, scale = frames(32), 2 ** (4 - stage)
    estimates = network.backbone(batch["image1"], batch["image2"])
    target = torch.nn.functional.avg_pool2d(batch["flow"], scale) / scale
    expected = (endpoint_error(estimates[-1].raw, target).square() + 0.01**2).sqrt().mean()
    torch.testing.assert_close(network.objective(batch, estimates, [], step=0).total, expected)


@pytest.mark.parametrize("backbone", ["flownets", "flownetc"])
def test_flownet_gives_five_estimates_which_its_objective_weighs(backbone: str) -> None:
    with FakeTensorMode():
        network = model(backbone, "supervised_flownet")
        batch = sample(torch.rand(1, 3, 128, 192), torch.rand(1, 3, 128, 192), torch.rand(1, 2, 128, 192))
        estimates = network.backbone(batch["image1"], batch["image2"])
        assert [tuple(e.raw.shape[-2:]) for e in estimates] == [(128 // n, 192 // n) for n in (64, 32, 16, 8, 4)]
        assert tuple(estimates[-1].flow.shape[-2:]) == (128, 192)
        assert network.objective(batch, estimates, [], step=0).total.shape == ()


FIVE_LEVELS = {"encoder_channels": [8] * 6, "refinement_channels": [8] * 4}


@pytest.mark.parametrize(
    ("backbone", "objective", "options"),
    [
        ("flownets_small", "supervised_flownet_small", {}),
        ("flownetc_small", "supervised_flownet_small", {}),
        ("flownets_small", "supervised_flownet", FIVE_LEVELS),
    ],
)
def test_flownet_learns_a_batch_by_its_raw_levels(backbone: str, objective: str, options: dict[str, Any]) -> None:
    network, noise = model(backbone, objective, **options), frames(64)
    batch = sample(noise["image1"], noise["image2"], torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(2, 2, 64, 64))
    errors = []
    for steps in (0, 20):
        descend(network, batch, steps)
        with torch.no_grad():
            flow = network.backbone(batch["image1"], batch["image2"])[-1].flow
        errors.append(endpoint_error(flow, batch["flow"]).mean())
    assert errors[1] < 0.5 * errors[0]

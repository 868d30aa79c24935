import pytest
import torch
from torch import nn

from tests.models.test_backbones import flownet2, flownet_c, flownet_s, flownet_sd, pair
from unrollflow.models import FlowNet2, FlowNetC, FlowNetFusion, FlowNetS, FlowNetSD
from unrollflow.models.flownet2 import length, rivals, stacked

PARTS = ("correlation", "second", "third", "small", "fusion")


def test_parameters_of_the_released_networks() -> None:
    def count(network: nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    with torch.device("meta"):
        network = FlowNet2(
            correlation=FlowNetC(),
            second=FlowNetS(extra_channels=6),
            third=FlowNetS(extra_channels=6),
            small=FlowNetSD(),
            fusion=FlowNetFusion(),
        )
    assert (count(network.small), count(network.fusion)) == (45_371_666, 581_226)
    assert count(network) == 162_518_834


@pytest.mark.parametrize("part", PARTS)
def test_one_part_alone_is_trained_and_its_flow_given(part: str) -> None:
    torch.manual_seed(0)
    network = flownet2(part)
    forward, backward = network.bidirectional(*pair())
    torch.stack([e.flow.square().mean() for e in (*forward, *backward)]).sum().backward()
    trained = {name.partition(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert trained == {part}
    assert all(p.requires_grad == name.startswith(part) for name, p in network.named_parameters())


def test_a_part_by_itself_gives_the_same_flow() -> None:
    for part, alone in (("correlation", "correlation"), ("small", "small")):
        torch.manual_seed(0)
        network = flownet2(part)
        for a, b in zip(network(*pair()), getattr(network, alone)(*pair()), strict=True):
            torch.testing.assert_close(a.flow, b.flow)


def test_what_comes_after_the_trained_part_is_not_computed() -> None:
    computed: list[str] = []
    for part in PARTS:
        network = flownet2(part)
        for name in PARTS:
            module = getattr(network, name)
            inner = module.refinement  # every part has one
            inner.register_forward_hook(lambda *_, name=name: computed.append(name))
        network(*pair())
        expected = {"small": ["small"], "fusion": ["correlation", "second", "third", "small", "fusion"]}
        assert computed == expected.get(part, list(PARTS[: PARTS.index(part) + 1]))
        computed.clear()


def test_all_together_give_the_finest_flow_of_each_and_the_fusions() -> None:
    torch.manual_seed(0)
    together = flownet2("all")
    found = together(*pair())
    assert [tuple(e.raw.shape[-2:]) for e in found] == [(8, 12)] * 4 + [(8, 12), (16, 24), (32, 48)]
    for place, part in enumerate(PARTS):
        together.trained = part
        torch.testing.assert_close(found[6 if part == "fusion" else place].flow, together(*pair())[-1].flow)


def test_the_stack_sees_the_second_image_where_the_flow_leads() -> None:
    image1, _ = pair(1, 8, 8)
    image2 = image1.roll(2, dims=-1)  # to the right
    flow = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    x = stacked(image1, image2, flow, scale=20.0)
    assert x.shape[1] == 12
    torch.testing.assert_close(x[:, 6:9, :, :6], image1[..., :6])
    torch.testing.assert_close(x[:, 9:11], flow / 20)
    assert x[:, 11, :, :6].abs().max() < 1e-6
    assert x[:, 11, :, 6:].min() > 0


def test_the_fusion_sees_two_flows_their_lengths_and_the_differences() -> None:
    image1, image2 = pair(1, 8, 8)
    quarters = [torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2) / 4, torch.zeros(1, 2, 2, 2)]
    one, other, long, short, _, difference = rivals(image1, image2, quarters)
    assert [one[0, :, 0, 0].tolist(), other.abs().max()] == [[3.0, 4.0], 0]
    torch.testing.assert_close(long, torch.full_like(long, 5.0))
    assert short.abs().max() == 0
    torch.testing.assert_close(difference, length(image1 - image2))


def test_a_length_of_zero_has_a_slope_of_zero() -> None:
    vectors = torch.zeros(1, 3, 2, 2, requires_grad=True)
    length(vectors).sum().backward()
    assert vectors.grad.abs().max() == 0


def test_the_fusion_too_says_which_sizes_fit() -> None:
    fusion = FlowNetFusion(encoder_channels=[4] * 6, refinement_channels=[4] * 5)
    network = FlowNet2(
        correlation=flownet_c(), second=flownet_s(6), third=flownet_s(6), small=flownet_sd(), fusion=fusion
    )
    assert fusion.stride == network.stride == network.minimum_size == 32  # of the other parts: 16
    assert tuple(network(*pair(1, 32, 64))[-1].flow.shape) == (1, 2, 32, 64)
    with pytest.raises(ValueError, match=r"FlowNet2 needs multiples of 32"):
        network(*pair(1, 32, 48))
    with pytest.raises(ValueError, match="32x48; FlowNetFusion needs multiples of 32"):
        fusion(torch.zeros(1, 11, 32, 48))


def test_errors_name_what_does_not_fit() -> None:
    fusion = FlowNetFusion(encoder_channels=[4, 4], refinement_channels=[4])
    parts = {"correlation": flownet_c(), "third": flownet_s(6), "small": flownet_sd(), "fusion": fusion}
    with pytest.raises(ValueError, match="second and third have 0 and 6 extra channels"):
        FlowNet2(second=flownet_s(), **parts)
    with pytest.raises(ValueError, match="trained='firts'; choose one of 'correlation'"):
        FlowNet2(second=flownet_s(6), trained="firts", **parts)
    with pytest.raises(ValueError, match="2 encoder and 2 refinement channels; FlowNetFusion needs"):
        FlowNetFusion(encoder_channels=[4, 4], refinement_channels=[4, 4])
    with pytest.raises(ValueError, match="3 encoder and 3 refinement channels; FlowNetSD"):
        FlowNetSD(encoder_channels=[4] * 4, refinement_channels=[4] * 3)

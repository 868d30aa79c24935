"""Properties that all classic networks have as a FlowNetwork."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.models import test_pwclite as pwclite
from tests.models.raft import test_network as raft
from unrollflow.contracts import FlowNetwork
from unrollflow.models import FlowNet2, FlowNetC, FlowNetFusion, FlowNetS, FlowNetSD, LikeNet, SPyNet
from unrollflow.models.heads import FlowHead
from unrollflow.models.refinement import Refinement

ENCODER, REFINEMENT = [6, 8, 10, 12], [8, 6]


def flownet_s(extra_channels: int = 0) -> FlowNetS:
    return FlowNetS(extra_channels=extra_channels, encoder_channels=ENCODER, refinement_channels=REFINEMENT)


def flownet_c() -> FlowNetC:
    return FlowNetC(
        encoder_channels=ENCODER, redirect_channels=4, search_range=2, search_step=1, refinement_channels=REFINEMENT
    )


def flownet_sd() -> FlowNetSD:
    return FlowNetSD(encoder_channels=[4, 6, 8, 8], refinement_channels=[6])


def flownet2(trained: str = "all") -> FlowNet2:
    return FlowNet2(
        correlation=flownet_c(),
        second=flownet_s(6),
        third=flownet_s(6),
        small=flownet_sd(),
        fusion=FlowNetFusion(encoder_channels=[4, 6, 6], refinement_channels=[4, 4]),
        trained=trained,
    )


SMALL: dict[str, Callable[[], nn.Module]] = {
    "FlowNetS": flownet_s,
    "FlowNetC": flownet_c,
    "FlowNetSD": flownet_sd,
    "FlowNet2": flownet2,
    "SPyNet": lambda: SPyNet(levels=4, channels=[12, 8], kernel_size=3),
    "LikeNet": lambda: LikeNet(search_ranges=[2, 1, 1], feature_channels=[8, 6, 4], branch_channels=6),
}

all_of_them = pytest.mark.parametrize("name", SMALL)


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return SMALL[name]()


def pair(count: int = 2, height: int = 32, width: int = 48) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(count, 3, height, width, generator=generator) for _ in range(2))


@all_of_them
def test_it_is_a_flow_network_whose_last_flow_is_as_large_as_the_image(name: str) -> None:
    network = small(name)
    assert isinstance(network, FlowNetwork)
    estimates = network(*pair())
    assert tuple(estimates[-1].flow.shape) == (2, 2, 32, 48)
    for raw, flow in estimates:
        factor = flow.shape[-1] // raw.shape[-1]
        assert tuple(flow.shape[-2:]) == (factor * raw.shape[-2], factor * raw.shape[-1])
        torch.testing.assert_close(flow[..., 0, 0], factor * raw[..., 0, 0])  # pixels of its grid, corner-aligned


@all_of_them
def test_frames_of_the_smallest_size_have_flow(name: str) -> None:
    network = small(name)
    assert network(*pair(1, network.minimum_size, network.minimum_size))[-1].flow.isfinite().all()


@all_of_them
def test_both_directions_are_two_runs(name: str) -> None:
    network, (image1, image2) = small(name).double(), (image.double() for image in pair())
    forward, backward = network.bidirectional(image1, image2)
    for joint, single in ((forward, network(image1, image2)), (backward, network(image2, image1))):
        assert len(joint) == len(single)
        for a, b in zip(joint, single, strict=True):
            torch.testing.assert_close(a.raw, b.raw)
            torch.testing.assert_close(a.flow, b.flow)


@all_of_them
def test_every_parameter_has_a_gradient(name: str) -> None:
    network = small(name)
    forward, backward = network.bidirectional(*pair())
    torch.stack([(e.flow - 1).square().mean() for e in (*forward, *backward)]).sum().backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    assert all(p.grad.isfinite().all() for p in network.parameters())


@all_of_them
def test_flow_stays_float32_under_autocast(name: str) -> None:
    network = small(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = network(*pair())
    full = network(*pair())[-1].flow
    assert {field.dtype for estimate in low for field in estimate} == {torch.float32}
    assert (low[-1].flow - full).abs().mean() < 0.1 * full.abs().mean() + 0.01


def certain(network: nn.Module, flow: tuple[float, float]) -> nn.Module:
    """A network whose flow heads return a constant flow for any input, in pixels of the level."""
    for module in network.modules():
        if isinstance(module, FlowHead):
            nn.init.zeros_(module.weight)
            module.bias.data.copy_(torch.tensor(flow))
    return network


ADDING: dict[str, Callable[[], nn.Module]] = {
    "SPyNet": SMALL["SPyNet"],
    "PWCLite": lambda: pwclite.small(),
    "PWCLite, dense": lambda: pwclite.small(dense=True),
    "RAFT": lambda: raft.tiny(),
    "RAFT, convex": lambda: raft.tiny(upsampling="convex"),
}
"""Networks whose levels or iterations add to the flow before them."""


@pytest.mark.parametrize("name", ADDING)
def test_flows_of_tens_of_pixels_keep_their_digits_under_autocast(name: str) -> None:
    network = certain(ADDING[name](), (3.337, -2.113)).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = network(*pair())
    full = network(*pair())
    assert 20 < full[-1].flow.abs().max() < 200
    for one, other in zip(low, full, strict=True):
        assert one.raw.dtype == one.flow.dtype == torch.float32
        assert (one.raw - other.raw).abs().max() < 1e-3  # bfloat16 holds 3.337 as 3.344
        assert (one.flow - other.flow).abs().max() < 0.05  # the weights of a convex up-sampling are rounded


def repeating(refinement: Refinement, flow: tuple[float, float]) -> None:
    """A refinement whose first head returns a constant flow, and whose other heads return their input flow."""
    for head in refinement.heads:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    refinement.heads[0].bias.data.copy_(torch.tensor(flow))
    for enlarge, smooth, head in zip(
        refinement.enlarge_flow, refinement.smooth, list(refinement.heads)[1:], strict=True
    ):
        nn.init.zeros_(enlarge.weight)
        if enlarge.bias is not None:
            nn.init.zeros_(enlarge.bias)
        for i in (0, 1):
            enlarge.weight.data[i, i, 1:3, 1:3] = 1.0  # each pixel to the 2x2 that it becomes
        through(head, {-2: 0, -1: 1})
        if isinstance(smooth, nn.Conv2d):
            through(smooth, {-2: -2, -1: -1})


def through(layer: nn.Conv2d, channels: dict[int, int]) -> None:
    """A convolution that copies some input channels to output channels."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    centre = layer.kernel_size[0] // 2
    for source, target in channels.items():
        layer.weight.data[target, source, centre, centre] = 1.0


@pytest.mark.parametrize("name", ["FlowNetS", "FlowNetC", "FlowNetSD"])
def test_a_flow_that_the_heads_of_a_flownet_repeat_keeps_its_digits_under_autocast(name: str) -> None:
    network = small(name)
    network.flow_scale = 1.0
    repeating(network.refinement, (100.26, -21.13))  # bfloat16 holds 100.26 as 100.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        estimates = network(*pair())
    assert len(estimates) > 1
    for level, (raw, _) in zip(range(len(estimates) + 1, 1, -1), estimates, strict=True):
        torch.testing.assert_close((raw * 2**level)[0, :, 0, 0], torch.tensor([100.26, -21.13]), rtol=0, atol=1e-4)


def test_a_stacked_flownet_sees_the_digits_of_the_flow_under_autocast() -> None:
    network, seen = flownet_s(6), []
    network.encoder[0].register_forward_hook(lambda layer, inputs, output: seen.append(output))
    x = 100 * torch.rand(1, 12, 32, 48, generator=torch.Generator().manual_seed(0))
    network.estimates(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network.estimates(x)
    torch.testing.assert_close(seen[1], seen[0])


def test_a_flow_that_the_fusion_repeats_keeps_its_digits_under_autocast() -> None:
    fusion = FlowNetFusion(encoder_channels=[4, 6, 6], refinement_channels=[4, 4])
    repeating(fusion.refinement, (0.0, 0.0))
    through(fusion.encoder.stem[0], {3: 0, 4: 1})  # the first flow, beside the image's three channels
    through(fusion.refinement.smooth[-1], {0: -2, 1: -1})  # the finest level sees the stem's features first
    x = torch.zeros(1, 11, 16, 16)
    x[:, 3], x[:, 4] = 100.26, 21.13
    with torch.autocast("cpu", dtype=torch.bfloat16):
        flow = fusion(x)[-1].flow
    torch.testing.assert_close(flow[0, :, 0, 0], torch.tensor([100.26, 21.13]), rtol=0, atol=1e-4)


@all_of_them
def test_sizes_that_do_not_fit_are_named(name: str) -> None:
    network = small(name)
    for height, width in ((network.stride + 1, 48), (32, 2 * network.stride - 1)):
        with pytest.raises(ValueError, match=f"{name} needs multiples of {network.stride}"):
            network.bidirectional(*pair(1, height, width))
    with pytest.raises(ValueError, match="of equal shape"):
        network(pair(1)[0], pair(1, 48, 48)[0])

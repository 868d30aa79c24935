import pytest
import torch
from torch import nn

from tests.models.test_backbones import flownet_c, flownet_s, pair
from unrollflow.models import FlowNetC, FlowNetS

PUBLISHED = {FlowNetS: 38_676_506, FlowNetC: 39_175_298}


@pytest.mark.parametrize(("network", "count"), PUBLISHED.items())
def test_parameters_of_nvidias_port(network: type[FlowNetS] | type[FlowNetC], count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in network().parameters()) == count


LAYERS = {
    "encoder": [18_880, 204_928, 819_456, 590_080, 1_180_160, 2_359_808, 2_359_808, 2_359_808, 4_719_616, 9_438_208],
    "enlarge": [8_389_120, 4_202_752, 1_577_088, 395_328],
    "enlarge_flow": [64, 64, 64, 64],
    "heads": [18_434, 18_470, 13_862, 6_950, 3_494],
}
"""Parameters of FlowNetS, layer by layer."""


def test_parameters_of_flownets_layer_by_layer() -> None:
    def counts(layers: nn.Module) -> list[int]:
        convolutions = [m for m in layers.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        return [sum(p.numel() for p in convolution.parameters()) for convolution in convolutions]

    with torch.device("meta"):
        network = FlowNetS()
    assert counts(network.encoder) == LAYERS["encoder"]
    assert {n: counts(part) for n, part in network.refinement.named_children() if n != "smooth"} == {
        name: LAYERS[name] for name in ("enlarge", "enlarge_flow", "heads")
    }
    assert sum(sum(layers) for layers in LAYERS.values()) == PUBLISHED[FlowNetS]


def test_no_flownets_with_five_heads_has_the_parameters_that_spynets_paper_counts() -> None:
    assert all(count % 64 == 0 for part in ("encoder", "enlarge", "enlarge_flow") for count in LAYERS[part])
    heads = {2 * kernel**2 * (1024 + 1026 + 770 + 386 + 194) % 64 for kernel in range(1, 129, 2)}
    possible = {16 + 2 * biases for biases in range(5 + 4 + 1)}  # of the heads, and of the enlargement of flow
    assert heads == {16}
    assert 32_070_472 % 64 == 32_561_032 % 64 == 8
    assert 8 not in possible


def test_the_two_of_the_release_differ_by_what_spynets_paper_counts_and_the_redirection() -> None:
    counted, redirection = 32_561_032 - 32_070_472, 256 * 32 + 32
    biases = 4 * 2  # of FlowNetS's enlargement of flow, which NVIDIA's port lacks
    assert PUBLISHED[FlowNetC] - (PUBLISHED[FlowNetS] + biases) == 498_784 == counted + redirection
    first, merged = 64 * 7 * 7 * (6 - 3), 256 * 3 * 3 * (21**2 + 32 - 256)
    assert (first, merged) == (9_408, 499_968)
    assert counted == merged - first


def test_convolutions_are_the_published_ones() -> None:
    with torch.device("meta"):
        strided = [p.shape for n, p in FlowNetS().encoder.named_parameters() if n.endswith("weight")]
    assert [tuple(shape) for shape in strided] == [
        (64, 6, 7, 7), (128, 64, 5, 5), (256, 128, 5, 5), (256, 256, 3, 3), (512, 256, 3, 3), (512, 512, 3, 3),
        (512, 512, 3, 3), (512, 512, 3, 3), (1024, 512, 3, 3), (1024, 1024, 3, 3),
    ]  # fmt: skip


def test_estimates_run_from_the_coarsest_level_to_a_quarter() -> None:
    for network in (flownet_s(), flownet_c()):
        estimates = network(*pair())
        assert [tuple(e.raw.shape[-2:]) for e in estimates] == [(2, 3), (4, 6), (8, 12)]
        assert [tuple(e.flow.shape[-2:]) for e in estimates] == [(8, 12), (16, 24), (32, 48)]


def test_outputs_are_pixels_of_the_image_by_the_scale_at_every_level() -> None:
    network = flownet_s()
    for head in network.refinement.heads:
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.ones_(head.bias)
    for raw, level in zip((e.raw for e in network(*pair())), (4, 3, 2), strict=True):
        torch.testing.assert_close(raw, torch.full_like(raw, 20 / 2**level))


def test_brightness_of_the_pair_does_not_matter() -> None:
    network, (image1, image2) = flownet_s(), pair()
    torch.testing.assert_close(
        network(image1 / 2 + 0.5, image2 / 2 + 0.5)[-1].flow, network(image1 / 2, image2 / 2)[-1].flow
    )


def test_features_of_each_image_are_computed_once() -> None:
    network, calls = flownet_c(), []
    network.siamese[0].register_forward_hook(lambda module, inputs, output: calls.append(len(inputs[0])))
    network.bidirectional(*pair())
    assert calls == [4]


def test_small_heads_start_near_zero_flow() -> None:
    networks = [
        FlowNetS(encoder_channels=[4, 4, 4], refinement_channels=[4], head_scale=0.0),
        FlowNetC(encoder_channels=[4] * 4, search_range=1, refinement_channels=[4, 4], head_scale=0.0),
    ]
    for network in networks:
        for enlarge in network.refinement.enlarge_flow:
            if enlarge.bias is not None:
                torch.nn.init.zeros_(enlarge.bias)
        assert network(*pair())[-1].flow.abs().max() == 0


def test_normalised_features_do_not_see_the_contrast_of_the_images() -> None:
    torch.manual_seed(0)
    network = FlowNetC(encoder_channels=[4] * 4, search_range=1, refinement_channels=[4, 4], normalise_features=True)
    seen = []
    network.merge.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0][:, 32:]))
    for layer in network.siamese:
        torch.nn.init.zeros_(layer[0].bias)
    image1, image2 = pair()
    network(image1, image2)
    network(0.5 * image1, 0.5 * image2)
    torch.testing.assert_close(seen[0], seen[1], atol=1e-4, rtol=1e-4)
    assert seen[0].abs().max() <= 1 + 1e-5


def test_sizes_that_cannot_be_built_are_named() -> None:
    with pytest.raises(ValueError, match="3 encoder and 2 refinement channels; FlowNetS needs at least 3"):
        FlowNetS(encoder_channels=[4] * 3, refinement_channels=[4] * 2)
    with pytest.raises(ValueError, match="3 encoder and 1 refinement channels; FlowNetC needs at least 4"):
        FlowNetC(encoder_channels=[4] * 3, refinement_channels=[4])


def test_a_part_of_a_stack_is_no_backbone() -> None:
    with pytest.raises(ValueError, match=r"6 extra channels.*extra_channels=0"):
        flownet_s(6)(*pair())

"""Tables of the names that other projects use for the parts of our networks, written from their code.

Sources: lliuz/ARFlow (models/pwclite.py), gallif/CostFunctionUnrolling (models/pwc_admm.py, models/admm.py),
princeton-vl/RAFT (core/extractor.py, core/update.py), pytorch/vision (torchvision/models/optical_flow/raft.py).
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import nn

from unrollflow.models.pwclite import DenseEstimator, PWCLite
from unrollflow.models.raft.network import RAFT

Source = Literal["arflow", "cost_unrolling", "princeton_raft", "torchvision_raft"]

ADMM_CONSTANTS = {
    "admm_block.get_gradients.D": "Sobel kernels of the ADMM block, a constant",
    "mask_gen.sobel.D": "Sobel kernels of the edge weights, a constant",
}

UNALIGNED = (
    "With torch 2.0.1, the version in Cost Unrolling's environment, its network warps features without aligned "
    "corners; ours aligns them, so its flow differs slightly from the released one."
)

PRINCETON_ENCODER = {"stem": "conv1", "norm": "norm1", "project": "conv2"}
PRINCETON_BLOCK = {"conv1": "conv1", "norm1": "norm1", "conv2": "conv2", "norm2": "norm2"}
PRINCETON_UPDATE = {
    "update.encoder.corr1": "update_block.encoder.convc1",
    "update.encoder.corr2": "update_block.encoder.convc2",
    "update.encoder.flow1": "update_block.encoder.convf1",
    "update.encoder.flow2": "update_block.encoder.convf2",
    "update.encoder.joint": "update_block.encoder.conv",
    "update.horizontal.z": "update_block.gru.convz1",
    "update.horizontal.r": "update_block.gru.convr1",
    "update.horizontal.q": "update_block.gru.convq1",
    "update.vertical.z": "update_block.gru.convz2",
    "update.vertical.r": "update_block.gru.convr2",
    "update.vertical.q": "update_block.gru.convq2",
    "update.head.0": "update_block.flow_head.conv1",
    "update.head.2": "update_block.flow_head.conv2",
    "upsample.mask.0": "update_block.mask.0",
    "upsample.mask.2": "update_block.mask.2",
}
TORCHVISION_ENCODER = {"stem": "convnormrelu.0", "norm": "convnormrelu.1", "project": "conv"}
TORCHVISION_BLOCK = {
    "conv1": "convnormrelu1.0",
    "norm1": "convnormrelu1.1",
    "conv2": "convnormrelu2.0",
    "norm2": "convnormrelu2.1",
}
TORCHVISION_UPDATE = {
    "update.encoder.corr1": "update_block.motion_encoder.convcorr1.0",
    "update.encoder.corr2": "update_block.motion_encoder.convcorr2.0",
    "update.encoder.flow1": "update_block.motion_encoder.convflow1.0",
    "update.encoder.flow2": "update_block.motion_encoder.convflow2.0",
    "update.encoder.joint": "update_block.motion_encoder.conv.0",
    "update.horizontal.z": "update_block.recurrent_block.convgru1.convz",
    "update.horizontal.r": "update_block.recurrent_block.convgru1.convr",
    "update.horizontal.q": "update_block.recurrent_block.convgru1.convq",
    "update.vertical.z": "update_block.recurrent_block.convgru2.convz",
    "update.vertical.r": "update_block.recurrent_block.convgru2.convr",
    "update.vertical.q": "update_block.recurrent_block.convgru2.convq",
    "update.head.0": "update_block.flow_head.conv1",
    "update.head.2": "update_block.flow_head.conv2",
    "upsample.mask.0": "mask_predictor.convrelu.0",
    "upsample.mask.2": "mask_predictor.conv",
}
SHORTCUT = {"shortcut": "downsample.0", "norm3": "downsample.1"}
"""Shortcut of the blocks of stride 2, with the same names in princeton and torchvision."""


class Layout(NamedTuple):
    """Names of a released file.

    Attributes:
        names: names of each part with tensors, ours -> theirs.
        twins: second names of parts that are in a file twice, theirs -> theirs.
        skipped: tensors that are skipped, theirs -> reason.
        remark: difference between the released network and ours, or empty.
    """

    names: dict[str, str]
    twins: dict[str, str]
    skipped: dict[str, str]
    remark: str = ""


def arflow_layout(network: nn.Module) -> Layout:
    """Names of PWC-Lite, with the estimator of the network, reduced or dense."""
    if not isinstance(network, PWCLite):
        raise ValueError(
            f"the network is a {type(network).__name__}; weights of ARFlow and Cost Unrolling need a PWCLite."
        )
    if network.normalise_features:
        raise ValueError("the network has normalise_features; the released PWCLite was trained without it.")
    head = "conv_last" if isinstance(network.estimator, DenseEstimator) else "predict_flow"
    names = {
        **{f"pyramid.levels.{i}.{k}.0": f"feature_pyramid_extractor.convs.{i}.{k}.0" for i in range(6) for k in (0, 1)},
        **{f"estimator.layers.{i}.0": f"flow_estimators.conv{i + 1}.0" for i in range(5)},
        "estimator.head": f"flow_estimators.{head}.0",
        **{f"context.{i}.0": f"context_networks.convs.{i}.0" for i in range(6)},
        "context.6": "context_networks.convs.6.0",
        **{f"projections.{i}.0": f"conv_1x1.{i}.0" for i in range(5)},
    }
    return Layout(names, {}, {})


def cost_unrolling_layout(network: nn.Module) -> Layout:
    """Names of Cost Unrolling: those of ARFlow, and the constants of the unrolled cost, which are skipped."""
    return arflow_layout(network)._replace(skipped=ADMM_CONSTANTS, remark=UNALIGNED)


def princeton_layout(network: nn.Module) -> Layout:
    """Names of RAFT; the norm of a shortcut has two names, as an attribute of its block and in `downsample`."""
    encoders = {"features": "fnet", "context": "cnet"}
    names = encoder_names(encoders, PRINCETON_ENCODER, PRINCETON_BLOCK) | PRINCETON_UPDATE
    twins = {
        f"{theirs}.layer{i}.0.norm3": f"{theirs}.layer{i}.0.downsample.1"
        for theirs in encoders.values()
        for i in (2, 3)
    }
    return raft_layout(network, Layout(names, twins, {}))


def torchvision_layout(network: nn.Module) -> Layout:
    """Names of torchvision's raft_large."""
    encoders = {"features": "feature_encoder", "context": "context_encoder"}
    names = encoder_names(encoders, TORCHVISION_ENCODER, TORCHVISION_BLOCK) | TORCHVISION_UPDATE
    return raft_layout(network, Layout(names, {}, {}))


def raft_layout(network: nn.Module, layout: Layout) -> Layout:
    """Return the layout, or raise ValueError unless the network is a RAFT with convex up-sampling."""
    if not isinstance(network, RAFT) or network.upsample is None:
        kind = f"{type(network).__name__}{' with bilinear up-sampling' if isinstance(network, RAFT) else ''}"
        raise ValueError(f"the network is a {kind}; these weights need a RAFT with upsampling='convex'.")
    return layout


def encoder_names(encoders: dict[str, str], ends: dict[str, str], block: dict[str, str]) -> dict[str, str]:
    """Names of RAFT's encoders, whose layers 1 to 3 of two blocks each are our six stages."""
    names: dict[str, str] = {}
    for ours, theirs in encoders.items():
        names |= {f"{ours}.{part}": f"{theirs}.{name}" for part, name in ends.items()}
        for i in range(6):
            parts = block | SHORTCUT if i in (2, 4) else block
            layer = f"{theirs}.layer{i // 2 + 1}.{i % 2}"
            names |= {f"{ours}.stages.{i}.{part}": f"{layer}.{name}" for part, name in parts.items()}
    return names


LAYOUTS: dict[str, Callable[[nn.Module], Layout]] = {
    "arflow": arflow_layout,
    "cost_unrolling": cost_unrolling_layout,
    "princeton_raft": princeton_layout,
    "torchvision_raft": torchvision_layout,
}

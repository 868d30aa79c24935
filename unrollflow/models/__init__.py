"""Flow networks, which implement :class:`unrollflow.contracts.FlowNetwork`."""

from unrollflow.models.correlation import cost_volume, patch_correlation
from unrollflow.models.flownet import FlowNetC, FlowNetS
from unrollflow.models.flownet2 import FlowNet2
from unrollflow.models.flownet_sd import FlowNetFusion, FlowNetSD
from unrollflow.models.likenet import LikeNet
from unrollflow.models.pwclite import PWCLite
from unrollflow.models.pyramid_matcher import PyramidMatcher
from unrollflow.models.raft.network import RAFT
from unrollflow.models.released.weights import ImportReport, import_weights
from unrollflow.models.spynet import SPyNet

__all__ = [
    "RAFT",
    "FlowNet2",
    "FlowNetC",
    "FlowNetFusion",
    "FlowNetS",
    "FlowNetSD",
    "ImportReport",
    "LikeNet",
    "PWCLite",
    "PyramidMatcher",
    "SPyNet",
    "cost_volume",
    "import_weights",
    "patch_correlation",
]

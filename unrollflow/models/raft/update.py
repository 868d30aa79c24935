"""Update operator of RAFT, which computes the next hidden state and a change of the flow."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unrollflow.models.heads import FlowHead
from unrollflow.ops.matching import convex_upsample


class MotionEncoder(nn.Module):
    """Encoder of correlations and flow to motion features, whose last two channels are the flow."""

    def __init__(self, correlations: int, channels: tuple[int, int, int, int, int]) -> None:
        super().__init__()
        corr1, corr2, flow1, flow2, outputs = channels
        self.corr1, self.corr2 = nn.Conv2d(correlations, corr1, 1), nn.Conv2d(corr1, corr2, 3, padding=1)
        self.flow1, self.flow2 = nn.Conv2d(2, flow1, 7, padding=3), nn.Conv2d(flow1, flow2, 3, padding=1)
        self.joint = nn.Conv2d(corr2 + flow2, outputs - 2, 3, padding=1)

    def forward(self, correlation: Tensor, flow: Tensor) -> Tensor:
        """Features (B, outputs, h, w) of correlations (B, correlations, h, w) and flow (B, 2, h, w)."""
        c = F.relu(self.corr2(F.relu(self.corr1(correlation))))
        f = F.relu(self.flow2(F.relu(self.flow1(flow))))
        return torch.cat([F.relu(self.joint(torch.cat([c, f], dim=1))), flow], dim=1)


class ConvGRU(nn.Module):
    """Convolutional GRU with a one-dimensional kernel."""

    def __init__(self, hidden: int, inputs: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.z, self.r, self.q = (nn.Conv2d(hidden + inputs, hidden, kernel, padding=padding) for _ in range(3))

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        """Next hidden state (B, hidden, h, w) from the hidden state and the input (B, inputs, h, w)."""
        hx = torch.cat([h, x], dim=1)
        z, r = torch.sigmoid(self.z(hx)), torch.sigmoid(self.r(hx))
        q = torch.tanh(self.q(torch.cat([r * h, x], dim=1)))
        return (1 - z) * h + z * q


class Update(nn.Module):
    """Motion encoder, separable GRU (1x5, then 5x1) and flow head.

    Args:
        correlations: channels of the lookup.
        hidden: channels of the hidden state.
        context: channels of the context.
        motion: channels of the five layers of the motion encoder.
        head: channels inside the flow head.

    Source: Teed and Deng, RAFT, ECCV 2020, Eq. 3-6, and its released code (core/update.py).
    """

    def __init__(
        self, *, correlations: int, hidden: int, context: int, motion: tuple[int, int, int, int, int], head: int
    ) -> None:
        super().__init__()
        self.encoder = MotionEncoder(correlations, motion)
        self.horizontal = ConvGRU(hidden, context + motion[-1], (1, 5))
        self.vertical = ConvGRU(hidden, context + motion[-1], (5, 1))
        self.head = nn.Sequential(nn.Conv2d(hidden, head, 3, padding=1), nn.ReLU(), FlowHead(head))

    def forward(self, h: Tensor, context: Tensor, correlation: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Next hidden state, and change of the flow (B, 2, h, w)."""
        x = torch.cat([context, self.encoder(correlation, flow)], dim=1)
        h = self.vertical(self.horizontal(h, x), x)
        return h, self.head(h)


class ConvexUpsampler(nn.Module):
    """Up-sampling by a factor of 8, with learned convex combinations of 3x3 coarse neighbours.

    Source: Teed and Deng, RAFT, ECCV 2020, section 3.3.
    """

    FACTOR = 8
    MASK_SCALE = 0.25  # balances gradients, as in the released code

    def __init__(self, hidden: int, channels: int) -> None:
        super().__init__()
        outputs = 9 * self.FACTOR**2
        self.mask = nn.Sequential(nn.Conv2d(hidden, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, outputs, 1))

    def forward(self, h: Tensor, flow: Tensor) -> Tensor:
        """Flow (B, 2, 8h, 8w), pixels of its grid, from hidden state (B, hidden, h, w) and flow (B, 2, h, w)."""
        scores = (self.MASK_SCALE * self.mask(h)).to(flow.dtype)
        return convex_upsample(flow, scores, factor=self.FACTOR, padding="zeros")

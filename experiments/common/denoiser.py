"""A small network that is trained to denoise without clean targets, on the same energy as the direct descent."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from experiments.common.penalties import Penalty, scaled


class Denoiser(nn.Module):
    """Add a correction by dilated convolutions to the input; the initial correction is 0.

    Args:
        dimensions: 1 for signals (B, 1, N), 2 for images (B, 1, H, W).
        channels: number of channels of the hidden layers.
    """

    def __init__(self, *, dimensions: int, channels: int = 16) -> None:
        super().__init__()
        convolution: type[nn.Conv1d] | type[nn.Conv2d] = nn.Conv1d if dimensions == 1 else nn.Conv2d
        layers: list[nn.Module] = []
        for index, dilation in enumerate((1, 2, 4, 8)):
            layers += [
                convolution(1 if index == 0 else channels, channels, 3, padding=dilation, dilation=dilation,
                            padding_mode="replicate"),
                nn.LeakyReLU(0.1),
            ]  # fmt: skip
        last = convolution(channels, 1, 3, padding=1, padding_mode="replicate")
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, noisy: Tensor) -> Tensor:
        """Return the denoised input, with the same shape."""
        corrected: Tensor = noisy + self.layers(noisy)
        return corrected


def unsupervised_energy(x: Tensor, noisy: Tensor, penalty: Penalty, *, weight: float, scale: float) -> Tensor:
    """Return the mean over samples of 1/2 (x - noisy)^2 + weight * sum over directions of the penalty, a scalar."""
    differences = [x.diff(dim=-1)] if x.ndim == 3 else [x.diff(dim=-1), x.diff(dim=-2)]
    smoothness = torch.stack([scaled(penalty, d, scale).sum() for d in differences]).sum()
    return ((x - noisy).square().sum() / 2 + weight * smoothness) / x.numel()


def train_denoiser(
    draw: Callable[[int], Tensor], penalty: Penalty, *, weight: float, scale: float, rate: float, steps: int, seed: int
) -> Denoiser:
    """Train on noisy data only, with Adam and a cosine schedule.

    Args:
        draw: function of the step that returns a batch of noisy data, (B, 1, N) or (B, 1, H, W).
        penalty: elementwise penalty.
        weight, scale: weight and scale of the penalty.
        rate: initial learning rate.
        steps: number of training steps.
        seed: seed of the weights.
    """
    torch.manual_seed(seed)
    network = Denoiser(dimensions=draw(0).ndim - 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for step in range(steps):
        batch = draw(step)
        cost = unsupervised_energy(network(batch), batch, penalty, weight=weight, scale=scale)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        scheduler.step()
    return network.eval()

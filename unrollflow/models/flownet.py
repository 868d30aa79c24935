"""FlowNetS and FlowNetC, the first end-to-end networks for optical flow, with configurable sizes."""

import torch
from torch import Tensor, nn

from unrollflow.contracts import FlowEstimate
from unrollflow.models.correlation import patch_correlation, unit_features
from unrollflow.models.heads import precise
from unrollflow.models.pairs import both_orders, centred, check_pair, halves
from unrollflow.models.pwclite import LEAK, conv
from unrollflow.models.refinement import Refinement, quarter_estimates

ENCODER = [64, 128, 256, 512, 512, 1024]
REFINEMENT = [512, 256, 128, 64]
FLOW_SCALE = 20.0
SIAMESE_LEVELS = 3
"""Number of levels of FlowNetC before the correlation, which is at 1/8 of the image."""

_KERNELS = (7, 5, 5)


def encoder_level(number: int, inputs: int, outputs: int) -> nn.Sequential:
    """Convolution of stride 2 (7x7, 5x5, 5x5, 3x3 from level 4), followed from level 3 by a 3x3 convolution."""
    kernel = _KERNELS[number - 1] if number <= len(_KERNELS) else 3
    strided = conv(inputs, outputs, kernel=kernel, stride=2)
    return nn.Sequential(strided, conv(outputs, outputs)) if number >= len(_KERNELS) else strided


def check_sizes(encoder: list[int], refinement: list[int], *, fewest: int, network: str) -> None:
    """Raise ValueError unless the refinement ends at 1/4 of the image."""
    if len(encoder) < fewest or len(refinement) != len(encoder) - 2:
        raise ValueError(
            f"{len(encoder)} encoder and {len(refinement)} refinement channels; {network} needs at least {fewest} "
            "encoder channels, and two fewer refinement channels, because it ends at 1/4 of the image."
        )


class FlowNetS(nn.Module):
    """Flow of two stacked images: an encoder to 1/64 of the image, and a refinement to 1/4.

    The defaults are the network of NVIDIA's port, with 38,676,506 parameters:

    - encoder, ten convolutions: 24,050,752;
    - enlargement of features, four transposed convolutions: 14,564,288;
    - enlargement of flow, four more: 256;
    - flow heads, five convolutions: 61,210.

    The release of 2015 has 38,676,514 parameters: it also has biases in the enlargements of flow. There, the biases of
    all transposed convolutions start at 0 and are not trained. SPyNet's paper counts 32,070,472, which is 8 modulo 64.
    In encoder and enlargement of features, each layer has a multiple of 64 parameters, and so have the weights that
    enlarge flow; five heads with any odd kernel have 16 modulo 64, and the biases of heads and flow add at most 18.
    Therefore, no FlowNetS with five heads has this count.

    Args:
        extra_channels: channels beside the two images, 6 in the stack of FlowNet 2.0; 0 for a stand-alone backbone.
        encoder_channels: channels at 1/2, 1/4, ... of the image; at least three.
        refinement_channels: channels of the enlarged features, coarse to fine; two fewer.
        flow_scale: flow of an output of 1, pixels of the image.
        head_scale: factor on the initial weights of the flow heads; small values start near zero flow.

    Raises:
        ValueError: if sizes are invalid, or images are not a multiple of `stride`.

    Source: Dosovitskiy et al., FlowNet, ICCV 2015, Fig. 2 and 3. The encoder in the figure ends with conv6; the
        released one (joeyhng/caffe, models/flownet/model_simple) and ours have another 3x3 convolution after it. We
        subtract the mean of the pair, as in NVIDIA/flownet2-pytorch; the release subtracts the mean of its data.
    """

    def __init__(
        self,
        *,
        extra_channels: int = 0,
        encoder_channels: list[int] | None = None,
        refinement_channels: list[int] | None = None,
        flow_scale: float = FLOW_SCALE,
        head_scale: float = 1.0,
    ) -> None:
        super().__init__()
        encoder, refinement = encoder_channels or ENCODER, refinement_channels or REFINEMENT
        check_sizes(encoder, refinement, fewest=3, network="FlowNetS")
        self.extra_channels, self.flow_scale = extra_channels, flow_scale
        self.stride = self.minimum_size = 2 ** len(encoder)
        seen = [6 + extra_channels, *encoder]
        self.encoder = nn.ModuleList(encoder_level(n, *seen[n - 1 : n + 1]) for n in range(1, len(seen)))
        self.refinement = Refinement(
            encoder[-1], encoder[-2:0:-1], refinement, smooth=False, flow_bias=False, head_scale=head_scale
        )

    def forward(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """Flow from image1 to image2, (B, 3, H, W) each, at 1/2^n .. 1/4 of their size, coarsest first."""
        if self.extra_channels:
            raise ValueError(
                f"this FlowNetS is a part of FlowNet2, with {self.extra_channels} extra channels; a backbone needs "
                "extra_channels=0."
            )
        check_pair(self, image1, image2)
        return self.estimates(torch.cat(centred(image1, image2), dim=1))

    def bidirectional(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Forward and backward flow in one batch; all features depend on both images."""
        check_pair(self, image1, image2)
        return halves(self(*both_orders(image1, image2)))

    def estimates(self, x: Tensor) -> list[FlowEstimate]:
        """Estimates from all channels (B, 6 + extra, H, W)."""
        first, *others = self.encoder
        # in a stack, the input contains a flow, which half precision would round
        features = [x, precise(first, x) if self.extra_channels else first(x)]
        for level in others:
            features.append(level(features[-1]))
        return quarter_estimates(self.refinement(features[:1:-1]), scale=self.flow_scale)


class FlowNetC(nn.Module):
    """FlowNetS with three levels of features of each image, followed by their correlation.

    The defaults are the released network, with 39,175,298 parameters: 498,784 more than the FlowNetS of that release.
    The first layer, for one image, has 9,408 fewer, the convolution after the correlation has 499,968 more, and the
    convolution that redirects features of image1 past the correlation (`redirect_channels`) has 8,224. (SPyNet's paper
    counts 32,561,032, which is 490,560 more than for FlowNetS: the same without the 8,224.)

    Args:
        encoder_channels: channels at 1/2, 1/4, ... of the image; at least four, of which the first three are for each
            image separately.
        redirect_channels: channels of the features of image1 that bypass the correlation.
        search_range: largest displacement of the correlation, in steps.
        search_step: size of a step, pixels at 1/8 of the image.
        patch_size: side of the compared patches, pixels at 1/8 of the image, odd.
        normalise_features: make each correlation a cosine (not in the released network), see
            :func:`~unrollflow.models.correlation.unit_features`.
        refinement_channels: channels of the enlarged features, coarse to fine; two fewer than in the encoder.
        flow_scale: flow of an output of 1, pixels of the image.
        head_scale: factor on the initial weights of the flow heads; small values start near zero flow.

    Raises:
        ValueError: if sizes are invalid, or images are not a multiple of `stride`.

    Source: Dosovitskiy et al., FlowNet, ICCV 2015, Eq. 1, Fig. 2 and 3: k = 0 (`patch_size` 1), d = 20, s2 = 2; its
        release (joeyhng/caffe, models/flownet/model_corr). Subtraction of the pair's mean: NVIDIA/flownet2-pytorch.
    """

    def __init__(
        self,
        *,
        encoder_channels: list[int] | None = None,
        redirect_channels: int = 32,
        search_range: int = 10,
        search_step: int = 2,
        patch_size: int = 1,
        normalise_features: bool = False,
        refinement_channels: list[int] | None = None,
        flow_scale: float = FLOW_SCALE,
        head_scale: float = 1.0,
    ) -> None:
        super().__init__()
        encoder, refinement = encoder_channels or ENCODER, refinement_channels or REFINEMENT
        check_sizes(encoder, refinement, fewest=SIAMESE_LEVELS + 1, network="FlowNetC")
        self.search_range, self.search_step, self.patch_size = search_range, search_step, patch_size
        self.normalise_features, self.flow_scale = normalise_features, flow_scale
        self.stride = self.minimum_size = 2 ** len(encoder)
        c1, c2, c3 = encoder[:SIAMESE_LEVELS]
        # the 3x3 convolution of the third level comes after the correlation
        self.siamese = nn.ModuleList(
            [conv(3, c1, kernel=7, stride=2), conv(c1, c2, kernel=5, stride=2), conv(c2, c3, kernel=5, stride=2)]
        )
        self.redirect = conv(c3, redirect_channels, kernel=1)
        self.merge = conv(redirect_channels + (2 * search_range + 1) ** 2, c3)
        self.activation = nn.LeakyReLU(LEAK)
        self.encoder = nn.ModuleList(
            encoder_level(n, *encoder[n - 2 : n]) for n in range(SIAMESE_LEVELS + 1, len(encoder) + 1)
        )
        self.refinement = Refinement(
            encoder[-1], encoder[-2:0:-1], refinement, smooth=False, flow_bias=True, head_scale=head_scale
        )

    def forward(self, image1: Tensor, image2: Tensor) -> list[FlowEstimate]:
        """Flow from image1 to image2, (B, 3, H, W) each, at 1/2^n .. 1/4 of their size, coarsest first."""
        fine, coarse = (features.chunk(2) for features in self._features(image1, image2))
        return self._decode(fine[0], *coarse)

    def bidirectional(self, image1: Tensor, image2: Tensor) -> tuple[list[FlowEstimate], list[FlowEstimate]]:
        """Forward and backward flow in one batch; the features of each image are computed once."""
        fine, coarse = self._features(image1, image2)
        return halves(self._decode(fine, coarse, coarse.roll(len(image1), dims=0)))

    def _features(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, Tensor]:
        """Features of both images along the batch, at 1/4 and at 1/8."""
        check_pair(self, image1, image2)
        half, quarter, eighth = self.siamese
        fine = quarter(half(torch.cat(centred(image1, image2))))
        return fine, eighth(fine)

    def _decode(self, fine1: Tensor, f1: Tensor, f2: Tensor) -> list[FlowEstimate]:
        one, other = (unit_features(f1), unit_features(f2)) if self.normalise_features else (f1, f2)
        correlation = patch_correlation(
            one, other, search_range=self.search_range, step=self.search_step, patch_size=self.patch_size
        )
        redirected = self.redirect(f1)
        matched = self.activation(correlation).to(redirected.dtype)
        features = [fine1, self.merge(torch.cat([redirected, matched], dim=1))]
        for level in self.encoder:
            features.append(level(features[-1]))
        return quarter_estimates(self.refinement(features[::-1]), scale=self.flow_scale)

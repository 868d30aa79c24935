from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unrollflow.contracts import FlowNetwork
from unrollflow.models import RAFT
from unrollflow.models.raft.residual import FrozenBatchNorm
from unrollflow.models.raft.update import ConvexUpsampler

TINY: dict[str, Any] = {
    "encoder_channels": (8, 12, 16),
    "feature_channels": 16,
    "hidden_channels": 12,
    "context_channels": 8,
    "motion_channels": (16, 12, 8, 6, 12),
    "head_channels": 16,
    "correlation_levels": 2,
    "radius": 2,
    "iterations": 2,
    "evaluation_iterations": 3,
}
SIZE = (32, 48)


def images(count: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.rand(count, 3, *SIZE, generator=generator) for _ in range(2))
    return first, second


def tiny(**options: Any) -> RAFT:
    torch.manual_seed(0)
    return RAFT(**TINY, **options)


@pytest.mark.parametrize(("upsampling", "parameters"), [("bilinear", 4_814_336), ("convex", 5_257_536)])
def test_published_numbers_of_parameters(upsampling: Any, parameters: int) -> None:
    assert sum(p.numel() for p in RAFT(upsampling=upsampling).parameters()) == parameters


@pytest.mark.parametrize("upsampling", ["bilinear", "convex"])
@pytest.mark.parametrize("context_norm", ["batch", "instance"])
def test_iterates_run_from_the_first_to_the_last(upsampling: Any, context_norm: Any) -> None:
    model = tiny(upsampling=upsampling, context_norm=context_norm)
    assert isinstance(model, FlowNetwork)
    for mode, count in ((True, 2), (False, 3)):
        estimates = model.train(mode)(*images())
        assert [e.raw.shape for e in estimates] == [(2, 2, 4, 6)] * count
        assert [e.flow.shape for e in estimates] == [(2, 2, *SIZE)] * count


def test_both_directions_are_two_single_ones() -> None:
    model, (image1, image2) = tiny(upsampling="convex").eval(), images()
    forward, backward = model.bidirectional(image1, image2)
    for ours, theirs in ((forward, model(image1, image2)), (backward, model(image2, image1))):
        torch.testing.assert_close(ours[-1].flow, theirs[-1].flow)


def test_context_runs_once_a_direction_in_training() -> None:
    model = tiny().train()
    model.bidirectional(*images())
    assert model.context.norm.num_batches_tracked == 2  # type: ignore[union-attr]


def test_both_lookups_give_the_same_flow_and_gradients() -> None:
    results = []
    for correlation in ("all_pairs", "on_demand"):
        model = tiny(correlation=correlation).double()
        flow = model(*(image.double() for image in images()))[-1].flow
        gradients = torch.autograd.grad(flow.square().mean(), list(model.parameters()))
        results.append([flow, *gradients])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradient_of_every_iterate_reaches_the_features_and_none_the_earlier_positions() -> None:
    model = tiny()
    estimates = model(*images())
    estimates[-1].flow.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert estimates[0].raw.grad_fn is not None


@pytest.mark.parametrize("correlation", ["all_pairs", "on_demand"])
def test_non_finite_flow_does_not_crash_the_process(correlation: Any) -> None:
    """The backward pass of torch's grid_sample crashes the process for a NaN position."""
    model = tiny(correlation=correlation)
    with torch.no_grad():
        model.update.head[2].bias.fill_(float("nan"))
    model(*images())[-1].flow.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_half_precision_is_lifted_where_positions_are(dtype: torch.dtype) -> None:
    model = tiny().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        estimate = model(*images())[-1]
    assert estimate.raw.dtype == estimate.flow.dtype == torch.float32


def test_convex_upsampling_of_a_constant_is_eight_times_it_inside() -> None:
    upsample = ConvexUpsampler(hidden=4, channels=6)
    flow = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 4, 5)
    fine = upsample(torch.randn(1, 4, 4, 5), flow)
    assert tuple(fine.shape) == (1, 2, 32, 40)
    inside = fine[..., 8:-8, 8:-8]
    torch.testing.assert_close(inside, torch.tensor([8.0, -16.0]).view(1, 2, 1, 1).expand_as(inside))


def test_too_small_images_are_refused_with_the_reason() -> None:
    small = torch.rand(1, 3, 120, 256)
    with pytest.raises(ValueError, match=r"120x256, but RAFT needs at least 128 pixels per side.*fewer levels"):
        RAFT()(small, small)
    assert RAFT.stride == 8
    assert RAFT().minimum_size == 128


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"upsampling": "nearest"}, "upsampling='nearest'"),
        ({"context_norm": "layer"}, "context_norm='layer'"),
        ({"correlation": "sparse"}, "correlation='sparse'"),
        ({"iterations": 0}, "iterations=0"),
        ({"correlation_levels": 0}, "correlation_levels=0"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RAFT(**options)


def test_sizes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        tiny()(torch.rand(1, 3, 36, 48), torch.rand(1, 3, 36, 48))
    with pytest.raises(ValueError, match="of equal shape"):
        tiny()(torch.rand(1, 3, 32, 48), torch.rand(1, 3, 32, 40))


def test_frozen_norm_keeps_its_statistics_and_trains_its_weight() -> None:
    model, (image1, image2) = tiny(context_norm="frozen").train(), images()
    norm = model.context.norm
    assert isinstance(nn.SyncBatchNorm.convert_sync_batchnorm(model).context.norm, FrozenBatchNorm), "not thawed"
    forward, _ = model.bidirectional(image1, image2)
    forward[-1].flow.sum().backward()  # type: ignore[no-untyped-call]
    assert not norm.running_mean.any(), "as at the start"
    assert norm.weight.grad is not None
    alone = model.bidirectional(image1[:1], image2[:1])[0][-1].flow
    torch.testing.assert_close(forward[-1].flow[:1], alone, atol=1e-4, rtol=1e-4)

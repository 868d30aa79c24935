import pytest
import torch

from unrollflow.contracts import FlowSample
from unrollflow.data import Compose, RandomHorizontalFlip, RandomTemporalSwap, Superpixels


def sample() -> FlowSample:
    """A second frame of two colours, the border at column 30."""
    image = torch.zeros(3, 40, 60)
    image[0, :, 30:] = 1
    return FlowSample(image1=torch.rand(3, 40, 60), image2=image, name="halves")


def test_superpixels_keep_to_colours_and_are_as_many_as_asked() -> None:
    generator = torch.Generator()
    segments = Superpixels(count=24)(sample(), generator)["segments"]
    assert segments.shape == (40, 60)
    assert segments.dtype == torch.int64
    assert 0 == segments.min() < segments.max() < 24
    left, right = set(segments[:, :30].unique().tolist()), set(segments[:, 30:].unique().tolist())
    assert not left & right


def test_they_follow_a_flip_and_a_swap_before_them() -> None:
    generator = torch.Generator()
    one = Superpixels(count=24)
    flipped = Compose(transforms=[one, RandomHorizontalFlip(probability=1.0)])(sample(), generator)
    assert torch.equal(flipped["segments"], one(sample(), generator)["segments"].flip(-1))
    swapped = Compose(transforms=[RandomTemporalSwap(probability=1.0), one])(sample(), generator)
    assert torch.equal(swapped["segments"], one(swapped, generator)["segments"])


def test_a_count_below_one_is_named() -> None:
    with pytest.raises(ValueError, match="count is 0"):
        Superpixels(count=0)

import pytest
import torch
from skimage.data import stereo_motorcycle

from unrollflow.data import StereoMotorcycle
from unrollflow.ops import warp


@pytest.mark.parametrize("reduction", [4, 8])
def test_flow_is_minus_the_disparity_in_pixels_of_the_small_grid(reduction: int) -> None:
    sample = StereoMotorcycle(reduction=reduction)[0]
    disparity = torch.from_numpy(stereo_motorcycle()[2])
    height, width = (side // reduction for side in disparity.shape)
    assert sample["image1"].shape == (3, height, width)
    assert sample["name"] == "motorcycle"
    u, v = sample["flow"]
    assert not v.any()
    assert not u[~sample["valid"]].any()
    known = disparity[disparity.isfinite()]
    assert -known.max() / reduction <= u.min() < u[sample["valid"]].max() <= -known.min() / reduction
    block = (
        disparity[: reduction * height, : reduction * width]
        .unfold(0, reduction, reduction)
        .unfold(1, reduction, reduction)
    )
    whole = block.isfinite().flatten(2).all(dim=-1)
    assert torch.allclose(u[whole], -block.flatten(2).mean(dim=-1)[whole] / reduction, atol=1e-4)
    share = block.isfinite().flatten(2).float().mean(dim=-1)
    assert torch.equal(sample["valid"], share >= 0.5)


def test_the_default_motion_is_small_and_explains_the_second_view() -> None:
    sample = StereoMotorcycle()[0]
    assert 2 < sample["flow"].abs().max() < 10
    assert sample["valid"].float().mean() > 0.8
    image1, image2 = sample["image1"][None], sample["image2"][None]
    error, still = (
        (image - image1).abs().mean(dim=1)[0][sample["valid"]] for image in (warp(image2, sample["flow"][None]), image2)
    )
    assert error.median() < 0.2 * still.median()


def test_there_is_one_sample_and_reductions_are_whole() -> None:
    assert len(StereoMotorcycle()) == 1
    with pytest.raises(IndexError):
        StereoMotorcycle()[1]
    with pytest.raises(ValueError, match="reduction is out of range: 0"):
        StereoMotorcycle(reduction=0)

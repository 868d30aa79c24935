import torch

from unrollflow.ops import crop_centre, resize_flow, resize_image, warp


def test_enlarged_flow_points_to_the_enlarged_place() -> None:
    flow = torch.zeros(1, 2, 5, 9)
    flow[:, 0], flow[:, 1] = 1.0, -0.5
    larger = resize_flow(flow, (9, 17))  # corner-aligned: twice the spacing
    torch.testing.assert_close(larger[0, :, 4, 8], torch.tensor([17 / 9, -0.5 * 9 / 5]))


def test_resizing_a_flow_and_back_keeps_a_linear_field() -> None:
    ramp = torch.linspace(0, 1, 6).expand(1, 2, 6, 6)
    torch.testing.assert_close(resize_flow(resize_flow(ramp, (11, 11)), (6, 6)), ramp)


def test_image_shrinks_by_the_mean_of_blocks() -> None:
    image = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(resize_image(image, (2, 3))[..., 1, 2], image[..., 4:8, 8:12].mean(dim=(-2, -1)))
    assert resize_image(image, (8, 12)) is image


def test_centre_is_cut_and_not_resampled() -> None:
    image = torch.rand(1, 1, 7, 9)
    assert crop_centre(image, (3, 5)).equal(image[..., 2:5, 2:7])
    assert warp(image, torch.zeros(1, 2, 7, 9)).shape == image.shape

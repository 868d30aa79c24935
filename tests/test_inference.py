import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.pairs import moved
from unrollflow import flow, flow_and_confidence, flow_confidence, pretrained
from unrollflow.training import UnsupervisedFlow

MOTION = (2.0, -1.0)


@pytest.fixture(scope="module")
def network() -> UnsupervisedFlow:
    return pretrained()


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (1, 3, 49, 65) of a texture that moves, of 256 levels."""
    first, second = moved(*MOTION, size=(49, 65))
    return (first * 255).round() / 255, (second * 255).round() / 255


def bytes_of(image: torch.Tensor) -> np.ndarray:
    return (image[0] * 255).byte().movedim(0, -1).numpy()


def test_the_motion_is_found(network: UnsupervisedFlow, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    found = flow(*pair, network=network)
    assert found.shape == (1, 2, 49, 65)
    assert (found[..., 8:-8, 8:-8] - torch.tensor(MOTION).view(2, 1, 1)).norm(dim=1).mean() < 0.2


def test_every_kind_of_image_has_the_same_flow(
    network: UnsupervisedFlow, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    expected = flow(*pair, network=network)[0].movedim(0, -1).numpy()
    arrays = [bytes_of(image) for image in pair]
    kinds = [
        arrays,
        [Image.fromarray(array) for array in arrays],
        [array.astype(np.float32) / 255 for array in arrays],
        [array.astype(np.float64) / 255 for array in arrays],
    ]
    for images in kinds:
        found = flow(*images, network=network)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(flow(*(a[None] for a in arrays), network=network)[0], expected, atol=1e-3)
    single = flow(*(image[0] for image in pair), network=network)
    np.testing.assert_allclose(single.movedim(0, -1).numpy(), expected, atol=1e-3)


def test_a_grey_picture_is_one_of_three_equal_channels(network: UnsupervisedFlow) -> None:
    picture = Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64))
    np.testing.assert_array_equal(
        flow(picture, picture, network=network), flow(picture.convert("RGB"), picture.convert("RGB"), network=network)
    )


def test_without_a_network_the_shipped_weights_are_used(
    network: UnsupervisedFlow, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    torch.testing.assert_close(flow(*pair), flow(*pair, network=network))


def test_confidence_is_that_of_the_flow_there_and_back(
    network: UnsupervisedFlow, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    found = flow_and_confidence(*pair, network=network)
    torch.testing.assert_close(found.flow, flow(*pair, network=network), atol=1e-4, rtol=0)
    assert found.confidence.shape == (1, 1, 49, 65)
    back = flow(*reversed(pair), network=network)
    torch.testing.assert_close(found.confidence, flow_confidence(found.flow, back), atol=1e-3, rtol=0)
    assert found.confidence[..., 8:-8, 8:-8].mean() > 0.9
    single = flow_and_confidence(*(image[0] for image in pair), network=network)
    torch.testing.assert_close(single.confidence, found.confidence[0])


def test_confidence_of_pictures_is_an_array_without_channels(
    network: UnsupervisedFlow, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    arrays = [bytes_of(image) for image in pair]
    expected = flow_and_confidence(*pair, network=network).confidence[0, 0].numpy()
    for images in (arrays, [Image.fromarray(array) for array in arrays]):
        found = flow_and_confidence(*images, network=network)
        assert found.flow.shape == (49, 65, 2)
        assert found.confidence.dtype == np.float32
        np.testing.assert_allclose(found.confidence, expected, atol=1e-3)
    batched = flow_and_confidence(*(array[None] for array in arrays), network=network)
    np.testing.assert_allclose(batched.confidence, expected[None], atol=1e-3)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((64, 64), np.uint8), r"\(64, 64\); expected RGB \(H, W, 3\)"),
        (np.zeros((64, 64, 4), np.uint8), r"\(64, 64, 4\); expected RGB"),
        (np.zeros((64, 64, 3), np.int64), "array of int64; expected uint8"),
        (np.full((64, 64, 3), 200.0), "values from 200 to 200"),
        (np.full((64, 64, 3), np.nan), "not finite"),
        (np.zeros((8, 8, 3), np.uint8), "needs at least 32 pixels"),
        (torch.zeros(64, 64), "expected RGB"),
        (torch.zeros(3, 64, 64, dtype=torch.uint8), "floating-point"),
        (torch.full((3, 64, 64), torch.inf), "not finite"),
    ],
)
def test_what_is_refused(network: UnsupervisedFlow, image: np.ndarray | torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flow(image, image, network=network)
    with pytest.raises(ValueError, match=message):
        flow_and_confidence(image, image, network=network)


def test_images_of_two_sizes_are_refused(network: UnsupervisedFlow) -> None:
    with pytest.raises(ValueError, match="of equal shape"):
        flow(torch.zeros(3, 64, 64), torch.zeros(3, 64, 72), network=network)

import numpy as np
import pytest
import torch

from tests.helpers.clips import moving
from unrollflow.data.video.scene_cuts import correlation, is_motionless, kept_pairs, scene_cuts, thumbnail


def thumbnails(*frames: torch.Tensor) -> np.ndarray:
    return np.stack([thumbnail(frame) for frame in frames])


def test_a_cut_lies_where_another_scene_begins() -> None:
    clip = thumbnails(*moving(6, seed=0), *moving(5, seed=1))
    assert np.flatnonzero(scene_cuts(clip)).tolist() == [5]
    kept = kept_pairs(clip, stride=1)
    assert (kept.breaks, kept.cuts, kept.motionless) == (0, 1, 0)
    assert kept.firsts == [0, 1, 2, 3, 4, 6, 7, 8, 9]


def test_every_pair_across_a_cut_is_skipped() -> None:
    kept = kept_pairs(thumbnails(*moving(6, seed=0), *moving(5, seed=1)), stride=3)
    assert kept.firsts == [0, 1, 2, 6, 7]
    assert kept.cuts == 3


@pytest.mark.parametrize("speed", [1, 4, 10])
def test_fast_motion_is_not_a_cut(speed: int) -> None:
    assert not scene_cuts(thumbnails(*moving(12, speed=speed))).any()


@pytest.mark.parametrize("held", [1, 2, 3, 4])
def test_cuts_are_distinguished_from_motion_between_repeated_frames(held: int) -> None:
    """Grey levels 0, 0.1, 0.2, 0.3, 0.9, 1, each for some frames: 0.1 is more than 0.06, 0.6 more than 3 times 0.1."""
    levels = np.repeat(np.array([0, 0.1, 0.2, 0.3, 0.9, 1.0], np.float32), held)
    kept = kept_pairs(np.zeros((1, 36, 64), np.float32) + levels[:, None, None], stride=1)
    assert kept.firsts == [held - 1, 2 * held - 1, 3 * held - 1, 5 * held - 1]
    assert (kept.cuts, kept.motionless) == (1, 6 * (held - 1))


def test_slides_of_other_scenes_are_cuts() -> None:
    slides = [moving(1, seed=seed)[0] for seed in range(3) for _ in range(6)]
    assert np.flatnonzero(scene_cuts(thumbnails(*slides))).tolist() == [5, 11]


def test_duplicates_and_noise_are_motionless_and_a_small_moving_thing_is_not() -> None:
    still = moving(1)[0]
    noisy = (still + 0.004 * torch.randn(still.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    changed = still.clone()
    changed[:, 20:30, 30:45] = 1 - changed[:, 20:30, 30:45]
    kept = kept_pairs(thumbnails(still, still, noisy, changed), stride=1)
    assert kept.firsts == [2]
    assert kept.motionless == 2


def test_a_return_after_a_stride_is_motionless() -> None:
    a, b = moving(2)
    assert kept_pairs(thumbnails(a, b, a), stride=2).motionless == 1
    assert is_motionless(thumbnail(a), thumbnail(a))


def test_two_frames_of_two_scenes_are_a_cut_and_of_one_are_not() -> None:
    assert scene_cuts(thumbnails(moving(1, seed=0)[0], moving(1, seed=1)[0])).tolist() == [True]
    assert scene_cuts(thumbnails(*moving(2))).tolist() == [False]


def test_a_slow_fade_is_not_a_cut() -> None:
    frame = moving(1)[0]
    assert not scene_cuts(thumbnails(*(frame * (1 - 0.05 * i) for i in range(10)))).any()


def test_plain_pictures_have_no_correlation_and_count_as_alike() -> None:
    plain = np.zeros((9, 16), np.float32)
    assert correlation(plain, plain) == 1
    assert correlation(plain, np.random.default_rng(0).random((9, 16), np.float32)) == 1


def test_a_clip_shorter_than_the_stride_has_no_pair() -> None:
    assert kept_pairs(thumbnails(*moving(3)), stride=3).firsts == []

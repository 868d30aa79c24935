from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from unrollflow.contracts import FlowSample
from unrollflow.data import MovingLayers, write_image
from unrollflow.data.moving_layers.dataset import boundary_distance
from unrollflow.data.moving_layers.textures import SPLITS, Split, texture_files
from unrollflow.ops import warp

SMALL: dict[str, Any] = {
    "size": (64, 64),
    "background_translation": 3.0,
    "foreground_translation": 6.0,
    "foreground_rotation": 4.0,
}
"""Settings for training in minutes: motions of up to about 6 px."""


def same(a: FlowSample, b: FlowSample) -> bool:
    return a.keys() == b.keys() and all(v == b[k] if k == "name" else torch.equal(v, b[k]) for k, v in a.items())


def stacked(samples: list[FlowSample], name: str) -> Tensor:
    return torch.stack([sample[name] for sample in samples])


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Use one thread: the tensors are small, and on a busy machine, waiting threads take ten times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Drawn(NamedTuple):
    samples: list[FlowSample]
    labels: list[Tensor]
    """Nearest layer of frame 1, (H, W), of each sample."""


@pytest.fixture(scope="module", params=[{}, SMALL], ids=["default", "64x64"])
def drawn(request: pytest.FixtureRequest) -> Drawn:
    data = MovingLayers(split="validation", **request.param)
    labels: list[Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "unrollflow.data.moving_layers.dataset.boundary_distance",
            lambda seen, flow: (labels.append(seen), boundary_distance(seen, flow))[1],
        )
        return Drawn([data[i] for i in range(80)], labels)


@pytest.fixture
def samples(drawn: Drawn) -> list[FlowSample]:
    return drawn.samples


def test_warping_the_second_frame_by_the_flow_gives_the_first(samples: list[FlowSample]) -> None:
    image1, image2 = stacked(samples, "image1"), stacked(samples, "image2")
    seen = ~stacked(samples, "occluded") & (stacked(samples, "boundary_distance") > 2)
    flow = stacked(samples, "flow")
    error = [(warp(image2, f) - image1).abs().mean(dim=1)[seen].mean().item() for f in (flow, torch.zeros_like(flow))]
    assert error[0] < 0.004
    assert error[1] > 10 * error[0]
    wrong = (warp(image2, flow + 0.25) - image1).abs().mean(dim=1)[seen].mean().item()
    assert wrong > 2 * error[0], "a quarter of a pixel must be seen"


def test_statistics_are_those_of_a_useful_training_set(samples: list[FlowSample]) -> None:
    height = stacked(samples, "image1").shape[-2]
    flow = stacked(samples, "flow")
    motion = flow.norm(dim=1)
    assert motion.mean() > (2 if height == 128 else 1.5)
    assert motion.max() < 40
    assert 0.03 < stacked(samples, "occluded").float().mean() < 0.15
    assert stacked(samples, "valid").all()
    corners = flow[:, :, 0, 0].norm(dim=1)  # mostly background
    assert (corners > 0.5).float().mean() > 0.6, "the background moves too"
    assert all(i.min() >= 0 and i.max() <= 1 and i.std() > 0.02 for i in stacked(samples, "image1"))


def test_shapes_cover_a_fifth_to_three_fifths_and_move_independently(drawn: Drawn) -> None:
    covered = torch.stack([(labels > 0).float().mean() for labels in drawn.labels])
    assert 0.2 < covered.mean() < 0.6
    assert ((covered > 0.2) & (covered < 0.6)).float().mean() > 0.8
    present = [sorted(set(labels.flatten().tolist())) for labels in drawn.labels]
    assert all(2 <= len(layers) <= 7 for layers in present)
    gaps = []
    for sample, labels, layers in zip(drawn.samples, drawn.labels, present, strict=True):
        means = [sample["flow"][:, labels == layer].mean(dim=1) for layer in layers]
        gaps += [(a - b).norm() for i, a in enumerate(means) for b in means[:i]]
    assert (torch.stack(gaps) > 0.3).float().mean() > 0.9


def test_a_sample_depends_on_seed_split_and_index_alone() -> None:
    data = MovingLayers(split="train", **SMALL)
    forwards = [data[i] for i in range(4)]
    again = MovingLayers(split="train", length=7, **SMALL)
    assert all(same(again[i], forwards[i]) for i in reversed(range(4)))
    assert not same(forwards[0], forwards[1])
    for other in (MovingLayers(split="train", seed=1, **SMALL), MovingLayers(split="validation", **SMALL)):
        assert not torch.equal(other[0]["flow"], forwards[0]["flow"])


def test_the_number_of_threads_does_not_change_a_bit() -> None:
    data = MovingLayers(split="test", size=(160, 240))  # large enough for torch to use several
    alone = [data[i] for i in range(4)]
    torch.set_num_threads(2)
    together = [data[i] for i in range(4)]
    torch.set_num_threads(1)
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


def test_workers_do_not_change_a_bit() -> None:
    data = MovingLayers(split="train", length=8, **SMALL)
    batches = [list(DataLoader(data, batch_size=4, num_workers=workers)) for workers in (0, 2)]
    for alone, shared in zip(*batches, strict=True):
        assert same(alone, shared)


def test_every_index_from_zero_on_is_a_sample_and_iteration_ends() -> None:
    data = MovingLayers(split="train", length=3, **SMALL)
    assert data.endless
    assert data[10**10]["name"] == "train-10000000000"
    assert [s["name"] for s in data] == ["train-000000", "train-000001", "train-000002"]
    with pytest.raises(IndexError, match="-1"):
        data[-1]


def test_a_scene_without_shapes_has_one_layer_and_no_boundary() -> None:
    sample = MovingLayers(split="train", layers=(0, 0), background_rotation=0, background_zoom=0, size=(32, 48))[0]
    assert torch.allclose(sample["flow"], sample["flow"][:, :1, :1].expand(2, 32, 48), atol=1e-4)
    assert sample["boundary_distance"].isinf().all()


def test_layers_at_rest_have_no_flow_no_occlusion_and_no_motion_boundary() -> None:
    still = dict.fromkeys(
        [f"{a}_{b}" for a in ("background", "foreground") for b in ("translation", "rotation", "zoom")], 0.0
    )
    sample = MovingLayers(split="train", size=(32, 48), **still)[0]
    assert sample["flow"].abs().max() == 0
    assert not sample["occluded"].any()
    assert sample["boundary_distance"].isinf().all()
    assert torch.allclose(sample["image1"], sample["image2"], atol=1e-6)


def test_boundary_distance_of_a_half_plane() -> None:
    labels = (torch.arange(6) >= 3).long().expand(4, 6)
    flow = torch.stack([labels.double(), torch.zeros(4, 6)])
    assert boundary_distance(labels, flow)[0].tolist() == [2, 1, 0, 0, 1, 2]
    assert boundary_distance(labels, 0 * flow).unique().tolist() == [torch.inf]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "val"}, "'val'.*train, validation, test"),
        ({"seed": -1}, "seed is -1"),
        ({"length": 0}, "length is 0"),
        ({"size": (8, 64)}, r"size is \(8, 64\).*16"),
        ({"layers": (3, 2)}, r"layers is \(3, 2\)"),
        ({"coverage": (0, 1)}, r"coverage is \(0, 1\)"),
        ({"foreground_zoom": -0.1}, "foreground_zoom is -0.1"),
        ({"background_translation": float("nan")}, "background_translation is nan"),
    ],
)
def test_bad_arguments_are_named_with_what_is_allowed(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MovingLayers(**{"split": "train", **wrong})


def photographs(folder: Path, count: int) -> Path:
    generator = torch.Generator().manual_seed(0)
    for i in range(count):
        write_image(folder / f"{i}.png", torch.rand(3, 40, 50, generator=generator))
    return folder


def test_own_photographs_are_used_even_if_smaller_than_the_frame(tmp_path: Path) -> None:
    ours = MovingLayers(split="train", textures=photographs(tmp_path, 1), **SMALL)[0]
    bundled = MovingLayers(split="train", **SMALL)[0]
    assert torch.equal(ours["flow"], bundled["flow"])
    assert not torch.equal(ours["image1"], bundled["image1"])


def test_splits_share_no_photograph_where_there_are_five(tmp_path: Path) -> None:
    def names(split: Split) -> set[Path]:
        return set(texture_files(photographs(tmp_path, 7), split))

    assert [len(names(split)) for split in SPLITS] == [5, 1, 1]
    assert len(set.union(*map(names, SPLITS))) == 7
    bundled = [set(texture_files(None, split)) for split in SPLITS]
    assert sum(map(len, bundled)) == len(set.union(*bundled))
    assert not any("motorcycle" in path.name for path in set.union(*bundled))


def test_linked_photographs_are_used_and_hidden_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(photographs(tmp_path / "elsewhere", 2))
    (tmp_path / "root" / "._0.png").write_bytes(b"what macOS notes of a file")
    assert texture_files(tmp_path / "root", "train") == [tmp_path / "root" / "link" / f"{i}.png" for i in range(2)]


def test_a_folder_without_images_and_a_damaged_image_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        MovingLayers(split="train", textures=tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=tmp_path.name):
        MovingLayers(split="train", textures=tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png"):
        MovingLayers(split="train", textures=tmp_path)[0]


def test_frames_are_plain_contiguous_tensors_of_the_promised_types() -> None:
    sample = MovingLayers(split="train", size=(48, 80))[0]
    shapes = {k: tuple(v.shape) for k, v in sample.items() if isinstance(v, Tensor)}
    types = {k: v.dtype for k, v in sample.items() if isinstance(v, Tensor)}
    plane = (48, 80)
    assert shapes == {
        "image1": (3, *plane),
        "image2": (3, *plane),
        "flow": (2, *plane),
        "valid": plane,
        "occluded": plane,
        "boundary_distance": plane,
    }
    assert {k for k, t in types.items() if t == torch.bool} == {"valid", "occluded"}
    assert set(types.values()) == {torch.bool, torch.float32}
    assert all(v.is_contiguous() for v in sample.values() if isinstance(v, Tensor))

"""Tiny folders in the benchmarks' official layouts; every frame and every flow is different noise."""

from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np
import torch
from torch import Tensor

from tests.helpers.clips import moving, write_frames, write_video
from unrollflow.data import FramePairs, write_flo, write_image, write_kitti_flow, write_pfm, write_shards
from unrollflow.data.io.flo5 import write_flo5

SIZE = (64, 96)
"""(H, W) of all frames; a test that needs larger ones replaces it."""


def generator(path: Path) -> torch.Generator:
    """Randomness that depends on the last three parts of a path."""
    return torch.Generator().manual_seed(crc32("/".join(path.parts[-3:]).encode()))


def frames(paths: Iterable[Path], size: tuple[int, int] | None = None) -> None:
    for path in paths:
        image = torch.rand(3, *(size or SIZE), generator=generator(path))
        if path.suffix == ".png":
            write_image(path, image)
        else:  # .ppm
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), (255 * image).byte().permute(1, 2, 0).numpy())


def noise_flow(path: Path, size: tuple[int, int] | None = None) -> Tensor:
    """Of KITTI's precision, 1/64 px, to about 2 px."""
    return (64 * torch.randn(2, *(size or SIZE), generator=generator(path))).round() / 64


def flows(paths: Iterable[Path], size: tuple[int, int] | None = None) -> None:
    for path in paths:
        {".flo": write_flo, ".flo5": write_flo5, ".png": write_kitti_flow}[path.suffix](path, noise_flow(path, size))


def mask(path: Path, rows: int, size: tuple[int, int] | None = None, value: int = 255) -> None:
    """A grey picture whose first rows hold a value, the others 0."""
    picture = np.zeros(size or SIZE, np.uint8)
    picture[:rows] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture)


def sintel(root: Path) -> Path:
    """A scene of the training, one of the validation, and one of the test: three frames each."""
    for name in ("clean", "final"):
        for scene in ("training/{}/alley_1", "training/{}/alley_2", "test/{}/ambush_1"):
            frames(root / scene.format(name) / f"frame_{i:04d}.png" for i in (1, 2, 3))
    for scene, i in ((scene, i) for scene in ("alley_1", "alley_2") for i in (1, 2)):
        flows([root / "training" / "flow" / scene / f"frame_{i:04d}.flo"])
        mask(root / "training" / "occlusions" / scene / f"frame_{i:04d}.png", rows=i)
        mask(root / "training" / "invalid" / scene / f"frame_{i:04d}.png", rows=10 + i)
    return root


def sintel_raw(root: Path) -> Path:
    """Two shots; frame 9 comes before frame 10."""
    frames(root / shot / f"{i}.png" for shot in ("shot_1", "shot_2") for i in (8, 9, 10))
    return root


def kitti(root: Path, folder: str = "image_2") -> Path:
    """Two scenes with ground truth, in which flow_noc lacks row 0; one test scene."""
    for scene in ("000000", "000001"):
        frames(root / "training" / folder / f"{scene}_{i}.png" for i in (10, 11))
        flow = noise_flow(root / f"{scene}_10.png")
        valid = torch.ones(SIZE, dtype=torch.bool)
        valid[:, 0] = False
        write_kitti_flow(root / "training" / "flow_occ" / f"{scene}_10.png", flow, valid)
        visible = valid.clone()
        visible[0] = False
        write_kitti_flow(root / "training" / "flow_noc" / f"{scene}_10.png", flow, visible)
        if folder == "image_2":
            mask(root / "training" / "obj_map" / f"{scene}_10.png", rows=5, value=3)
    frames(root / "testing" / folder / f"000000_{i}.png" for i in (10, 11))
    return root


def kitti_multiview(root: Path) -> Path:
    """All 21 frames of a training scene of both cameras."""
    frames(root / "training" / camera / f"000000_{i:02d}.png" for camera in ("image_2", "image_3") for i in range(21))
    return root


def kitti_raw(root: Path) -> Path:
    """Three frames of a drive, and pairs.txt with their two pairs."""
    names = [f"2011_09_26/drive_0001_sync/image_02/data/{i:010d}.png" for i in range(3)]
    frames(root / name for name in names)
    (root / "pairs.txt").write_text(f"{names[0]} {names[1]}\n\n{names[1]} {names[2]}\n")
    return root


def chairs(root: Path) -> Path:
    """Samples 1 to 4, of which the second and the fourth validate."""
    frames(root / "data" / f"{n:05d}_img{i}.ppm" for n in (1, 2, 3, 4) for i in (1, 2))
    flows(root / "data" / f"{n:05d}_flow.flo" for n in (1, 2, 3, 4))
    (root / "FlyingChairs_train_val.txt").write_text("1\n2\n1\n2\n")
    return root


def things(root: Path) -> Path:
    """A sequence 0, 1, 2 and another one 3, 4 in each split."""
    for folder, camera in ((folder, camera) for folder in ("train", "val") for camera in ("left", "right")):
        for name in ("image_clean", "image_final"):
            frames(root / folder / name / camera / f"{i:07d}.png" for i in range(5))
        for direction, numbers in (("into_future", (0, 1, 3)), ("into_past", (1, 2, 4))):
            flows(root / folder / "flow" / camera / direction / f"{i:07d}.flo" for i in numbers)
            for i in numbers:
                mask(root / folder / "flow_occlusions" / camera / direction / f"{i:07d}.png", rows=1 + i)
    return root


def things_full(root: Path) -> Path:
    """Two sequences of three frames in each split; as in the original, every frame has both flows."""
    for split, sequence in ((split, sequence) for split in ("TRAIN", "TEST") for sequence in ("A/0000", "B/0001")):
        for camera in ("left", "right"):
            for name in ("cleanpass", "finalpass"):
                frames(root / f"frames_{name}" / split / sequence / camera / f"{i:04d}.png" for i in (6, 7, 8))
            for folder, direction in (("into_future", "IntoFuture"), ("into_past", "IntoPast")):
                for i in (6, 7, 8):
                    flow = f"OpticalFlow{direction}_{i:04d}_{camera[0].upper()}.pfm"
                    path = root / "optical_flow" / split / sequence / folder / camera / flow
                    write_pfm(path, noise_flow(path))
    return root


def spring(root: Path) -> Path:
    """Three frames of a scene by two cameras, with ground truth both ways; two frames of a test scene."""
    twice = (2 * SIZE[0], 2 * SIZE[1])
    scene = root / "train" / "0001"
    for camera in ("left", "right"):
        frames(scene / f"frame_{camera}" / f"frame_{camera}_{i:04d}.png" for i in (1, 2, 3))
        frames(root / "test" / "0002" / f"frame_{camera}" / f"frame_{camera}_{i:04d}.png" for i in (1, 2))
        for direction, numbers in (("FW", (1, 2)), ("BW", (2, 3))):
            flow = f"flow_{direction}_{camera}"
            flows((scene / flow / f"{flow}_{i:04d}.flo5" for i in numbers), twice)
            for i in numbers:
                mask(scene / "maps" / f"matchmap_{flow}" / f"matchmap_{flow}_{i:04d}.png", rows=2 * i, size=twice)
    return root


def hd1k(root: Path) -> Path:
    """Two sequences; as in the original, the last frame of each has a flow, too."""
    names = [f"{sequence:06d}_{i:04d}.png" for sequence in (0, 1) for i in (0, 1, 2)]
    frames(root / "hd1k_input" / "image_2" / name for name in names)
    flows(root / "hd1k_flow_gt" / "flow_occ" / name for name in names)
    return root


def middlebury(root: Path) -> Path:
    """Two sequences, one pixel of each unknown."""
    for name in ("Alpha", "Beta"):
        middlebury_sequence(root / name, root / name)
    return root


def middlebury_published(root: Path) -> Path:
    """What two archives unpack to: the same two sequences, and one without ground truth."""
    for name in ("Alpha", "Beta"):
        middlebury_sequence(root / "other-data" / name, root / "other-gt-flow" / name)
    frames(root / "other-data" / "Gamma" / f"frame{i}.png" for i in (10, 11))
    return root


def middlebury_sequence(images: Path, truth: Path) -> None:
    frames(images / f"frame{i}.png" for i in (10, 11))
    flow = noise_flow(truth / "flow10.flo")
    flow[:, 3, 4] = 1.7e9
    write_flo(truth / "flow10.flo", flow)


def labelled(root: Path) -> Path:
    """Two clips of three frames, and below labels/ the flow of the first two of each, unknown in its first row."""
    for clip in ("one", "two"):
        frames(root / "frames" / clip / f"{i}.png" for i in range(3))
        for i in range(2):
            path = root / "labels" / clip / f"{i}.flo"
            flow = noise_flow(path)
            flow[:, 0] = 1e10
            write_flo(path, flow)
    return root


def footage(root: Path) -> Path:
    """A video and two folders of frames."""
    write_video(root / "a.mp4", moving(4, seed=0, size=(136, 144)))
    for i, name in enumerate(("b", "c"), start=1):
        write_frames(root / name, moving(4, seed=i, size=(136, 144)))
    return root


def shards(root: Path) -> Path:
    """Two tar files of two pairs, and one of the last pair."""
    frames(root / "frames" / f"{i}.png" for i in range(6))
    write_shards(FramePairs(root / "frames"), root, samples_per_shard=2)
    return root

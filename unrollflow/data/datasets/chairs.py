"""FlyingChairs."""

from pathlib import Path
from typing import Literal

from unrollflow.data.datasets.benchmark import BenchmarkPairs, Pair, check_choices, require_folder

LAYOUT = "data/00001_img1.ppm, 00001_img2.ppm and 00001_flow.flo; FlyingChairs_train_val.txt beside data/"
SPLIT_FILE = "FlyingChairs_train_val.txt"
ChairsSplit = Literal["all", "train", "validation"]
GROUPS = {"train": "1", "validation": "2"}
"""Values of the split file, whose line n belongs to sample n."""

FIVE_DIGITS = "[0-9]" * 5


class FlyingChairs(BenchmarkPairs):
    """Pairs of FlyingChairs, named by their numbers, such as "00001"; all flow is valid, occlusions are unknown.

    Args:
        root: folder that contains data/ (FlyingChairs_release).
        split: "train" or "validation" according to the split file, or "all" samples, without a split file.
        split_file: text file whose line n is 1 if sample n is for training, 2 if it is for validation; None: the
            official FlyingChairs_train_val.txt below the root.
        labels: False: ground truth is neither needed nor read.

    Raises:
        FileNotFoundError: if the folder or the split file is missing, or no pair is complete.
        ValueError: if the split file has other values, or no line for a sample.

    Source: Dosovitskiy et al., FlowNet, ICCV 2015.
    """

    def __init__(
        self,
        *,
        root: Path,
        split: ChairsSplit = "all",
        split_file: Path | None = None,
        labels: bool = True,
    ) -> None:
        check_choices("split", [split], ChairsSplit)
        folder = Path(root) / "data"
        require_folder(folder, layout=LAYOUT)
        numbers = {f.name[:5] for f in folder.glob(f"{FIVE_DIGITS}_img1.ppm")}
        if labels:
            numbers |= {f.name[:5] for f in folder.glob(f"{FIVE_DIGITS}_flow.flo")}
        if split != "all":
            groups = read_groups(
                Path(root) / SPLIT_FILE if split_file is None else Path(split_file), max(numbers, default="0")
            )
            numbers = {number for number in numbers if groups[int(number) - 1] == GROUPS[split]}
        candidates = [
            Pair(
                number,
                folder / f"{number}_img1.ppm",
                folder / f"{number}_img2.ppm",
                {"flow": folder / f"{number}_flow.flo"} if labels else {},
            )
            for number in sorted(numbers)
        ]
        super().__init__(candidates, root=Path(root), layout=LAYOUT)


def read_groups(path: Path, last: str) -> list[str]:
    """Group of each sample, "1" or "2", at least up to the last sample."""
    if not path.is_file():
        raise FileNotFoundError(f"no split file {path.absolute()}; give split_file, or use the split 'all'.")
    groups = path.read_text().split()
    for line, group in enumerate(groups, start=1):
        if group not in GROUPS.values():
            raise ValueError(f"{path}, line {line}, is {group!r}; expected 1 (train) or 2 (validation).")
    if len(groups) < int(last):
        raise ValueError(f"{path} is too short: it has {len(groups)} lines, but there is a sample {last}.")
    return groups

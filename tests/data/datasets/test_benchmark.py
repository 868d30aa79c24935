from pathlib import Path

from unrollflow.data.datasets.benchmark import neighbours


def test_numbers_without_leading_zeros_are_sorted_as_numbers(tmp_path: Path) -> None:
    for name in ("f_9.png", "f_10.png", "f_99.png", "f_100.png", "f_101.png"):
        (tmp_path / name).touch()
    pairs = [(first.name, second.name) for first, second in neighbours(tmp_path)]
    assert pairs == [
        ("f_9.png", "f_10.png"),
        ("f_10.png", "f_11.png"),
        ("f_99.png", "f_100.png"),
        ("f_100.png", "f_101.png"),
    ]

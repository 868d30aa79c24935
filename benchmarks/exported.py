"""Exported programs against their network: time of a pair of 436x1024 on two threads.

    unrollflow export --format torch --output small.pt2
    unrollflow export --format onnx --output small.onnx
    python -m benchmarks.exported --torch small.pt2 --onnx small.onnx

All have the levels of the program and its padding. `predict` pads less: the last row.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.measuring import Row, in_turn, machine, table
from unrollflow import pretrained
from unrollflow.cli.export.program import METADATA, PaddedFlow, onnx_runner, textures, torch_runner

THREADS = 2
SIZE = (436, 1024)


def rows(torch_file: Path, onnx_file: Path, *, size: tuple[int, int], repeats: int) -> list[Row]:
    """The table's rows; both files are of the shipped weights."""
    module = pretrained()
    found = {METADATA: ""}
    torch.export.load(torch_file, extra_files=found)
    network = PaddedFlow(module.backbone, levels=json.loads(found[METADATA])["levels"])
    images = textures(1, *size)
    methods: dict[str, Callable[..., object]] = {
        "network": network,
        "onnxruntime": onnx_runner(onnx_file.read_bytes()),
        "torch.export": torch_runner(torch_file.read_bytes()),
        "network as `predict` pads": module.one_way,
    }
    with torch.inference_mode():
        reference, *times = in_turn([lambda run=run: run(*images) for run in methods.values()], repeats=repeats)
    return [Row(name, "ms", taken, reference) for name, taken in zip(list(methods)[1:], times, strict=True)]


def main() -> None:
    """Measure, and print a table of Markdown."""
    parser = argparse.ArgumentParser("python -m benchmarks.exported", description=__doc__)
    parser.add_argument("--torch", type=Path, required=True, help=".pt2 file of the shipped weights")
    parser.add_argument("--onnx", type=Path, required=True, help=".onnx file of the shipped weights")
    parser.add_argument("--repeats", type=int, default=7, help="(%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    print(machine())
    print(table(rows(arguments.torch, arguments.onnx, size=SIZE, repeats=arguments.repeats)))


if __name__ == "__main__":
    main()

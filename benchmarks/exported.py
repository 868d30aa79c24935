"""Compare exported programs with their network: time of a pair of 436x1024 on two threads.

    unrollflow export --format torch --output small.pt2
    unrollflow export --format onnx --output small.onnx
    python -m benchmarks.exported --torch small.pt2 --onnx small.onnx

All have the levels of the program and its padding. `predict` pads less: the last row. OpenVINO runs the ONNX file where
`openvino` is installed. The largest difference from the network's flow is printed below the table.
"""

import argparse
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measuring import Row, in_turn, machine, table
from unrollflow import pretrained
from unrollflow.cli.export.program import METADATA, PaddedFlow, onnx_runner, textures, torch_runner

THREADS = 2
SIZE = (436, 1024)


Flow = Callable[[Tensor, Tensor], Tensor]


def openvino_runner(file: Path) -> Flow:
    """The flow of an ONNX file by OpenVINO, on the CPU."""
    import openvino  # not a dependency of the package

    program = openvino.Core().compile_model(file, "CPU", {"INFERENCE_NUM_THREADS": THREADS})
    return lambda *images: torch.from_numpy(program([image.numpy() for image in images])[0])


def flows(torch_file: Path, onnx_file: Path) -> dict[str, Flow]:
    """Functions that compute the flow, by name, the network first; both files are of the shipped weights."""
    module = pretrained()
    found = {METADATA: ""}
    torch.export.load(torch_file, extra_files=found)
    network, compiled = (PaddedFlow(module.backbone, levels=json.loads(found[METADATA])["levels"]) for _ in range(2))
    compiled.network.compile(dynamic=False)  # without the padding, with which the inductor of torch 2.13 fails
    methods: dict[str, Flow] = {
        "network": network,
        "torch.compile": compiled,
        "torch.export": torch_runner(torch_file.read_bytes()),
        "onnxruntime": onnx_runner(onnx_file.read_bytes()),
    }
    if find_spec("openvino") is not None:
        methods["OpenVINO"] = openvino_runner(onnx_file)
    return methods | {"network as `predict` pads": module.one_way}


@torch.no_grad()
def measured(methods: dict[str, Flow], *, size: tuple[int, int], repeats: int) -> tuple[list[Row], dict[str, float]]:
    """Times relative to the first method, and the largest difference from its flow, pixels."""
    images = textures(1, *size)
    reference, *times = in_turn([lambda run=run: run(*images) for run in methods.values()], repeats=repeats)
    rows = [Row(name, "ms", taken, reference) for name, taken in zip(list(methods)[1:], times, strict=True)]
    flow, *others = [run(*images) for run in methods.values()]
    differences = [float((other - flow).abs().max()) for other in others]
    return rows, dict(zip(list(methods)[1:], differences, strict=True))


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser("python -m benchmarks.exported", description=__doc__)
    parser.add_argument("--torch", type=Path, required=True, help=".pt2 file of the shipped weights")
    parser.add_argument("--onnx", type=Path, required=True, help=".onnx file of the shipped weights")
    parser.add_argument("--repeats", type=int, default=7, help="(%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    print(machine())
    rows, differences = measured(flows(arguments.torch, arguments.onnx), size=SIZE, repeats=arguments.repeats)
    print(table(rows))
    print("\n".join(f"{name}: {difference:.2g} px" for name, difference in differences.items()))


if __name__ == "__main__":
    main()

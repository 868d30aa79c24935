"""Compare two processes of one thread with one process of two threads: a training step on the same batch, with gloo.

python -m benchmarks.distributed
"""

import socket
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.measuring import Row, machine, table
from benchmarks.training import LATE_STEP, RECIPE
from experiments.common.assembly import build_model
from unrollflow.contracts import FlowSample

CORES = 2
SIZE = (128, 192)
BATCH = 4
STEPS = 5
ROUNDS = 3
"""Repeats of both in turn, so that other load of the machine affects both."""


class Loss(nn.Module):
    """Network and objective as one module, for averaged gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.model = build_model(RECIPE)

    def forward(self, image1: Tensor, image2: Tensor) -> Tensor:
        """Return the total loss of a batch."""
        sample = FlowSample(image1=image1, image2=image2, name="")
        forward, backward = self.model.backbone.bidirectional(image1, image2)
        total: Tensor = self.model.objective(sample, forward, backward, step=LATE_STEP).total
        return total


def work(rank: int, processes: int, port: int, folder: str) -> None:
    """Train on a share of the batch; the first process writes the median seconds of a step."""
    torch.set_num_threads(CORES // processes)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=processes)
    torch.manual_seed(0)
    module = DistributedDataParallel(Loss())
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-4)
    images = torch.rand(2, BATCH // processes, 3, *SIZE)
    times = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        module(*images).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    if rank == 0:
        (Path(folder) / "seconds").write_text(str(statistics.median(times[1:])))  # the first one allocates buffers
    dist.destroy_process_group()


def seconds(processes: int) -> float:
    """Return the seconds of a step of the whole batch with a number of processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, (processes, port, folder), nprocs=processes)
        return float((Path(folder) / "seconds").read_text())


def main() -> None:
    """Print the comparison."""
    one, two = zip(*((seconds(1), seconds(2)) for _ in range(ROUNDS)), strict=True)
    what = f"training step {BATCH} x {SIZE[0]}x{SIZE[1]}, 2 processes of 1 thread / 1 of 2"
    print(f"{table([Row(what, 'ms', 1000 * statistics.median(two), 1000 * statistics.median(one))])}\n\n{machine()}")


if __name__ == "__main__":
    main()

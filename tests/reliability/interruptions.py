"""Trainings that are killed, stopped, or cannot write."""

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from tests.callbacks.test_checkpoint_on_signal import STEPS, At, fit
from tests.reliability.fault import Fault, refusal
from unrollflow.callbacks.checkpoint_on_signal import STOPPED, CheckpointOnSignal, WholeCheckpoints
from unrollflow.callbacks.last_checkpoint import LastCheckpoint
from unrollflow.callbacks.pending_work import PendingWork
from unrollflow.callbacks.skip_non_finite import SkipNonFiniteSteps
from unrollflow.checkpoints import read_checkpoint

KILLS = 25
DEADLINE = 240
HANGING = 60
"""Time after the end of a process after which the others are considered as hanging, seconds."""


def forked(work: Callable[[], None]) -> int:
    """The id of a forked child process that runs a function, without importing modules again."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def ended(child: int) -> int:
    """The exit status of a child, negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Notes(pl.Callback):
    """Records, before the first step of an epoch, the step that must not be lost if the process is killed."""

    def __init__(self, folder: Path) -> None:
        self.note = folder / "note"

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        if index == 0:
            self.note.write_text(str(trainer.global_step))


def training(folder: Path, *, workers: int, **limits: Any) -> None:
    """A training with the callbacks of the command line, from its last.ckpt if there is one; writes its weights.

    No validation after the first one is an improvement, because the monitored value is the step.
    """
    best = ModelCheckpoint(
        folder, monitor="step", filename="best", enable_version_counter=False, save_on_train_epoch_end=False
    )
    folder.mkdir(exist_ok=True)
    last = folder / "checkpoints" / "last.ckpt"
    ours = [SkipNonFiniteSteps(), PendingWork(), CheckpointOnSignal(), Notes(folder)]
    resume = last if last.is_file() else None
    weights = fit(folder, *ours, best, LastCheckpoint(), workers=workers, resume=resume, **limits)
    torch.save(weights, folder / "weights.pt")


def same(weights: Path, expected: dict[str, Tensor]) -> bool:
    found = torch.load(weights, weights_only=True)
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def killed_at_random(folder: Path, *, workers: int, kills: int, **limits: Any) -> str:
    """Kills at random moments; each time the training is started again until it ends."""
    draw = random.Random(workers)
    lasts = float(DEADLINE)
    for _ in range(2):  # the first one warms up
        shutil.rmtree(folder / "straight", ignore_errors=True)
        started = time.monotonic()
        assert ended(forked(partial(training, folder / "straight", workers=workers, **limits))) == 0
        lasts = min(lasts, time.monotonic() - started)
    expected = torch.load(folder / "straight" / "weights.pt", weights_only=True)
    done, late, steps = 0, 0, list[int]()
    while done < kills:
        run = folder / f"{done}-{late}"
        child = forked(partial(training, run, workers=workers, **limits))
        time.sleep(draw.uniform(0.2, 0.9) * lasts)
        os.kill(child, signal.SIGKILL)
        if ended(child) != -signal.SIGKILL:  # it had ended by itself
            late += 1
            continue
        last, note = run / "checkpoints" / "last.ckpt", run / "note"
        steps.append(read_checkpoint(last)["global_step"] if last.is_file() else 0)
        assert steps[-1] >= int((note.is_file() and note.read_text()) or 0)
        assert ended(forked(partial(training, run, workers=workers, **limits))) == 0
        assert same(run / "weights.pt", expected), f"after a kill at step {steps[-1]}"
        done += 1
    return f"{done} of {done} bit-exact; resumed from steps {', '.join(map(str, sorted(steps)))} of {STEPS}"


def stopped(folder: Path, *, number: int, workers: int = 0, validating: bool = False) -> str:
    """Send a signal at the start of the fifth step, or in the validation after the third step."""
    straight = fit(folder / "straight", workers=workers)
    step = 3 if validating else 4
    at = At(step, number, validating=validating)
    child = forked(lambda: fit(folder / "run", CheckpointOnSignal(), at, workers=workers) and None)
    code = ended(child)
    saved = next((folder / "run").rglob(STOPPED))
    resumed = fit(folder / "run", workers=workers, resume=saved)
    assert all(torch.equal(resumed[name], value) for name, value in straight.items())
    assert code == 128 + number
    return f"exit status {code}; saved after step {read_checkpoint(saved)['global_step']}; the resumed run is bit-exact"


def killed_while_writing(folder: Path) -> str:
    """Kill a process that continuously overwrites a checkpoint of 1 MB."""
    path, draw = folder / "last.ckpt", random.Random(0)

    def write() -> None:
        for i in range(10**6):
            WholeCheckpoints().save_checkpoint({"state_dict": {"w": torch.full((250_000,), float(i))}}, path)

    WholeCheckpoints().save_checkpoint({"state_dict": {"w": torch.zeros(250_000)}}, path)
    for _ in range(20):
        child = forked(write)
        time.sleep(draw.uniform(0.05, 0.3))
        os.kill(child, signal.SIGKILL)
        ended(child)
        weights = read_checkpoint(path)["state_dict"]["w"]
        assert (weights == weights[0]).all()
    return "20 of 20 checkpoints are complete"


def full_disk(folder: Path) -> str:
    """Limit the file size to 20 kB, which has the effect of a full disk for one process."""
    path, reported = folder / "last.ckpt", folder / "reported"
    WholeCheckpoints().save_checkpoint({"state_dict": {"w": torch.ones(2)}}, path)

    def write() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        large: dict[str, Any] = {"state_dict": {"w": torch.zeros(100_000)}}
        words = refusal(
            lambda: WholeCheckpoints().save_checkpoint(large, path), names="cannot be written", kind=OSError
        )
        reported.write_text(words)

    assert ended(forked(write)) == 0
    assert read_checkpoint(path)["state_dict"]["w"].tolist() == [1, 1]
    assert sorted(file.name for file in folder.iterdir()) == ["last.ckpt", "reported"]
    return f"{reported.read_text()}"


def dying_process(folder: Path) -> str:
    """One of two processes of a training is killed in it."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    script = [str(Path(__file__).with_name("two_processes.py")), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, *script], env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    killed = (folder / "killed").stat().st_mtime  # written just before
    after = time.time() - killed
    assert done.returncode != 0
    assert re.search(r"SIGKILL|Signal 9", done.stderr), done.stderr[-3000:]
    assert not (folder / "ended").exists()
    assert after < HANGING
    return f"exit status {done.returncode}, {after:.0f} s after the kill"


EVERY_TWO: dict[str, Any] = {"val_check_interval": 2, "check_val_every_n_epoch": None}
SAVED = "a checkpoint after the step; its path is printed; resuming is bit-exact"
FAULTS = (
    [
        Fault(
            f"{kills} kills (SIGKILL) at random times, {workers} workers",
            "resumed runs end with the weights of an uninterrupted run",
            partial(killed_at_random, workers=workers, kills=kills),
        )
        for workers, kills in ((0, KILLS - 10), (2, 10))
    ]
    + [
        Fault(
            f"10 kills (SIGKILL) at random times, {name}",
            "resumed from the start of the interrupted epoch or later, with the same weights",
            partial(killed_at_random, workers=0, kills=10, **limits),
        )
        for name, limits in (
            ("no validation", {"limit_val_batches": 0}),
            ("a validation within an accumulated step", {"accumulate_grad_batches": 2} | EVERY_TWO),
        )
    ]
    + [
        Fault("SIGTERM during a step, no workers", SAVED, partial(stopped, number=signal.SIGTERM)),
        Fault("SIGTERM during a step, 2 workers", SAVED, partial(stopped, number=signal.SIGTERM, workers=2)),
        Fault("Ctrl-C during a step", SAVED, partial(stopped, number=signal.SIGINT)),
        Fault("SIGTERM during a validation", SAVED, partial(stopped, number=signal.SIGTERM, validating=True)),
        Fault(
            "20 kills (SIGKILL) during writes of a checkpoint",
            "the old or the new file is complete",
            killed_while_writing,
        ),
        Fault(
            "disk full during a checkpoint", "an error that names it; the previous checkpoint stays valid", full_disk
        ),
        Fault("SIGKILL of one of two processes (gloo)", "the job stops with an error", dying_process),
    ]
)

"""Shared options and trainer of the commands that run a trained network."""

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Literal, get_args

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from unrollflow.weights import DEFAULT, shipped_weights

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def add_weights(parser: ArgumentParser) -> None:
    """Add the option that chooses a network."""
    parser.add_argument(
        "--weights",
        "--ckpt_path",
        dest="weights",
        default=DEFAULT,
        metavar="NAME|FILE",
        help=f"name of shipped weights ({', '.join(shipped_weights())}), a .safetensors file or a checkpoint of a fit "
        "(%(default)s)",
    )


def add_device(parser: ArgumentParser) -> None:
    """Add the options that choose device and precision."""
    parser.add_argument("--accelerator", default="auto", help="accelerator of Lightning's Trainer (%(default)s)")
    parser.add_argument(
        "--precision", default="32-true", choices=get_args(Precision), help="precision of the network (%(default)s)"
    )


def one_device_trainer(
    callbacks: Sequence[Callback], *, accelerator: str, precision: Precision = "32-true"
) -> pl.Trainer:
    """Trainer for one device, without logging and checkpoints."""
    return pl.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,
        callbacks=list(callbacks),
        logger=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )

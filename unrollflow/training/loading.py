"""LightningModule that reads checkpoints as data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import pytorch_lightning as pl
import torch

from unrollflow.checkpoints import (
    INSTANTIATOR,
    INSTANTIATOR_KEY,
    MODEL_KEY,
    check_fits,
    check_trusted,
    model_arguments,
    read_checkpoint,
)
from unrollflow.data.io.files import write_atomic
from unrollflow.weights import FILES, packed_weights, weights_file


class LoadsData(pl.LightningModule):
    """LightningModule whose checkpoints are read as primitives and tensors, and checked against the module."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise a short error if the weights are of another network, before torch's long one."""
        check_fits(checkpoint["state_dict"], self.state_dict(), "the checkpoint")

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # Lightning also accepts open files, which have no name for errors
        cls,
        checkpoint_path: str | Path,
        map_location: torch.device | str | int | None = None,
        hparams_file: None = None,
        strict: bool | None = None,
        weights_only: Literal[True] | None = None,
        *,
        trusted: Sequence[str] = (),
        **kwargs: Any,
    ) -> Self:
        """Load a module with the weights of a checkpoint, reading only primitives and tensors.

        Args:
            checkpoint_path: checkpoint of `unrollflow fit`, or any checkpoint if `kwargs` has the constructor's
                arguments, which then replace the configuration in the file.
            map_location: device of the module; None: the CPU.
            hparams_file: must be None, because the checkpoint contains the configuration.
            strict: False: names may be missing or unknown, but shapes must match.
            weights_only: must be True or None.
            trusted: additional prefixes of names that the file may use, see :data:`checkpoints.TRUSTED`.
            kwargs: all of the constructor's arguments, or none.

        Raises:
            FileNotFoundError: if the file does not exist.
            ValueError: if it cannot be read, refers to names that are not trusted, or contains another network.
        """
        check_loading(map_location, hparams_file, weights_only)
        checkpoint = read_checkpoint(checkpoint_path)
        config = checkpoint.get(MODEL_KEY, {})
        if not config and not kwargs:
            raise ValueError(
                f"{checkpoint_path} has no configuration, because its module was built in Python; pass the parts of "
                "the module: load_from_checkpoint(path, backbone=..., photometric=..., smoothness=..., "
                "objective=..., optimizer=...)."
            )
        module = cls(**kwargs) if kwargs else cls._build(config, checkpoint_path, trusted)
        weights, expected = checkpoint["state_dict"], module.state_dict()
        if strict is False:
            weights = {name: tensor for name, tensor in weights.items() if name in expected}
            expected = {name: expected[name] for name in weights}
        check_fits(weights, expected, str(checkpoint_path))
        module.load_state_dict(weights, strict=strict is not False)
        return module if map_location is None else module.to(map_location)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, trusted: Sequence[str] = ()) -> Self:
        """Load a module in evaluation mode, on the CPU; :class:`~unrollflow.training.hub.HubFlow` loads from a hub.

        Args:
            name: folder written by :meth:`save_pretrained`, name of shipped weights, safetensors file or checkpoint.
            trusted: as in :meth:`load_from_checkpoint`.

        Raises:
            FileNotFoundError: see :func:`~unrollflow.weights.weights_file`.
            ValueError: as :meth:`load_from_checkpoint`.
        """
        return cls.load_from_checkpoint(weights_file(name), trusted=trusted).eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model.safetensors and its card model.json; existing files are replaced.

        Args: folder: folder to write to; it is created if it does not exist.

        Raises:
            ValueError: if the module was built in Python, so that its configuration is unknown.
            OSError: if a file cannot be written.
        """
        config = model_arguments(self.hparams)
        if not config:
            raise ValueError(
                "this module was built in Python, so its configuration is not known; save a module that was trained by "
                "the command line, or loaded from its checkpoint."
            )
        card = {"parameters": sum(p.numel() for p in self.parameters()), "model": config}
        for name, content in zip(FILES, packed_weights(self.state_dict(), card), strict=True):
            write_atomic(Path(folder) / name, content)

    @classmethod
    def _build(cls, config: dict[str, Any], path: str | Path, trusted: Sequence[str]) -> Self:
        """Build a module from a checkpoint's configuration (Lightning would also read old keys of the file)."""
        from pytorch_lightning.cli import instantiate_module  # only this needs jsonargparse

        check_trusted(config, path, trusted=trusted)
        module = instantiate_module(cls, model_arguments(config))
        # as in the command line, so that the module can be trained, saved and loaded again
        module.save_hyperparameters(config | {INSTANTIATOR_KEY: INSTANTIATOR}, logger=False)
        return module


def check_loading(map_location: object, hparams_file: object, weights_only: object) -> None:
    """Raise ValueError if arguments of Lightning could read more than data, or the device is invalid."""
    if weights_only is False or hparams_file is not None:
        raise ValueError(
            "weights_only=False and hparams_file are not supported: checkpoints are read as tensors and primitives, "
            "and contain their configuration; omit both."
        )
    if not isinstance(map_location, torch.device | str | int | None):
        raise ValueError(f"map_location is a {type(map_location).__name__}; expected a device such as 'cpu'.")

"""A LightningModule of a checkpoint, which is read as data."""

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
    refuse_weights_alone,
)
from unrollflow.data.io.files import write_atomic
from unrollflow.weights import packed_weights
from unrollflow.weights.hub import FILES, pretrained_file


class LoadsData(pl.LightningModule):
    """A LightningModule whose checkpoints are read as primitives and tensors, and must fit it."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse another network's weights in a few words, before torch does in many."""
        check_fits(checkpoint["state_dict"], self.state_dict(), "the checkpoint")

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # Lightning's also takes open files, whose names no error could tell
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
        """A module with the weights of a checkpoint, of which nothing but primitives and tensors is read.

        Args:
            checkpoint_path: of a run of the command line, or of any run with the constructor's arguments in `kwargs`,
                which then stand in the place of what the file says that it was built of.
            map_location: device of the module; None: the CPU.
            hparams_file: None; the checkpoint holds the configuration.
            strict: False: names may be missing or unknown, but shapes must fit.
            weights_only: no file is read otherwise.
            trusted: more beginnings of names that the file may ask for, see :data:`checkpoints.TRUSTED`.
            kwargs: all of the constructor's arguments, or none.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it cannot be read, asks for names that are not trusted, or holds another network.
        """
        check_loading(map_location, hparams_file, weights_only)
        checkpoint = read_checkpoint(checkpoint_path)
        config = checkpoint.get(MODEL_KEY, {})
        if not config and not kwargs:
            refuse_weights_alone(checkpoint, checkpoint_path)
            raise ValueError(
                f"{checkpoint_path} was saved by a module built in Python; give that one's parts: "
                "load_from_checkpoint(path, backbone=..., photometric=..., smoothness=..., objective=..., "
                "optimizer=...)."
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
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        trusted: Sequence[str] = (),
    ) -> Self:
        """A module in evaluation mode, on the CPU, with weights of a folder, of the package or of a hub.

        Args:
            name: folder that :meth:`save_pretrained` has written, name of shipped weights, safetensors file,
                checkpoint, or repository of the Hugging Face hub ("owner/name", extra `hub`).
            revision: branch, tag or commit of a repository.
            local_files_only: fetch nothing.
            trusted: as of :meth:`load_from_checkpoint`.

        Raises:
            FileNotFoundError, ImportError, OSError: see :func:`~unrollflow.weights.hub.pretrained_file`.
            ValueError: as :meth:`load_from_checkpoint`.
        """
        file = pretrained_file(name, revision=revision, local_files_only=local_files_only)
        return cls.load_from_checkpoint(file, trusted=trusted).eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model.safetensors and its card model.json; files that are there are replaced.

        Args: folder: is created if it does not exist.

        Raises:
            ValueError: if the module was built in Python: its configuration is not known.
            OSError: if a file cannot be written.
        """
        config = model_arguments(self.hparams)
        if not config:
            raise ValueError(
                "this module was built in Python, so its configuration is not known; save one that was trained by the "
                "command line, or loaded from its checkpoint."
            )
        card = {"parameters": sum(p.numel() for p in self.parameters()), "model": config}
        for name, content in zip(FILES, packed_weights(self.state_dict(), card), strict=True):
            write_atomic(Path(folder) / name, content)

    @classmethod
    def _build(cls, config: dict[str, Any], path: str | Path, trusted: Sequence[str]) -> Self:
        """A module of a checkpoint's configuration, and nothing else of the file (Lightning reads old keys too)."""
        from pytorch_lightning.cli import instantiate_module  # jsonargparse is needed for this alone

        check_trusted(config, path, trusted=trusted)
        module = instantiate_module(cls, model_arguments(config))
        # as the command line does: what is trained further and saved can be loaded again
        module.save_hyperparameters(config | {INSTANTIATOR_KEY: INSTANTIATOR}, logger=False)
        return module


def check_loading(map_location: object, hparams_file: object, weights_only: object) -> None:
    """Raise ValueError for those of Lightning's arguments that could read more than data, or that are not a device."""
    if weights_only is False or hparams_file is not None:
        raise ValueError(
            "weights_only=False and hparams_file are not supported: a checkpoint is read as tensors and primitives, "
            "and holds its configuration itself; omit both."
        )
    if not isinstance(map_location, torch.device | str | int | None):
        raise ValueError(f"map_location is a {type(map_location).__name__}; give a device, such as 'cpu' or 'cuda:0'.")

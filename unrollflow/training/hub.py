"""Modules of the Hugging Face hub: huggingface_hub's mixin around UnsupervisedFlow (extra `hub`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from huggingface_hub import ModelHubMixin, snapshot_download

from unrollflow.training.module import UnsupervisedFlow
from unrollflow.weights import FILES, weights_file

CONFIG = {"library_name": "unrollflow", "card": FILES[1]}
"""Content of config.json, which no constructor reads."""


class HubFlow(  # type: ignore[misc]  # the mixin's methods replace those for folders, with more arguments
    ModelHubMixin,
    UnsupervisedFlow,
    library_name="unrollflow",
    tags=["optical-flow", "unsupervised"],
    paper_url="https://arxiv.org/abs/2011.14814",
):
    """UnsupervisedFlow with `from_pretrained`, `save_pretrained` and `push_to_hub` of huggingface_hub's mixin.

    A repository holds `model.safetensors` and its card `model.json`, which are read as data, and, only for the hub,
    `config.json` (the hub counts its downloads) and `README.md`. Folders of :meth:`UnsupervisedFlow.save_pretrained`
    are read as well.

    Raises:
        FileNotFoundError: from_pretrained, if a folder or repository does not contain weights or card.
        OSError: from_pretrained, if a repository cannot be downloaded.
        ValueError: as :meth:`UnsupervisedFlow.load_from_checkpoint` and :meth:`UnsupervisedFlow.save_pretrained`.
    """

    _hub_mixin_config = CONFIG

    def _save_pretrained(self, save_directory: Path) -> None:
        UnsupervisedFlow.save_pretrained(self, save_directory)

    @classmethod
    def _from_pretrained(  # type: ignore[override]  # the mixin passes unknown keywords on; here they are errors
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        trusted: Sequence[str] = (),
    ) -> Self:
        folder = model_id
        if not Path(folder).is_dir():
            folder = snapshot_download(
                model_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=list(FILES),
            )
        return cls.load_from_checkpoint(weights_file(Path(folder).resolve()), trusted=trusted).eval()

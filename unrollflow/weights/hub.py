"""Weights in a folder or a repository of a model hub: model.safetensors and its card model.json."""

from pathlib import Path

from unrollflow.weights import SUFFIX, weights_file

NAME = "model"
FILES = (f"{NAME}{SUFFIX}", f"{NAME}.json")
"""Names of weights and card in a folder or a repository."""


def pretrained_file(name: str | Path, *, revision: str | None = None, local_files_only: bool = False) -> Path:
    """Path of the weights in a folder, a file, shipped weights, or a repository of the Hugging Face hub.

    The hub is only used for a name such as "owner/repository" that is neither a folder nor a file; weights and card are
    downloaded to the cache of the hub, and read as data.

    Args:
        name: folder, name of shipped weights, file, or repository.
        revision: branch, tag or commit of a repository; None: its main branch.
        local_files_only: only use the cache of the hub; do not download files.

    Raises:
        FileNotFoundError: if the name does not exist, or a folder or repository does not contain the weights.
        ImportError: if the name is a repository, and huggingface_hub is not installed.
        OSError: if a repository cannot be downloaded.
    """
    if Path(name).is_dir():
        return existing_weights(Path(name))
    if Path(name).is_file() or not is_repository(str(name)):
        return weights_file(name)
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            f"{name} is not a local folder, and repositories of the hub need huggingface_hub: "
            "pip install 'unrollflow[hub]'"
        ) from error
    folder = snapshot_download(
        str(name), revision=revision, local_files_only=local_files_only, allow_patterns=list(FILES)
    )
    return existing_weights(Path(folder))


def existing_weights(folder: Path) -> Path:
    """Path of the weights in a folder.

    Raises:
        FileNotFoundError: if they do not exist.
    """
    file = folder / FILES[0]
    if not file.is_file():
        raise FileNotFoundError(f"{folder} does not contain {FILES[0]}; save_pretrained writes {' and '.join(FILES)}.")
    return file


def is_repository(name: str) -> bool:
    """Whether a name may be a repository of a hub, with an owner and a name.

    >>> [is_repository(name) for name in ("owner/flow-v1.0", "small", "./small", "runs/last.ckpt")]
    [True, False, False, False]
    """
    parts = name.split("/")
    named = len(parts) == 2 and all(part and not part.startswith((".", "~")) for part in parts)
    return named and Path(name).suffix not in (".ckpt", SUFFIX)

"""Weights in a folder as a model hub keeps them: model.safetensors and its card model.json."""

from pathlib import Path

from unrollflow.weights import SUFFIX, weights_file

NAME = "model"
FILES = (f"{NAME}{SUFFIX}", f"{NAME}.json")
"""Weights and card of a folder or a repository."""


def pretrained_file(name: str | Path, *, revision: str | None = None, local_files_only: bool = False) -> Path:
    """The safetensors file of a folder, of shipped weights, of a path, or of a repository of the Hugging Face hub.

    Only a name such as "owner/repository" that is neither a folder nor a file is looked up at the hub; weights and
    card are fetched into its cache and read as data.

    Args:
        name: folder, name of shipped weights, file, or repository.
        revision: branch, tag or commit of a repository; None: its main branch.
        local_files_only: use what the cache of the hub holds; fetch nothing.

    Raises:
        FileNotFoundError: if there is nothing of that name, or a folder or a repository has no such file.
        ImportError: if a repository is named and huggingface_hub is not installed.
        OSError: if a repository cannot be fetched.
    """
    if Path(name).is_dir():
        return existing_weights(Path(name))
    if Path(name).is_file() or not is_repository(str(name)):
        return weights_file(name)
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            f"{name} is not a folder here, and the hub's repositories need huggingface_hub: "
            "pip install 'unrollflow[hub]'"
        ) from error
    folder = snapshot_download(
        str(name), revision=revision, local_files_only=local_files_only, allow_patterns=list(FILES)
    )
    return existing_weights(Path(folder))


def existing_weights(folder: Path) -> Path:
    """The weights of a folder.

    Raises:
        FileNotFoundError: if there are none.
    """
    file = folder / FILES[0]
    if not file.is_file():
        raise FileNotFoundError(f"{folder} holds no {FILES[0]}; save_pretrained writes {' and '.join(FILES)}.")
    return file


def is_repository(name: str) -> bool:
    """Whether a name may be one of a hub's repositories: an owner and a name.

    >>> [is_repository(name) for name in ("owner/flow-v1.0", "small", "./small", "runs/last.ckpt")]
    [True, False, False, False]
    """
    parts = name.split("/")
    named = len(parts) == 2 and all(part and not part.startswith((".", "~")) for part in parts)
    return named and Path(name).suffix not in (".ckpt", SUFFIX)

"""Content of an offline W&B run's file, which `wandb sync` would upload (protobufs in LevelDB's log format)."""

from collections.abc import Iterator
from pathlib import Path

from wandb.proto import wandb_internal_pb2

FILE_HEADER, BLOCK, CHUNK_HEADER = 7, 32768, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[wandb_internal_pb2.Record]:
    content, position, parts = path.read_bytes(), FILE_HEADER, b""
    while position + CHUNK_HEADER <= len(content):
        left = BLOCK - position % BLOCK
        if left < CHUNK_HEADER:
            position += left
            continue
        length = int.from_bytes(content[position + 4 : position + 6], "little")
        kind = content[position + 6]
        chunk = content[position + CHUNK_HEADER : position + CHUNK_HEADER + length]
        position += CHUNK_HEADER + length
        parts = chunk if kind in (FULL, FIRST) else parts + chunk
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record


def logged_and_configured(path: Path) -> tuple[set[str], list[str]]:
    """Names of the logged values, and of the configuration's entries in the order in which they came."""
    logged: set[str] = set()
    configured: list[str] = []
    for record in records(path):
        logged |= {item.key or ".".join(item.nested_key) for item in record.history.item}
        for update in (record.config.update, record.run.config.update):
            configured += [item.key or ".".join(item.nested_key) for item in update]
    return logged, configured

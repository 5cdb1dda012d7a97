"""A slide that is not yet finished: its answers so far in one file that survives being cut off anywhere."""

import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

__all__ = ["ResumeFile", "append", "read_logits", "rows_of", "start_or_resume", "sync"]

_HEAD_BYTES, _CRC_BYTES = 32, 4


@dataclass(frozen=True)
class ResumeFile:
    """Where the logits of one slide are kept, and what they are of.

    path:    the file: 32 bytes of what it belongs to, then for each batch its float32 logits and their CRC-32
    key:     all that the answers depend on; a file with another key is started again
    tiles, classes, batch: N, C, and how many tiles a batch has; the last one has what is left
    """

    path: Path
    key: str
    tiles: int
    classes: int
    batch: int

    @property
    def batches(self) -> int:
        return -(-self.tiles // self.batch)


def rows_of(partial: ResumeFile, number: int) -> NDArray[np.int64]:
    """The rows of tiles in a batch. Batches are cut the same way wherever the work begins: so are the answers."""
    return np.arange(number * partial.batch, min((number + 1) * partial.batch, partial.tiles))


def start_or_resume(partial: ResumeFile) -> tuple[IO[bytes], int]:
    """The file open at the first batch that it does not hold whole, and that batch's number.

    Whatever stands behind the last whole batch (a write that was cut off) is removed.
    """
    head = hashlib.sha256(f"{partial.key} {partial.tiles} {partial.classes} {partial.batch}".encode()).digest()
    partial.path.parent.mkdir(parents=True, exist_ok=True)
    stream = partial.path.open("r+b" if partial.path.is_file() else "w+b")
    if stream.read(_HEAD_BYTES) != head:
        stream.seek(0)
        stream.truncate()
        stream.write(head)
        sync(stream)
        return stream, 0
    number, end = 0, _HEAD_BYTES
    for logits in _whole_batches(stream, partial):
        number, end = number + 1, end + logits.nbytes + _CRC_BYTES
    stream.seek(end)
    stream.truncate()
    return stream, number


def _whole_batches(stream: IO[bytes], partial: ResumeFile) -> Iterator[NDArray[np.float32]]:
    """The batches of a file, up to the first that is not whole."""
    stream.seek(_HEAD_BYTES)
    for number in range(partial.batches):
        rows = len(rows_of(partial, number))
        content = stream.read(rows * partial.classes * 4)
        check = stream.read(_CRC_BYTES)
        if check != zlib.crc32(content).to_bytes(_CRC_BYTES, "little"):
            return
        yield np.frombuffer(content, "<f4").reshape(rows, partial.classes)


def append(stream: IO[bytes], logits: NDArray[np.float32]) -> None:
    """Add the next batch's (B, C) logits."""
    content = logits.astype("<f4").tobytes()
    stream.write(content + zlib.crc32(content).to_bytes(_CRC_BYTES, "little"))
    stream.flush()


def sync(stream: IO[bytes]) -> None:
    """Put what was written on the disk, so that it survives a failing machine and not only a killed process."""
    stream.flush()
    os.fsync(stream.fileno())


def read_logits(partial: ResumeFile) -> NDArray[np.float32]:
    """(N, C) float32 logits of a file that holds all batches."""
    with partial.path.open("rb") as stream:
        return np.concatenate([np.empty((0, partial.classes), np.float32), *_whole_batches(stream, partial)])

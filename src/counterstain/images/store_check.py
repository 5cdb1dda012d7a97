"""Checksums of a tile store's blocks: pixels that were damaged on the disk are never trained on."""

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from counterstain.errors import InputError
from counterstain.system import usable_cores

__all__ = ["BLOCK_BYTES", "block_sums", "check_blocks"]

BLOCK_BYTES = 8 << 20
_PIECE_BYTES = 1 << 20


def block_sums(path: Path, threads: int | None = None) -> list[str]:
    """CRC-32 of each 8 MiB of a file, 8 hex digits each.

    It finds damage, which is what disks do; whoever means harm can write a fitting store.json, too. At some 3 GB/s a
    core it costs less than reading the file.
    """
    size = path.stat().st_size
    starts = range(0, size, BLOCK_BYTES)
    with ThreadPoolExecutor(threads or usable_cores(), "check") as pool:
        return list(pool.map(lambda start: _block_sum(path, start), starts))


def _block_sum(path: Path, start: int) -> str:
    total, left = 0, BLOCK_BYTES
    with path.open("rb", buffering=0) as stream:
        stream.seek(start)
        while left and (piece := stream.read(min(left, _PIECE_BYTES))):
            total = zlib.crc32(piece, total)  # without Python's lock, so that threads share the work
            left -= len(piece)
    return f"{total:08x}"


def check_blocks(path: Path, known: Sequence[str]) -> None:
    """Hold a file against the sums that were taken when it was written.

    Raises:
        InputError: If a block differs, or the file is shorter or longer; the first place is named.
    """
    try:
        found = block_sums(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); delete its folder, it is made again") from None
    if found == list(known):
        return
    bad = [k for k, pair in enumerate(zip(found, known, strict=False)) if pair[0] != pair[1]]
    where = f"block {bad[0] + 1} of {len(known)} differs" if bad else f"{len(found)} blocks instead of {len(known)}"
    raise InputError(
        f"{path} is damaged ({where} from what was written, {path.stat().st_size:,} bytes); "
        "delete its folder, it is made again"
    )

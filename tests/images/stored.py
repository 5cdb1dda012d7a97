"""What is done to the files of tile stores in several tests."""

from pathlib import Path


def flip_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)

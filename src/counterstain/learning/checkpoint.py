"""What a training must remember to resume as if never stopped: one file, checked by its hash, and the one before."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from counterstain.files import write_with

__all__ = ["Checkpoint", "digest_of", "forget", "load_checkpoint", "save_checkpoint"]


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and the record that goes with them (epoch, history, what was trained on)."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]


def _paths(folder: Path) -> tuple[Path, Path]:
    return folder / "checkpoint.safetensors", folder / "checkpoint.before.safetensors"


def digest_of(tensors: Mapping[str, Tensor], record: str = "") -> str:
    """SHA-256 of a record and of tensors by name: their shapes, types and bytes, on whichever device they are."""
    digest = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        array = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint, whole or not at all, keeping the one before it."""
    path, before = _paths(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    record = json.dumps(checkpoint.record)
    metadata = {"record": record, "sha256": digest_of(tensors, record)}
    if path.exists():
        path.replace(before)
    write_with(path, lambda temporary: save_file(tensors, temporary, metadata))


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose hash is right; None if there is none. One flipped bit is one too many."""
    for path in _paths(folder):
        if not path.exists():
            continue
        try:
            with safe_open(path, "pt") as stream:
                metadata = stream.metadata() or {}
            tensors = load_file(path)
        except (SafetensorError, OSError):
            continue
        record = metadata.get("record", "")
        if metadata.get("sha256") == digest_of(tensors, record):
            return Checkpoint(tensors, json.loads(record))
    return None


def forget(folder: Path) -> None:
    """Remove the checkpoints of a training that has ended."""
    for path in _paths(folder):
        path.unlink(missing_ok=True)

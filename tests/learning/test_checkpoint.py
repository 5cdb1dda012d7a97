"""A checkpoint is the one that was written, or it is not used."""

from pathlib import Path

import numpy as np
import pytest
import torch

from counterstain.learning.checkpoint import Checkpoint, forget, load_checkpoint, save_checkpoint


def made(value: float, epoch: int) -> Checkpoint:
    tensors = {"network.a": torch.full((4, 3), value), "adam.0.step": torch.tensor(value)}
    return Checkpoint(tensors, {"epoch": epoch, "history": {"loss": [0.1 + 0.2, value]}})


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, made(1.5, 1))
    back = load_checkpoint(tmp_path)
    assert back is not None
    assert back.record == made(1.5, 1).record
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in made(1.5, 1).tensors.items())
    forget(tmp_path)
    assert load_checkpoint(tmp_path) is None


def test_any_flipped_bit_falls_back_to_the_one_before(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, made(1.0, 1))
    save_checkpoint(tmp_path, made(2.0, 2))
    path = tmp_path / "checkpoint.safetensors"
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        bit = int(random.integers(len(whole) * 8))
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        back = load_checkpoint(tmp_path)
        assert back is not None
        # Some bytes of the header (spaces, key order) carry nothing: then the checkpoint may be the new one, whole.
        assert back.record["epoch"] in (1, 2)
        value = float(back.record["epoch"])
        assert torch.equal(back.tensors["network.a"], torch.full((4, 3), value))
        assert back.record == made(value, back.record["epoch"]).record


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 40, 200])
def test_a_cut_file_falls_back(tmp_path: Path, keep: int) -> None:
    save_checkpoint(tmp_path, made(1.0, 1))
    save_checkpoint(tmp_path, made(2.0, 2))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    back = load_checkpoint(tmp_path)
    assert back is not None
    assert back.record["epoch"] == 1

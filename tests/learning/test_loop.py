"""Training: what comes out depends on the seed and the images, on nothing else, and survives being stopped."""

import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from counterstain.cohort.cohort import Cohort
from counterstain.errors import InputError
from counterstain.images.augment import image_keys
from counterstain.images.augmentation import Augmentation
from counterstain.images.store import Store, build_store
from counterstain.learning import loader, predictor, runtimes, training_state, training_step
from counterstain.learning.config import TrainingConfig
from counterstain.learning.device import prepare_device
from counterstain.learning.loader import Examples, keep_on_device
from counterstain.learning.loop import Trained, train
from counterstain.learning.networks import TileNetwork, seen_px
from counterstain.learning.training_state import HISTORY, start_state, write_history
from counterstain.learning.training_step import take_step
from counterstain.progress import TrainingProgress

TILE_PX = 127
SETTINGS = TrainingConfig(batch=8, epochs=3, learning_rate=1e-3, precision="fp32", threads=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """24 tiles of two classes: dark and bright noise."""
    return write_store(tmp_path_factory.mktemp("tiles"), TILE_PX)


def write_store(folder: Path, tile_px: int) -> Store:
    random = np.random.default_rng(0)
    rows = []
    for number in range(24):
        pixels = random.integers(0, 120, (32, 32, 3)) + 120 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).resize((tile_px, tile_px)).save(folder / f"{number}.png")
        rows.append({"image_path": f"{number}.png", "label": "ab"[number % 2]})
    table = pd.DataFrame(rows, dtype=object)
    for name in ("patient_id", "slide_id", "site", "split"):
        table[name] = pd.Series([""] * 24, dtype=object)
    for name in ("mpp", "x", "y"):
        table[name] = np.nan
    cohort = Cohort(table, ("a", "b"), folder, positive="b")
    return build_store(cohort, folder / "store", tile_px=tile_px, fit="exact")


def part(store: Store, start: int, stop: int) -> Examples:
    names = store.image[start:stop]
    return Examples(np.arange(start, stop), np.arange(start, stop) % 2, image_keys(names))


def run(store: Store, folder: Path, settings: TrainingConfig = SETTINGS, *, seed: int = 0, **more: object) -> Trained:
    return train(
        store,
        part(store, 0, 16),
        part(store, 16, 24),
        classes=2,
        settings=settings,
        augmentation=more.pop("augmentation", Augmentation()),  # type: ignore[arg-type]
        seed=seed,
        folder=folder,
        **more,  # type: ignore[arg-type]
    )


def in_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks and tiles in double precision, so that only rounding of 1e-16 is left between two ways of one sum."""
    start, tensor = training_state.start_network, training_step.to_tensor

    def start_in_double(*arguments: Any, **options: Any) -> tuple[torch.nn.Module, dict[str, str]]:
        network, source = start(*arguments, **options)
        return network.double(), source

    monkeypatch.setattr(training_state, "start_network", start_in_double)
    for module in (training_step, predictor, runtimes):
        monkeypatch.setattr(module, "to_tensor", lambda *given, **options: tensor(*given, **options).double())


def weights(trained: Trained) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in trained.network.state_dict().values())


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(store: Store, tmp_path: Path) -> None:
    first, again, other = run(store, tmp_path / "a"), run(store, tmp_path / "b"), run(store, tmp_path / "c", seed=1)
    assert weights(first) == weights(again)
    assert first.history == again.history
    assert weights(first) != weights(other)


@pytest.mark.parametrize("stop_at", [(1, 1), (2, 1), (2, 2), (3, 1)])
def test_a_stopped_training_ends_in_the_same_bytes(store: Store, tmp_path: Path, stop_at: tuple[int, int]) -> None:
    """Stopped in the middle of an epoch (after its first step), or at its end."""
    whole = run(store, tmp_path / "whole")
    calls: list[int] = []

    def stop(progress: TrainingProgress) -> None:
        calls.append(progress.epoch)
        if progress.epoch == stop_at[0] and calls.count(progress.epoch) == stop_at[1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, tmp_path / "stopped", progress=stop)
    resumed = run(store, tmp_path / "stopped")
    assert weights(resumed) == weights(whole)
    assert resumed.history == whole.history
    assert resumed.best_epoch == whole.best_epoch


def test_pieces_of_a_batch_make_the_same_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of pieces, summed, are the gradient of the batch (dropout is off here: it draws piece by piece).

    In double precision only rounding of 1e-16 is between them; in fp32 it would hang on the processor's order of sums.
    """
    in_double(monkeypatch)
    gradients = []
    machine = prepare_device(device="cpu", precision="fp32", threads=1)
    for micro_batch in (16, 5):
        settings = replace(SETTINGS, batch=16, micro_batch=micro_batch)
        state = start_state(settings, machine, classes=2, tile_px=TILE_PX, seed=0)
        state.network.eval()
        loss, right = take_step(state, np.array(store.tiles[:16]), np.arange(16) % 2, settings, machine)
        gradients.append([parameter.grad for parameter in state.network.parameters()])
        assert float(loss) == pytest.approx(16 * 0.69, rel=0.1)
        assert 0 <= int(right) <= 16
    for whole, pieces in zip(*gradients, strict=True):
        assert whole is not None and whole.dtype == torch.float64 and bool(whole.any())
        torch.testing.assert_close(whole, pieces, rtol=0, atol=1e-12)


def test_early_stopping_restores_the_best_weights(store: Store, tmp_path: Path) -> None:
    """Training on flipped labels makes validation worse and worse, so the first epochs are the best."""
    wrong = part(store, 0, 16)
    wrong = replace(wrong, label=1 - wrong.label)
    settings = replace(SETTINGS, epochs=30, patience=2, learning_rate=3e-3)
    trained = train(
        store,
        wrong,
        part(store, 16, 24),
        classes=2,
        settings=settings,
        augmentation=Augmentation(mode="none"),
        seed=0,
        folder=tmp_path,
    )
    losses = trained.history["val_loss"]
    assert trained.last_epoch < 30
    assert trained.best_epoch == int(np.argmin(losses)) + 1
    assert trained.last_epoch - trained.best_epoch == 2
    inputs = torch.from_numpy(np.array(store.tiles[16:24])).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        logits = trained.network(inputs)
    loss = torch.nn.functional.cross_entropy(logits.double(), torch.arange(16, 24) % 2)
    assert float(loss) == pytest.approx(min(losses), abs=1e-5)


@pytest.mark.parametrize("mode", ["on_the_fly", "expand", "none"])
def test_what_the_network_does_not_see_of_a_tile_is_neither_made_nor_missed(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In double precision: Adam makes rounding as large as a step where a gradient is nearly 0."""
    in_double(monkeypatch)
    wide = write_store(tmp_path, 225)
    assert seen_px(225) == 188
    shapes: list[tuple[int, ...]] = []
    plain = TileNetwork.forward
    monkeypatch.setattr(
        TileNetwork, "forward", lambda self, tiles, masks=None: shapes.append(tiles.shape) or plain(self, tiles, masks)
    )
    found = []
    for whole, side in ((True, 225), (False, 188)):
        monkeypatch.setattr(TileNetwork, "whole", whole)
        augmentation = Augmentation(mode=mode, quarter_turns=True)
        trained = run(wide, tmp_path / str(whole), replace(SETTINGS, epochs=2), augmentation=augmentation)
        found.append((trained.history, dict(trained.network.named_parameters())))
        assert shapes and {shape[2:] for shape in shapes} == {(side, side)}
        shapes.clear()
    (history, weight), (own_history, own_weight) = found
    torch.testing.assert_close(own_weight, weight, rtol=0, atol=1e-12)
    torch.testing.assert_close(own_history, history, rtol=0, atol=1e-6)  # losses are worked out in fp32


def test_it_learns_what_is_easy(store: Store, tmp_path: Path) -> None:
    trained = run(store, tmp_path, replace(SETTINGS, epochs=12))
    assert trained.history["val_accuracy"][-1] == 1.0
    assert trained.history["loss"][-1] < trained.history["loss"][0]


def test_expanding_sees_every_image_once_per_transformation(store: Store, tmp_path: Path) -> None:
    seen: list[int] = []
    augmentation = Augmentation(mode="expand")
    run(
        store,
        tmp_path,
        replace(SETTINGS, epochs=1),
        augmentation=augmentation,
        progress=lambda progress: seen.append(progress.images),
    )
    assert set(seen) == {16 * (1 + len(augmentation.transformations()))}


def test_a_checkpoint_of_another_training_is_refused(store: Store, tmp_path: Path) -> None:
    def stop(progress: TrainingProgress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, tmp_path, progress=stop)
    with pytest.raises(InputError, match="another training \\(its settings differ\\)"):
        run(store, tmp_path, replace(SETTINGS, learning_rate=1e-4))


def test_a_loss_that_is_no_number_stops(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the loss is nan"):
        run(store, tmp_path, replace(SETTINGS, learning_rate=1e30, epochs=5))


def test_weights_that_ran_away_in_the_last_step_are_said(store: Store, tmp_path: Path) -> None:
    """One step per epoch: its loss is that of the first weights, and only the validation sees the ruined ones."""
    with pytest.raises(InputError, match=r"validation loss is \S+ after epoch 1; .*learning rate below 1e\+30"):
        run(store, tmp_path, replace(SETTINGS, learning_rate=1e30, batch=64))


def test_an_empty_part_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 validation images"):
        train(
            store,
            part(store, 0, 16),
            part(store, 0, 0),
            classes=2,
            settings=SETTINGS,
            augmentation=Augmentation(),
            seed=0,
            folder=tmp_path,
        )


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"epochs": 0}, {"learning_rate": 0.0}, {"epsilon": float("inf")}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        TrainingConfig(**wrong)  # type: ignore[arg-type]


def test_the_history_has_keras_keys(tmp_path: Path) -> None:
    history = {name: [0.5, 0.25] for name in HISTORY}
    write_history(tmp_path, history)
    assert pickle.loads((tmp_path / "history.pickle").read_bytes()) == history
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,accuracy,val_loss,val_accuracy"
    assert lines[2] == "2,0.25,0.25,0.25,0.25"


@pytest.mark.parametrize("mode", ["on_the_fly", "expand"])
@pytest.mark.parametrize("room", [0, 1 << 30])
def test_the_gpu_s_way_trains_the_same_network(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, room: int
) -> None:
    """The GPU's branch of the loop, carried out here: the same bytes where augmentation is exact, kept or not."""
    exact = Augmentation(mode=mode, quarter_turns=True, rotation_deg=0, translation=0, shear_deg=0)
    wanted = run(store, tmp_path / "cpu", replace(SETTINGS, epochs=1), augmentation=exact)
    kept: list[bool] = []

    def keep_here(store: Store, rows: Any, device: object, *, room: int) -> Any:
        made = keep_on_device(store, rows, torch.device("cpu"), room=room)
        kept.append(made is not None)
        return made

    monkeypatch.setattr(loader, "_numbered_device", lambda machine: SimpleNamespace(type="elsewhere"))
    monkeypatch.setattr(loader, "room_on", lambda device: room)
    monkeypatch.setattr(loader, "keep_on_device", keep_here)
    made = run(store, tmp_path / "gpu", replace(SETTINGS, epochs=1), augmentation=exact)
    assert kept == [room > 0]
    assert weights(made) == weights(wanted) and made.history == wanted.history

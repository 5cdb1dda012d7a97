"""Probes: fitted on features, chosen by validation loss, and the same on the backbone as alone; features kept once."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from counterstain.cohort.cohort import Cohort
from counterstain.errors import InputError
from counterstain.images.store import Store, build_store
from counterstain.learning import features as room
from counterstain.learning.appearance import LOOKS
from counterstain.learning.backbones import build_backbone
from counterstain.learning.build import last_layer
from counterstain.learning.features import Features, cached_features, read_features, write_features
from counterstain.learning.heads import build_head
from counterstain.learning.networks import build_network
from counterstain.learning.probes import STRENGTHS, fit_probe
from counterstain.learning.stain_pipeline import UNSTAINED
from counterstain.learning.unfamiliar import listening

Rows = NDArray[np.float32]


def cloud(count: int, *, classes: int = 2, width: int = 12, seed: int = 0) -> tuple[Rows, NDArray[np.int64]]:
    """Features of very different spread, the classes' means apart in a few of them."""
    random = np.random.default_rng(seed)
    label = random.integers(0, classes, count)
    spread = np.logspace(-2, 2, width)
    rows = random.normal(0, 1, (count, width)) * spread + 50
    rows[:, :3] += 0.8 * label[:, None] * spread[:3]
    return rows.astype(np.float32), label


def logits(head: torch.nn.Module, rows: Rows) -> NDArray[np.float32]:
    with torch.inference_mode():
        found: NDArray[np.float32] = head(torch.from_numpy(rows)).numpy()
    return found


@pytest.mark.parametrize("classes", [2, 3])
def test_the_logistic_probe_is_scikit_learns_on_standardised_features(classes: int) -> None:
    rows, label = cloud(400, classes=classes)
    val_rows, val_label = cloud(300, classes=classes, seed=1)
    probe = fit_probe("logistic", rows, label, val_rows, val_label, classes=classes, seed=0)
    taken = next(name for name, _ in probe.tried if name.endswith("(taken)"))
    strength = STRENGTHS[[name for name, _ in probe.tried].index(taken)]
    centre, spread = rows.mean(0), rows.std(0)
    reference = LogisticRegression(C=strength, max_iter=2000, tol=1e-8).fit((rows - centre) / spread, label)
    expected = reference.predict_proba((val_rows - centre) / spread)
    found = torch.softmax(torch.from_numpy(logits(probe.head, val_rows)), 1).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_the_strongest_penalty_within_one_standard_error_is_taken() -> None:
    rows, label = cloud(400)
    val_rows, val_label = cloud(300, seed=1)
    probe = fit_probe("logistic", rows, label, val_rows, val_label, classes=2, seed=0)
    losses = np.array([loss for _, loss in probe.tried])
    taken = next(number for number, (name, _) in enumerate(probe.tried) if name.endswith("(taken)"))
    assert taken <= losses.argmin()
    assert losses[taken] >= losses.min()
    assert taken == 0 or losses[taken - 1] > losses[taken]


def test_neighbours_vote_as_scikit_learns() -> None:
    rows, label = cloud(200, classes=3)
    val_rows, val_label = cloud(100, classes=3, seed=2)
    probe = fit_probe("knn", rows, label, val_rows, val_label, classes=3, seed=0)
    count = probe.layout["neighbours"]
    centre = rows.mean(0)

    def weigh(distances: Any) -> Any:
        return np.exp(-distances / 0.07)

    reference = KNeighborsClassifier(count, metric="cosine", weights=weigh).fit(rows - centre, label)
    share = np.exp(logits(probe.head, val_rows).astype(np.float64))
    share /= share.sum(1, keepdims=True)
    np.testing.assert_allclose(share, reference.predict_proba(val_rows - centre), atol=0.2)  # one vote of doubt more
    assert (share > 0).all()
    assert (share.argmax(1) == reference.predict(val_rows - centre)).mean() > 0.97


def test_the_small_network_learns_what_no_line_can_tell() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(0, 1, (1600, 4)).astype(np.float32)
    label = (rows[:, 0] * rows[:, 1] > 0).astype(np.int64)
    halves = (rows[:1000], label[:1000], rows[1000:], label[1000:])
    line = fit_probe("logistic", *halves, classes=2, seed=0)
    small = fit_probe("mlp", *halves, classes=2, seed=0)
    again = fit_probe("mlp", *halves, classes=2, seed=0)
    right = [(logits(one.head, rows[1000:]).argmax(1) == label[1000:]).mean() for one in (line, small)]
    assert right[0] < 0.65 and right[1] > 0.9
    np.testing.assert_array_equal(logits(small.head, rows), logits(again.head, rows))


@pytest.mark.parametrize("kind", ["logistic", "mlp", "knn"])
def test_a_head_is_built_again_from_its_layout(kind: str) -> None:
    rows, label = cloud(120)
    probe = fit_probe(kind, rows, label, *cloud(60, seed=3), classes=2, seed=0)
    head = build_head(probe.layout, width=rows.shape[1], classes=2).eval()
    head.load_state_dict(probe.head.state_dict())
    np.testing.assert_allclose(logits(head, rows), logits(probe.head.eval(), rows), atol=1e-6)


def test_a_class_without_images_is_refused() -> None:
    rows, _ = cloud(20)
    with pytest.raises(InputError, match="all 2 classes"):
        fit_probe("logistic", rows, np.zeros(20, np.int64), *cloud(20), classes=2, seed=0)


def test_features_go_through_a_file_and_other_tools_files_are_read(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    coords = np.arange(10).reshape(5, 2)
    write_features(tmp_path / "ours.h5", Features(rows, coords, {"patch_size": 256}))
    found = read_features(tmp_path / "ours.h5")
    np.testing.assert_array_equal(found.features, rows)
    np.testing.assert_array_equal(found.coords, coords)
    assert found.attributes["patch_size"] == 256
    with h5py.File(tmp_path / "batched.h5", "w") as file:  # a batch of one in front, half precision
        file["features"] = rows[None].astype(np.float16)
        file["coords"] = coords
    assert read_features(tmp_path / "batched.h5").features.shape == (5, 7)
    with h5py.File(tmp_path / "short.h5", "w") as file:
        file["features"], file["coords"] = rows, coords[:3]
    with pytest.raises(InputError, match="5 rows of features for 3 coordinates"):
        read_features(tmp_path / "short.h5")
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["features"], file["coords"] = rows, np.arange(9)
    with pytest.raises(InputError, match=r"coords are of shape \(9,\)"):
        read_features(tmp_path / "odd.h5")
    (tmp_path / "none.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        read_features(tmp_path / "none.h5")


def test_features_are_those_of_the_file_itself_and_no_bomb(tmp_path: Path) -> None:
    """Links lead into other files; a shape of terabytes takes no byte on the disk until it is read."""
    rows = np.ones((5, 7), np.float32)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["features"] = file["secret"] = rows

    def linked(file: h5py.File) -> None:
        file["features"] = h5py.ExternalLink("other.h5", "/secret")

    def soft(file: h5py.File) -> None:
        file["features"] = h5py.SoftLink("/nowhere")

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(shape=rows.shape, dtype="f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", shape=rows.shape)
        file.create_virtual_dataset("features", layout)

    def outside(file: h5py.File) -> None:
        (tmp_path / "raw").write_bytes(rows.tobytes())
        file.create_dataset("features", rows.shape, "f4", external=[(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)])

    def coords(file: h5py.File) -> None:
        file["features"] = rows
        file["coords"] = h5py.ExternalLink("other.h5", "/secret")

    def huge(file: h5py.File) -> None:
        file.create_dataset("features", (10**7, 10**5), "f4", chunks=(64, 64), compression="gzip")

    def words(file: h5py.File) -> None:
        file["features"] = np.array([[b"a", b"b"]])

    said = {linked: "a link", soft: "a link", virtual: "a link", outside: "another file", coords: "'coords' is a link",
            huge: "takes 3,725 GiB", words: "numbers were needed"}  # fmt: skip
    for make, expected in said.items():
        path = tmp_path / f"{make.__name__}.h5"
        with h5py.File(path, "w") as file:
            make(file)
        with pytest.raises(InputError, match=expected) as refused:
            read_features(path)
        assert path.name in str(refused.value) and "\n" not in str(refused.value)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    random = np.random.default_rng(0)
    rows = []
    for number in range(12):
        Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        rows.append({"image_path": f"{number}.png", "label": "ab"[number % 2], "patient_id": f"P{number}"})
    table = pd.DataFrame(rows).assign(slide_id="", site="", mpp=np.nan, x=np.nan, y=np.nan, split="")
    return build_store(Cohort(table, ("a", "b"), tmp_path, "b"), tmp_path / "store", tile_px=64, fit="exact")


def test_kept_features_are_not_worked_out_again(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_backbone("timm/resnet18", classes=2, tile_px=64, seed=0).eval()
    options: dict[str, Any] = {"model": {"network": "r"}, "fit": "exact", "staining": UNSTAINED, "scale": "imagenet"}
    rows = np.arange(12)
    worked: list[int] = []
    compute = room.compute_features

    def counted(network: Any, tiles: Any, **settings: Any) -> Any:
        worked.append(len(tiles))
        return compute(network, tiles, **settings)

    monkeypatch.setattr(room, "compute_features", counted)
    some = cached_features(network, store, rows[3:7], tmp_path / "kept", **options)
    whole = cached_features(network, store, rows, tmp_path / "kept", **options)
    again = cached_features(network, store, rows[::-1].copy(), tmp_path / "kept", **options)
    assert worked == [4, 8]
    np.testing.assert_allclose(whole[3:7], some)
    np.testing.assert_array_equal(again, whole[::-1])
    other = cached_features(network, store, rows, tmp_path / "kept", **(options | {"scale": "-1..1"}))
    assert worked == [4, 8, 12] and not np.allclose(other, whole)
    kept = sorted((tmp_path / "kept").glob("*.h5"))
    assert len(kept) == 2 and read_features(kept[0]).features.shape == (12, 512)


def test_levels_and_views_are_what_they_say() -> None:
    network = build_backbone("timm/resnet18", classes=2, tile_px=64, seed=0, levels=True).eval()
    tiles = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        found = network.features(tiles)
        last = network.body(tiles)
        maps = network.body.forward_intermediates(tiles, output_fmt="NCHW", intermediates_only=True)  # type: ignore[operator]
        torch.testing.assert_close(found[:, :512], last)
        torch.testing.assert_close(found[:, 512:576], maps[0].mean((2, 3)))
        torch.testing.assert_close(found[:, 576:640], maps[0].amax((2, 3)))
        network.views = 8  # over all symmetries, features no longer know which way up a tile is
        turned = torch.flip(torch.rot90(tiles, 1, (2, 3)), (3,))
        torch.testing.assert_close(network.features(tiles), network.features(turned), atol=1e-4, rtol=1e-4)
        network.views = 2
        both = (found + network._one_view(torch.flip(tiles, (3,)))) / 2
        torch.testing.assert_close(network.features(tiles), both)
        network.train()
        for module in network.modules():  # what differs in training is then the views alone
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        torch.testing.assert_close(network.features(tiles), found)


def test_answers_from_kept_features_are_not_heard_as_tiles() -> None:
    """A probe's last layer sees features alone; beside tiles that the network saw before, they have no appearance."""
    network = build_network("given", classes=2, tile_px=127, seed=0).eval()
    layer = last_layer(network)
    with listening(network) as heard, torch.inference_mode():
        layer(torch.zeros(600, layer.in_features))
        assert heard == []
        network(torch.zeros(3, 3, 127, 127))
        layer(torch.zeros(600, layer.in_features))
    assert [batch.shape for batch in heard] == [(3, layer.in_features + LOOKS)]

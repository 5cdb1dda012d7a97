"""Normalisation: what torchstain makes, but for blank tiles; nearer after than before; a recipe that survives JSON."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from stain_tensors import apply_recipe_tensor
from torchstain.numpy.normalizers import NumpyMacenkoNormalizer, NumpyReinhardNormalizer
from torchstain.torch.normalizers import TorchMacenkoNormalizer, TorchReinhardNormalizer

from counterstain.errors import InputError
from counterstain.images.stain import METHODS, StainRecipe, apply_recipe, fit_recipe

Tiles = NDArray[np.uint8]
RECIPE = StainRecipe(method="reinhard", mean=(60.0, 20.0, -12.0), spread=(15.0, 8.0, 5.0))


def torchstain(method: str, reference: Tiles, tiles: Tiles, *, by_torch: bool) -> NDArray[np.float64]:
    """The tiles as the library makes them; truncated to whole grey levels, where ours are rounded."""
    if by_torch:
        normaliser = {"macenko": TorchMacenkoNormalizer, "reinhard": TorchReinhardNormalizer}[method]()
    else:
        normaliser = {"macenko": NumpyMacenkoNormalizer, "reinhard": NumpyReinhardNormalizer}[method]()

    def given_as(tile: Tiles) -> Any:
        return torch.from_numpy(tile.transpose(2, 0, 1).copy()) if by_torch else tile

    normaliser.fit(given_as(reference))
    made = [normaliser.normalize(given_as(tile)) for tile in tiles]
    return np.stack([np.asarray(one[0] if isinstance(one, tuple) else one) for one in made]).astype(np.float64)


def mean_apart(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """(B,) mean absolute difference of each tile, on the scale of 0 to 1."""
    apart: NDArray[np.float64] = np.abs(one.astype(np.float64) - other).mean(axis=(1, 2, 3)) / 255
    return apart


@pytest.mark.parametrize("by_torch", [True, False], ids=["torch", "numpy"])
@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_phantoms_come_out_as_torchstain_makes_them(method: str, by_torch: bool, made: Any) -> None:
    tiles = made.phantoms(4, 257)
    ours, blank = apply_recipe(tiles[1:], fit_recipe(tiles[:1], method=method))
    assert not blank.any()
    apart = mean_apart(ours, torchstain(method, tiles[0], tiles[1:], by_torch=by_torch))
    assert apart.max() < 1e-2 and apart.mean() < 4e-3
    assert mean_apart(ours, tiles[1:]).min() > 2e-2  # they are brought some way


@pytest.mark.realdata
@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_real_tiles_come_out_as_torchstain_makes_them(method: str, real_data: Path) -> None:
    """60 tiles of PCam, to one of them; those that we pass through, torchstain is not asked about."""
    table = pd.read_csv(real_data / "pcam" / "manifest.csv")
    paths = [real_data / "pcam" / name for name in table["path"][table["split"] == "valid"][::50]]
    tiles = np.stack([cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths])
    assert len(tiles) == 60
    recipe = fit_recipe(tiles[:1], method=method)
    ours, blank = apply_recipe(tiles, recipe)
    assert blank.sum() < 4 and np.array_equal(ours[blank], tiles[blank])
    apart = mean_apart(ours[~blank], torchstain(method, tiles[0], tiles[~blank], by_torch=True))
    assert apart.max() < 1e-2 and apart.mean() < 4e-3
    by_torch, blank_too = apply_recipe_tensor(torch.from_numpy(tiles), recipe)
    levels = np.abs(by_torch.numpy().astype(np.int64) - ours)
    assert (levels > 1).mean() < 1e-4 and np.array_equal(blank_too.numpy(), blank)


@pytest.mark.parametrize("method", METHODS)
def test_two_stainings_of_one_tissue_come_nearer(method: str, made: Any) -> None:
    """The same tissue under vectors 10° and more apart and other strengths, brought to a third staining."""
    pink, violet = made.PINK, made.VIOLET
    warm, cold = np.stack([violet * (1, 1.1, 0.7), pink * (1, 1, 0.75)]), np.stack([violet * (1.2, 0.9, 1), pink])
    strengths = ((1.3, 1.1), (2.0, 0.7), (1.6, 0.9))
    one, other, reference = (
        made.mixed_tile(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), strength=strength)
        for vectors, strength in zip((warm, cold, np.stack([violet, pink])), strengths, strict=True)
    )
    made_alike, blank = apply_recipe(np.stack([one, other]), fit_recipe(reference[None], method=method))
    before = np.abs(one.astype(float) - other).mean()
    after = np.abs(made_alike[0].astype(float) - made_alike[1]).mean()
    to_reference = np.abs(made_alike.astype(float) - reference).mean()
    # Reinhard's moves the colours as a whole, whatever each stain does, and comes only a little nearer.
    most = before * (0.95 if method == "reinhard" else 0.5)
    assert not blank.any() and after < most and to_reference < most


@pytest.mark.parametrize("method", METHODS)
def test_a_tile_brought_to_itself_hardly_changes(method: str, made: Any) -> None:
    """Reinhard's keeps every byte; the other two keep what lies in the plane of two stains, and lose the rest."""
    tiles = made.mixed_tile(np.stack([made.VIOLET, made.PINK]))[None]
    ours, _ = apply_recipe(tiles, fit_recipe(tiles, method=method))
    apart = np.abs(ours.astype(int) - tiles)
    assert apart.max() <= (0 if method == "reinhard" else 3) and apart.mean() < 0.7


@pytest.mark.parametrize("method", METHODS)
def test_awkward_tiles_pass_through_and_are_told(method: str, made: Any) -> None:
    awkward = np.stack(list(made.awkward_tiles(64).values()))
    tiles = np.concatenate([awkward, made.phantoms(2, 64)])
    recipe = fit_recipe(tiles, method=method)
    assert (recipe.tiles, recipe.blank) == (2, len(awkward))
    for ours, blank in (
        apply_recipe(tiles, recipe),
        tuple(one.numpy() for one in apply_recipe_tensor(torch.from_numpy(tiles), recipe)),
    ):
        assert blank.tolist() == [True] * len(awkward) + [False] * 2
        assert np.array_equal(ours[blank], awkward) and not np.array_equal(ours[~blank], tiles[~blank])


@pytest.mark.parametrize("method", METHODS)
@given(tiles=arrays(np.uint8, st.tuples(st.integers(0, 3), st.integers(1, 17), st.just(16), st.just(3))))
@few(max_examples=20)
def test_no_tile_breaks_it(method: str, tiles: Tiles) -> None:
    recipe = RECIPE if method == "reinhard" else StainRecipe(
        method=method, vectors=((0.65, 0.70, 0.29), (0.07, 0.99, 0.11)), strength=(1.9, 1.0)
    )  # fmt: skip
    before = tiles.copy()
    ours, blank = apply_recipe(tiles, recipe)
    assert ours.shape == tiles.shape and ours.dtype == np.uint8 and blank.shape == (len(tiles),)
    assert np.array_equal(ours[blank], tiles[blank]) and np.array_equal(tiles, before)
    by_torch, blank_too = apply_recipe_tensor(torch.from_numpy(tiles), recipe)
    assert np.array_equal(blank_too.numpy(), blank)
    # Noise is out of every range, where the tables are cut off; tissue is held to one level above.
    assert (np.abs(by_torch.numpy().astype(int) - ours) > 1).mean() < 0.02 if tiles.size else True


@pytest.mark.parametrize("method", METHODS)
def test_the_rest_of_the_batch_does_not_matter(method: str, made: Any) -> None:
    tiles = np.concatenate([made.phantoms(5, 64), np.stack(list(made.awkward_tiles(64).values()))])
    recipe = fit_recipe(tiles, method=method)
    together, blank = apply_recipe(tiles, recipe)
    shared, blank_shared = apply_recipe(tiles, recipe, threads=3)
    alone = [apply_recipe(tiles[i : i + 1], recipe) for i in range(len(tiles))]
    assert np.array_equal(shared, together) and np.array_equal(blank_shared, blank)
    assert np.array_equal(np.concatenate([one for one, _ in alone]), together)
    order = np.random.default_rng(0).permutation(len(tiles))
    assert np.array_equal(apply_recipe(tiles[order], recipe)[0], together[order])


@pytest.mark.parametrize("method", METHODS)
def test_tiles_of_a_store_are_read_only(method: str, made: Any) -> None:
    tiles = made.phantoms(2, 64)
    tiles.flags.writeable = False
    recipe = fit_recipe(tiles, method=method)
    assert apply_recipe(tiles, recipe)[0].flags.writeable


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_of_many_is_their_median(method: str, made: Any) -> None:
    """Of three tiles each number lies between the others'; blank ones have no say."""
    tiles = made.phantoms(3, 64)
    alone = [fit_recipe(tile[None], method=method) for tile in tiles]
    many = fit_recipe(np.concatenate([tiles, np.full((1, 64, 64, 3), 250, np.uint8)]), method=method)
    names = ("mean", "spread") if method == "reinhard" else ("strength",)
    for name in names:
        wanted = np.median([getattr(one, name) for one in alone], axis=0)
        assert np.allclose(getattr(many, name), wanted, rtol=1e-6)
    if method != "reinhard":
        wanted = np.median([one.vectors for one in alone], axis=0)
        assert np.allclose(many.vectors, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-6)
    assert (many.tiles, many.blank) == (3, 1)


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_survives_json(method: str, made: Any) -> None:
    recipe = fit_recipe(made.phantoms(2, 64), method=method)
    again = StainRecipe.from_record(json.loads(json.dumps(recipe.record())))
    assert again == recipe and hash(again) == hash(recipe)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "counterstain.stain-recipe/0"}, "has schema"),
        ({"method": "macenco"}, "did you mean 'macenko'"),
        ({"mean": [1.0, 2.0]}, "needs 3 numbers"),
        ({"mean": [1.0, 2.0, "x"]}, "damaged"),
        ({"mean": None}, "damaged"),
        ({"mean": [1.0, 2.0, float("nan")]}, "needs 3 numbers"),
        ({"spread": [1.0, 0.0, 1.0]}, "must be above 0"),
        ({"strength": [1.0, 1.0]}, "has no strength"),
        ({"means": [1.0]}, "did you mean 'mean'"),
        ({"vectors": [[1.0, 2.0]]}, "damaged"),
    ],
)
def test_a_damaged_record_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        StainRecipe.from_record(RECIPE.record() | change)


def test_a_record_without_its_numbers_is_refused() -> None:
    with pytest.raises(InputError, match="damaged"):
        StainRecipe.from_record({"schema": RECIPE.record()["schema"]})


def test_what_cannot_be_fitted_is_said(made: Any) -> None:
    with pytest.raises(InputError, match="all 2 tiles are blank"):
        fit_recipe(np.full((2, 32, 32, 3), 245, np.uint8), method="macenko")
    with pytest.raises(InputError, match="all 0 tiles"):
        fit_recipe(np.zeros((0, 32, 32, 3), np.uint8), method="reinhard")
    with pytest.raises(InputError, match="did you mean 'vahadane'"):
        fit_recipe(made.phantoms(2, 64), method="vahadan")
    with pytest.raises(ValueError, match="uint8"):
        apply_recipe(np.zeros((1, 16, 16, 3), np.float32), RECIPE)  # type: ignore[arg-type]

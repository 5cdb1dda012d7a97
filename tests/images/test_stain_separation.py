"""Stains are found where they are known, told apart and put together again; never a number out of nothing."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.decomposition import DictionaryLearning
from sklearn.exceptions import ConvergenceWarning
from stain_tensors import combine

from counterstain.errors import InputError
from counterstain.images import stain_separation
from counterstain.images.stain_separation import SEPARATIONS, find_stains, inverse, sample_pixels, separate
from counterstain.images.stain_space import RUIFROK, optical_density
from counterstain.phantom import tiles as phantom
from counterstain.phantom.optics import Scanner

Tiles = NDArray[np.uint8]


def torch_tiles(*tiles: Tiles) -> torch.Tensor:
    return torch.from_numpy(np.stack(tiles))


def random_vectors(seed: int, made: Any) -> NDArray[np.float64]:
    """Haematoxylin and eosin, turned by some degrees."""
    vectors = np.stack([made.VIOLET, made.PINK]) * np.exp(np.random.default_rng(seed).normal(0, 0.08, (2, 3)))
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize("method", ["macenko", "vahadane"])
def test_known_stains_are_found(method: str, made: Any) -> None:
    """Tiles made by Beer and Lambert of two known vectors, with pixels of one stain alone."""
    vectors = [random_vectors(seed, made) for seed in range(6)]
    found = find_stains(sample_pixels(torch_tiles(*map(made.mixed_tile, vectors))), method)
    assert not found.blank.any()
    angles = made.degrees(found.vectors.double().numpy(), np.stack(vectors))
    # Sparse learning gives some of the pink of the nuclei to their own vector: λ weighs on every amount.
    assert angles.max() < (1.5 if method == "macenko" else 4)
    # 99th percentile of the amounts that were drawn: gamma of mean 1.6 and 0.9, shape 20.
    assert np.abs(found.strength.numpy() / np.array([2.4, 1.4]) - 1).max() < 0.2


def test_stains_of_phantoms_are_those_of_the_patient(monkeypatch: pytest.MonkeyPatch, made: Any) -> None:
    """Tissue drawn by rule under a scanner that changes no colour: the patient's own vectors are the truth.

    Haematoxylin is found to a few degrees. Red cells are a third stain that Macenko's and Vahadane's models don't have:
    where there are many, eosin turns towards them.
    """
    neutral = Scanner(np.eye(3), np.full(3, 239 / 255), 1.0, 0.36, 0.0, 0.0, 100)
    monkeypatch.setattr(phantom, "draw_scanner", lambda rng: neutral)
    phantom.draw_patient.cache_clear()
    drawn = phantom.Phantom(patients=12, tile_px=128, seed=77)
    truth = np.stack([phantom.draw_patient(drawn, patient).staining.vectors[:2] for patient in range(12)])
    pixels = sample_pixels(np.stack([phantom.draw_tile(drawn, patient, 0).pixels for patient in range(12)]))
    phantom.draw_patient.cache_clear()
    for method, most in (("macenko", 5), ("vahadane", 8)):
        found = find_stains(pixels, method)
        angles = made.degrees(found.vectors.double().numpy(), truth)
        assert not found.blank.any() and angles[:, 0].max() < most and np.median(angles[:, 0]) < 3.5
        assert np.median(angles[:, 1]) < 8


def test_macenko_is_that_of_double_precision(made: Any) -> None:
    """Its steps, one by one, in numpy: covariance, plane, extreme angles, least squares, 99th percentile."""
    tile = made.phantoms(2, 96)[1]
    density = -np.log((tile.reshape(-1, 3) + 1.0) / 240)
    tissue = density[(density >= 0.15).all(axis=1)]
    plane = np.linalg.eigh(np.cov(tissue.T))[1][:, 1:]
    plane *= np.sign(plane.sum(axis=0))
    flat = tissue @ plane
    angle = np.sort(np.arctan2(flat[:, 1], flat[:, 0]))
    ends = [angle[round(share * (len(angle) - 1))] for share in (0.01, 0.99)]
    vectors = np.stack([plane @ (np.cos(end), np.sin(end)) for end in ends])
    vectors = vectors[np.argsort(-vectors[:, 0])]
    amounts = np.sort(np.linalg.lstsq(vectors.T, density.T, rcond=None)[0], axis=1)
    found = find_stains(sample_pixels(tile[None]), "macenko")
    assert made.degrees(found.vectors[0].double().numpy(), vectors).max() < 0.1
    assert np.abs(found.strength[0].numpy() / amounts[:, round(0.99 * (len(density) - 1))] - 1).max() < 0.01


def test_vahadane_finds_the_optimum_of_another_program(made: Any) -> None:
    """The same objective, minimised by scikit-learn's dictionary learning from a random start."""
    pixels = sample_pixels(made.phantoms(2, 64))
    density = optical_density(pixels)
    tissue = stain_separation.tissue_pixels(pixels)
    seen: list[torch.Tensor] = []
    amounts_of = stain_separation._sparse_amounts

    def spy(some: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        seen.append(some)
        return amounts_of(some, vectors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stain_separation, "_sparse_amounts", spy)
        patch.setattr(stain_separation, "_LEARNED", 200)
        ours = stain_separation._vahadane(density, tissue, stain_separation._macenko(density, tissue))
    for learned, vectors in zip(seen[0], ours, strict=True):
        model = DictionaryLearning(
            2, alpha=0.1, max_iter=60, tol=1e-9, fit_algorithm="cd", transform_algorithm="lasso_cd",
            positive_code=True, positive_dict=True, random_state=0,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(learned.T.double().numpy())
        theirs = torch.from_numpy(model.components_[np.argsort(-model.components_[:, 0])])
        costs = []
        for one in (vectors.double(), theirs):
            amounts = amounts_of(learned[None].double(), one[None])[0]
            costs.append(float(0.5 * (learned - one.T @ amounts).square().sum() + 0.1 * amounts.sum()))
        assert costs[0] < costs[1] * (1 + 1e-5)
        assert made.degrees(vectors.double().numpy(), theirs.numpy()).max() < 0.3


@given(seed=st.integers(0, 10_000))
@few(max_examples=30)
def test_sparse_amounts_are_the_best_there_are(seed: int) -> None:
    """Nothing on a fine grid of amounts, nor a small step from them, costs less."""
    rng = np.random.default_rng(seed)
    vectors = rng.random((2, 3)) + 0.01
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pixel = rng.normal(0.4, 0.5, 3)
    found = stain_separation._sparse_amounts(torch.tensor(pixel)[None, :, None], torch.tensor(vectors)[None])[0, :, 0]
    grid = np.concatenate([np.linspace(0, 3, 61), np.maximum(found.numpy() + rng.normal(0, 0.01, 2), 0)])
    amounts = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)

    def cost(some: NDArray[np.float64]) -> NDArray[np.float64]:
        residual: NDArray[np.float64] = 0.5 * ((pixel - some @ vectors) ** 2).sum(-1) + 0.1 * some.sum(-1)
        return residual

    assert (found >= 0).all() and cost(found.numpy()) <= cost(amounts).min() + 1e-9


@pytest.mark.parametrize("method", SEPARATIONS)
def test_separated_stains_make_the_tile_again(method: str, made: Any) -> None:
    """Of a tile made of two stains alone, by Ruifrok's vectors or by found ones, within rounding."""
    vectors = RUIFROK[:2] if method == "ruifrok" else np.stack([made.VIOLET, made.PINK])
    tiles = torch_tiles(made.mixed_tile(vectors), made.mixed_tile(vectors, seed=1))
    stains, amounts = separate(tiles, method)
    assert amounts.shape == (2, 2, 96, 96) and amounts.dtype == torch.float32
    apart = (combine(amounts, stains.vectors).int() - tiles.int()).abs()
    assert apart.max() <= 3 and apart.double().mean() < 0.6


def test_amounts_are_those_of_least_squares(made: Any) -> None:
    vectors = torch.from_numpy(random_vectors(3, made)).float()[None]
    density = torch.randn(1, 3, 50, generator=torch.Generator().manual_seed(0))
    wanted = torch.linalg.lstsq(vectors.transpose(1, 2), density).solution
    assert torch.allclose(inverse(vectors) @ density, wanted, atol=1e-4)


@pytest.mark.parametrize("method", ["macenko", "vahadane"])
def test_awkward_tiles_are_blank(method: str, made: Any) -> None:
    awkward = made.awkward_tiles()
    found = find_stains(sample_pixels(torch_tiles(*awkward.values())), method)
    assert dict(zip(awkward, found.blank.tolist(), strict=True)) == dict.fromkeys(awkward, True)
    assert np.allclose(found.vectors.numpy(), RUIFROK[:2]) and (found.strength == 1).all()


@pytest.mark.parametrize("method", ["macenko", "vahadane"])
def test_two_colours_of_almost_one_direction_are_blank(method: str) -> None:
    """A grey level apart, 0.3° of density: told apart they would be added and taken away a hundredfold."""
    tile = np.broadcast_to(np.array([90, 40, 120], np.uint8), (1, 32, 32, 3)).copy()
    tile[:, ::2, :, 0] += 1
    assert find_stains(sample_pixels(tile), method).blank.all()


@pytest.mark.parametrize("method", SEPARATIONS)
@given(tiles=arrays(np.uint8, st.tuples(st.integers(0, 3), st.just(16), st.just(16), st.just(3))))
@few(max_examples=20)
def test_no_tile_gives_nan(method: str, tiles: Tiles) -> None:
    stains, amounts = separate(torch.from_numpy(tiles), method)
    assert all(bool(one.isfinite().all()) for one in (stains.vectors, stains.strength, amounts))
    assert stains.blank.shape == (len(tiles),) and bool((stains.strength > 0).all())
    assert torch.allclose(stains.vectors.norm(dim=2), torch.ones(len(tiles), 2), atol=1e-4)


def test_a_tile_is_judged_by_itself(made: Any) -> None:
    tiles = np.concatenate([made.phantoms(4, 64), np.stack(list(made.awkward_tiles(64).values()))])
    for method in SEPARATIONS:
        together = find_stains(sample_pixels(tiles), method)
        for i in range(len(tiles)):
            alone = find_stains(sample_pixels(tiles[i : i + 1]), method)
            assert torch.equal(alone.vectors[0], together.vectors[i])
            assert torch.equal(alone.strength[0], together.strength[i])
            assert torch.equal(alone.blank[0], together.blank[i])


def test_the_sample_is_an_even_grid() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (2, 257, 257, 3), dtype=np.uint8)
    pixels = sample_pixels(tiles)
    assert pixels.shape == (2, 3, 86 * 86)
    assert np.array_equal(pixels[1].reshape(3, 86, 86).numpy(), tiles[1, ::3, ::3].transpose(2, 0, 1))
    assert torch.equal(sample_pixels(torch.from_numpy(tiles)), pixels)
    assert sample_pixels(tiles[:, :16, :16]).shape == (2, 3, 256)


def test_a_wrong_name_gets_the_nearest_one() -> None:
    with pytest.raises(InputError, match="did you mean 'macenko'"):
        find_stains(torch.zeros(1, 3, 256, dtype=torch.uint8), "macenco")

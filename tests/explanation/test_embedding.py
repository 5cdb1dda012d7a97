"""Tiles as points."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from counterstain.errors import InputError
from counterstain.explanation.embedding import check_projection, features_of, pca, project


def test_the_places_are_the_principal_components() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(40, 6)) * [5, 3, 1, 1, 0.5, 0.1] + 7).astype(np.float32)
    places, variance = pca(features)
    reference = PCA(2, svd_solver="full").fit(features.astype(np.float64))
    expected = reference.transform(features.astype(np.float64))
    np.testing.assert_allclose(np.abs(places), np.abs(expected), rtol=1e-4, atol=1e-5)
    assert variance == pytest.approx(reference.explained_variance_ratio_)


def test_the_order_of_tiles_changes_nothing() -> None:
    features = np.random.default_rng(1).normal(size=(30, 5)).astype(np.float32)
    order = np.random.default_rng(2).permutation(30)
    np.testing.assert_allclose(pca(features[order])[0], pca(features)[0][order], atol=1e-9)


def test_features_that_do_not_vary_are_one_point() -> None:
    places, variance = pca(np.ones((5, 3), dtype=np.float32))
    assert not places.any() and variance == (0, 0)


def test_features_are_read_in_the_order_of_the_tiles(planted: SimpleNamespace) -> None:
    predictor = planted.predictor("whole")
    tiles = planted.tiles(3, malignant=True, seed=0)
    found = features_of(predictor, tiles)
    assert found.shape == (3, 2) and found.dtype == np.float32
    # Rounding in fp32 is as large as the largest feature allows, also where one is nearly 0.
    np.testing.assert_allclose(
        features_of(predictor, tiles[::-1].copy()), found[::-1], rtol=1e-5, atol=1e-5 * np.abs(found).max()
    )
    assert np.abs(found[0] - found[2]).max() > 1e-3 * np.abs(found).max()  # the tiles can be told apart


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(InputError, match="pca, umap"):
        check_projection("tsne")
    with pytest.raises(InputError, match="3 tiles or more"):
        project(np.ones((2, 4), dtype=np.float32), "pca", seed=0)
    if importlib.util.find_spec("umap") is None:
        with pytest.raises(InputError, match="pip install umap-learn"):
            check_projection("umap")

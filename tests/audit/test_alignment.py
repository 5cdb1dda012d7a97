"""A tile that was turned, enlarged and flipped is known again once it is turned back, and a stranger is not."""

import cv2
import numpy as np
import pytest

from counterstain.audit.alignment import CLOSER, aligned_agreement


def texture(seed: int) -> np.ndarray:
    """Grey blobs of 3 to 6 px, CLOSER on a side."""
    noise = np.random.default_rng(seed).normal(0, 1, (CLOSER, CLOSER)).astype(np.float32)
    blobs = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.clip(160 + 40 * blobs / blobs.std(), 0, 255).astype(np.uint8)


def turned(tile: np.ndarray, degrees: float, zoom: float) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D(((CLOSER - 1) / 2, (CLOSER - 1) / 2), degrees, zoom)
    return np.asarray(cv2.warpAffine(tile, matrix, (CLOSER, CLOSER), borderMode=cv2.BORDER_REFLECT_101))


@pytest.mark.parametrize(("degrees", "zoom", "mirrored"), [(25, 1.33, False), (-70, 1.1, True), (140, 1.0, False)])
def test_a_turned_copy_agrees_and_a_stranger_does_not(degrees: float, zoom: float, mirrored: bool) -> None:
    tile = texture(0)
    copy = turned(np.ascontiguousarray(tile[::-1]) if mirrored else tile, degrees, zoom)
    # What the rings tell is off by a little.
    given = {"degrees": degrees + 2.0, "zoom": zoom * 1.02, "mirrored": mirrored}
    assert aligned_agreement(tile, copy, **given) > 0.9
    assert aligned_agreement(texture(1), copy, **given) < 0.4
    assert aligned_agreement(tile, copy, degrees=degrees + 45, zoom=zoom, mirrored=mirrored) < 0.4


def test_one_dark_spot_on_empty_ground_makes_no_copy() -> None:
    """Two strangers of faint grain, a dark nucleus at the same place in both: it alone must not make them agree."""
    pictures = []
    for seed in (2, 3):
        grain = 230 + (texture(seed).astype(np.float32) - 160) / 8
        cv2.circle(grain, (64, 44), 9, 60, -1)
        pictures.append(grain.astype(np.uint8))
    plain = np.corrcoef(pictures[0].ravel(), pictures[1].ravel())[0, 1]
    assert plain > 0.9
    assert aligned_agreement(pictures[0], pictures[1], degrees=0.0, zoom=1.0, mirrored=False) < 0.7

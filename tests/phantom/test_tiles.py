"""The phantom: pure, reproducible, and with a class that shows in the tissue but not in the colour."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from counterstain.cohort.manifest import read_manifest
from counterstain.errors import InputError
from counterstain.phantom.anatomy import EPITHELIAL, MITOSIS, Plane
from counterstain.phantom.stain_amounts import stain
from counterstain.phantom.tiles import CLASSES, Phantom, draw_patient, draw_tile, tile_counts, write_phantom
from counterstain.phantom.tissue_plane import grow


def grouped_auroc(features, label, patient):
    """Mean AUROC of logistic regressions that learn from half of the patients and judge the other half, 12 times.

    Pooled cross-validation is not used: its folds' uneven classes push the AUROC of a useless model well below 0.5.
    """
    people, first = np.unique(patient, return_index=True)
    halves = StratifiedShuffleSplit(12, test_size=0.5, random_state=0).split(people, label[first])
    scores = []
    for learn, judge in halves:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        seen, unseen = np.isin(patient, people[learn]), np.isin(patient, people[judge])
        model.fit(features[seen], label[seen])
        scores.append(roc_auc_score(label[unseen], model.decision_function(features[unseen])))
    return float(np.mean(scores))


def measure(phantom, tiles):
    """Colour (mean, SD of R, G, B), morphology (area and spread of epithelial nuclei), label and patient, by tile."""
    colour, shape, label, patient = [], [], [], []
    for who in range(phantom.patients):
        for number in range(tiles):
            tile = draw_tile(phantom, who, number)
            rows, area = np.unique(tile.nuclei[tile.nuclei > 0], return_counts=True)
            area = area[np.isin(tile.instances.kind[rows - 1], (EPITHELIAL, MITOSIS))] * phantom.mpp**2
            area = area if len(area) else np.zeros(1)
            colour.append(np.concatenate([tile.pixels.mean(axis=(0, 1)), tile.pixels.std(axis=(0, 1))]))
            shape.append([np.median(area), area.std()])
            label.append(tile.label)
            patient.append(who)
    return np.array(colour), np.array(shape), np.array(label), np.array(patient)


def test_a_tile_is_the_same_however_often_and_in_whatever_order_it_is_drawn():
    phantom = Phantom(patients=4, tile_px=96)
    first = draw_tile(phantom, 1, 2)
    draw_tile(phantom, 3, 0)
    again = draw_tile(phantom, 1, 2)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.nuclei, again.nuclei)
    np.testing.assert_array_equal(first.glands, again.glands)
    assert not np.array_equal(first.pixels, draw_tile(phantom, 1, 3).pixels)
    assert not np.array_equal(first.pixels, draw_tile(replace(phantom, seed=1), 1, 2).pixels)


def test_a_tile_has_the_promised_shapes_and_its_masks_point_at_dark_nuclei():
    tile = draw_tile(Phantom(patients=2, tile_px=150), 0, 0)
    assert tile.pixels.shape == (150, 150, 3)
    assert tile.pixels.dtype == np.uint8
    assert tile.nuclei.shape == tile.glands.shape == (150, 150)
    assert tile.nuclei.max() <= len(tile.instances)
    red = tile.pixels[:, :, 0].astype(float)
    core = cv2.erode((tile.nuclei > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert red[core].mean() < red[tile.nuclei == 0].mean() - 30


def test_the_classes_differ_in_morphology_and_not_in_colour():
    colour, shape, label, patient = measure(Phantom(patients=40, tile_px=129, seed=2), tiles=2)
    assert 0.36 < grouped_auroc(colour, label, patient) < 0.64
    assert grouped_auroc(shape, label, patient) > 0.9


def test_a_patient_made_malignant_keeps_the_colour():
    # The same stains, scanner and budget; only the label, and with it the tissue, turns.
    few, many = (
        Phantom(patients=24, tile_px=129, malignant_share=0.1),
        Phantom(patients=24, tile_px=129, malignant_share=0.9),
    )
    turned = [k for k in range(24) if draw_patient(few, k).label == 0 and draw_patient(many, k).label == 1]
    assert len(turned) > 12
    change = []
    for patient in turned:
        benign, malignant = draw_tile(few, patient, 0).pixels, draw_tile(many, patient, 0).pixels
        change.append([*(malignant.mean((0, 1)) - benign.mean((0, 1))), *(malignant.std((0, 1)) - benign.std((0, 1)))])
    # Patients differ by some 15 grey values; the class by less than 2.
    assert np.abs(np.mean(change, axis=0)).max() < 2.0


def test_the_shortcut_puts_the_class_into_the_colour():
    colour, _, label, patient = measure(Phantom(patients=40, tile_px=65, shortcut=1.0), tiles=1)
    assert grouped_auroc(colour, label, patient) > 0.9


@pytest.mark.slow
def test_colour_is_at_chance_and_difficulty_counts_over_many_patients():
    easy = measure(Phantom(patients=80, seed=1), tiles=3)
    hard = measure(Phantom(patients=80, seed=1, difficulty=1.0), tiles=3)
    assert 0.38 < grouped_auroc(easy[0], *easy[2:]) < 0.6
    assert grouped_auroc(easy[1], *easy[2:]) > 0.95
    assert 0.55 < grouped_auroc(hard[1], *hard[2:]) < 0.9


def test_a_written_cohort_has_the_same_bytes_with_one_worker_and_with_two(tmp_path):
    phantom = Phantom(patients=4, tiles_per_patient=4, tile_px=64)
    seen = []
    one = write_phantom(phantom, tmp_path / "one", workers=1, progress=lambda done, total: seen.append((done, total)))
    two = write_phantom(phantom, tmp_path / "two", workers=2)
    assert one.image == two.image
    for name in (*one.image, "cohort.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert seen[-1] == (len(one), len(one))
    read = read_manifest(tmp_path / "one" / "cohort.csv")
    assert read.image == one.image
    assert read.classes == CLASSES
    # PNG is lossless: the file is the tile.
    first = cv2.imread(str(tmp_path / "one" / one.image[0]))[:, :, ::-1]
    np.testing.assert_array_equal(first, draw_tile(phantom, 0, 0).pixels)


def test_patients_are_balanced_spread_over_sites_and_uneven_in_tiles():
    phantom = Phantom(patients=40, sites=4, malignant_share=0.25)
    people = [draw_patient(phantom, number) for number in range(40)]
    assert sum(who.label for who in people) == 10
    for site in {who.site for who in people}:
        here = [who.label for who in people if who.site == site]
        assert len(here) == 10
        assert sum(here) in (2, 3)
    # One scanner per site, one staining per patient.
    assert len({who.scanner.gamma for who in people}) == 4
    assert len({who.staining.eosin for who in people}) == 40
    counts = tile_counts(phantom)
    assert min(counts) >= 1
    assert len(set(counts)) > 5
    assert sum(counts) == pytest.approx(40 * 12, rel=0.05)


def test_two_windows_of_one_plane_agree_where_they_overlap():
    plane = Plane(key=(7, 1), grade=0.8)
    whole = stain(grow(plane, 0, 0, 120, 60), 0.0, 0.0, (120, 240), 0.5)
    right = stain(grow(plane, 60, 0, 60, 60), 60.0, 0.0, (120, 120), 0.5)
    np.testing.assert_array_equal(whole.nuclei[:, 120:] > 0, right.nuclei > 0)
    np.testing.assert_array_equal(whole.glands[:, 120:], right.glands)
    difference = np.abs(whole.haematoxylin[:, 120:] - right.haematoxylin)
    assert np.mean(difference > 0.02) < 0.02


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"patients": 1}, "patients is 1; it needs to be from 2"),
        ({"difficulty": 1.5}, "difficulty is 1.5"),
        ({"shortcut": float("nan")}, "shortcut is nan"),
        ({"tile_px": 64.5}, "tile_px is 64.5; it needs a whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"patients": 3, "sites": 4}, "4 sites for 3 patients"),
        ({"mpp": True}, "mpp is True"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        Phantom(**setting)


def test_a_patient_a_tile_or_a_worker_that_cannot_be_is_refused(tmp_path):
    phantom = Phantom(patients=2)
    with pytest.raises(InputError, match="no patient 2"):
        draw_tile(phantom, 2, 0)
    with pytest.raises(InputError, match="tile number is -1"):
        draw_tile(phantom, 0, -1)
    with pytest.raises(InputError, match="workers is 0"):
        write_phantom(phantom, tmp_path, workers=0)

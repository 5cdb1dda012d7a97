"""The probe finds a site that was planted, and none where there is none."""

import numpy as np

from counterstain.evaluation.predictions import Predictions
from counterstain.robustness.site_probe import probe_sites


def images(patients: int, each: int, sites: int, *, label: str = "even") -> Predictions:
    """Site by patient; labels even over sites, or the same as the site."""
    patient = np.repeat(np.arange(patients), each)
    site = patient % sites
    labels = (patient // sites) % 2 if label == "even" else (site > 0).astype(int)
    n = len(patient)
    return Predictions(
        image=tuple(map(str, range(n))), patient=tuple(f"P{p}" for p in patient), slide=("",) * n,
        site=tuple(f"S{s}" for s in site), label=labels, prob=np.full((n, 2), 0.5), classes=("a", "b"),
    )  # fmt: skip


def test_a_planted_site_is_found_and_noise_is_not() -> None:
    own = images(30, 6, 3)
    random = np.random.default_rng(1)
    noise = random.normal(0, 1, (len(own), 20)).astype(np.float32)
    planted = noise.copy()
    planted[:, :3] += 4 * np.eye(3)[[int(name[1]) for name in own.site]]
    found, why = probe_sites(planted, own)
    assert why == ""
    assert found is not None
    assert found["balanced_accuracy"]["value"] > 0.85
    assert found["chance"] == 1 / 3
    none, _ = probe_sites(noise, own)
    assert none is not None
    assert none["balanced_accuracy"]["low"] < 1 / 3 < none["balanced_accuracy"]["high"]
    assert (none["images"], none["patients"], none["folds"], none["features"]) == (180, 30, 5, 20)


def test_patients_are_not_on_both_sides() -> None:
    # Every patient has a mark of their own and nothing else; were a patient divided, the mark would give the site away.
    own = images(40, 8, 2)
    mark = np.random.default_rng(1).normal(0, 1, (40, 60))
    features = mark[np.repeat(np.arange(40), 8)].astype(np.float32)
    found, _ = probe_sites(features, own)
    assert found is not None
    assert found["balanced_accuracy"]["value"] < 0.75


def test_the_label_is_the_floor_where_sites_differ_in_it() -> None:
    own = images(24, 4, 2, label="site")
    features = np.column_stack([own.label, np.zeros(len(own))]).astype(np.float32)
    found, _ = probe_sites(features, own)
    assert found is not None
    assert found["label_alone"] == 1
    even, _ = probe_sites(features, images(24, 4, 2))
    assert even is not None
    assert even["label_alone"] == 0.5


def test_sites_of_one_patient_are_left_out_and_too_few_are_said() -> None:
    own = images(5, 4, 4)  # S0 has P0 and P4, the others one each
    found, why = probe_sites(np.zeros((20, 3), np.float32), own)
    assert found is None
    assert "fewer than two sites" in why
    own = images(6, 4, 4)  # S0 and S1 have two
    found, _ = probe_sites(np.random.default_rng(0).normal(0, 1, (24, 3)).astype(np.float32), own)
    assert found is not None
    assert found["left_out"] == ["S2", "S3"]
    assert found["folds"] == 2

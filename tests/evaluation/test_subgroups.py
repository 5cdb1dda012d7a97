"""Scores within sites and their spread over cases, and net benefit, by hand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from counterstain.evaluation.decision_curve import THRESHOLDS, decision_curve
from counterstain.evaluation.intervals import estimates, sample, units_of
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.subgroups import subgroup_scores


def made(right: list[int], patient: list[str], slide: list[str] | None = None, site: list[str] | None = None,
         label: list[int] | None = None, wrong: float = 0.3) -> Predictions:  # fmt: skip
    """A table whose images are right or wrong as asked; classes alternate."""
    n = len(right)
    truth = np.arange(n) % 2 if label is None else np.array(label)
    called = np.where(right, truth, 1 - truth)
    prob = np.where(called[:, None] == np.arange(2), 1 - wrong, wrong)
    return Predictions(
        image=tuple(f"i{k}" for k in range(n)), patient=tuple(patient), slide=tuple(slide or [""] * n),
        site=tuple(site or [""] * n), label=truth, prob=prob, classes=("a", "b"),
    )  # fmt: skip


def test_the_spread_over_patients_by_hand() -> None:
    """Patients with 2 of 2, 1 of 2, 0 of 1, 3 of 4 right."""
    table = made([1, 1, 1, 0, 0, 1, 1, 1, 0], list("aabbcdddd"))
    found = subgroup_scores({"x": [table]}, by="patient")
    assert found["by"] == "patient"
    own = found["arms"]["x"]
    assert own["count"] == 4 and own["below_half"] == 1
    expected = np.quantile([1, 0.5, 0, 0.75], [0, 0.1, 0.25, 0.5, 0.75, 1])
    assert own["quantiles"] == pytest.approx(
        dict(zip(("lowest", "p10", "p25", "median", "p75", "highest"), expected, strict=True))
    )
    assert own["histogram"] == [1, 0, 0, 0, 0, 1, 0, 1, 0, 1]


def test_the_spread_is_the_mean_over_seeds_whatever_the_order_of_rows() -> None:
    first = made([1, 1, 0, 0], list("aabb"))
    second = made([0, 1, 1, 1], list("aabb"))
    turned = replace(
        second, **{name: getattr(second, name)[::-1] for name in ("image", "patient", "slide", "site", "label", "prob")}
    )
    own = subgroup_scores({"x": [first, turned]}, by="patient")["arms"]["x"]
    assert own["quantiles"]["lowest"] == pytest.approx(0.5)  # b: 0 and 1
    assert own["quantiles"]["highest"] == pytest.approx(0.75)  # a: 1 and 1/2
    assert own["below_half"] == 0


def test_slides_of_one_name_of_two_patients_are_two() -> None:
    table = made([1, 0, 1, 1], list("aabb"), ["s1", "s1", "s1", "s2"])
    assert subgroup_scores({"x": [table]}, by="slide")["arms"]["x"]["count"] == 3


def sites(patients: dict[str, int], wrong: dict[str, int]) -> Predictions:
    """For each site as many patients of two images; `wrong` of them are wrong in both."""
    rows = [
        (int(k >= wrong.get(site, 0)), f"{site}{k}", site, k % 2)
        for site, n in patients.items() for k in range(n) for _ in range(2)
    ]  # fmt: skip
    right, patient, site, label = (list(column) for column in zip(*rows, strict=True))
    return made(right, patient, site=site, label=label)


def test_sites_have_the_scores_of_their_own_images() -> None:
    table = sites({"north": 12, "south": 10, "few": 9, "": 3}, {"north": 3, "south": 4})
    own = subgroup_scores({"x": [table]}, by="site")["arms"]["x"]
    assert [(row["group"], row["images"], row["patients"]) for row in own["groups"]] == [
        ("few", 18, 9), ("north", 24, 12), ("south", 20, 10)
    ]  # fmt: skip
    assert own["suppressed"] == 1 and own["groups"][0]["scores"] is None
    north = own["groups"][1]["scores"]
    rows = np.flatnonzero(np.array(table.site) == "north")
    part = replace(table, **{name: tuple(getattr(table, name)[k] for k in rows) for name in
                             ("image", "patient", "slide", "site")}, label=table.label[rows],
                   prob=table.prob[rows])  # fmt: skip
    expected = estimates(sample([part], units_of([part]), level="image"))
    assert set(north) == {"accuracy", "recall", "specificity", "auroc"}
    for name, found in north.items():
        one = expected[name, None]
        assert found == pytest.approx({"value": one.value, "low": one.low, "high": one.high}), name
    worst = own["worst"]
    assert (worst["group"], worst["metric"], worst["value"], worst["of"]) == ("south", "accuracy", 0.6, 2)
    assert worst["low"] < 0.6 < worst["high"]
    assert worst["note"] == ("the lowest of 2 groups is low by chance, too, and its interval does not allow for that")


def test_one_site_is_not_the_worst_of_one() -> None:
    own = subgroup_scores({"x": [sites({"north": 10, "few": 9}, {"north": 2})]}, by="site")["arms"]["x"]
    assert own["worst"] is None and own["suppressed"] == 1


# ------------------------------------------------------------------------------------------------ net benefit


def test_net_benefit_and_its_interval_by_hand() -> None:
    """Two seeds of four patients. Each image gives 1 (true positive), -price (false one) or 0; the mean over images
    moves by each patient left out, and by the seed."""
    prob = np.array([[0.9, 0.3, 0.6, 0.1], [0.8, 0.7, 0.2, 0.4]])
    label = np.array([1, 1, 0, 0])
    tables = [
        Predictions(
            image=tuple("ijkl"), patient=tuple("abcd"), slide=("",) * 4, site=("",) * 4, label=label,
            prob=np.column_stack([1 - p, p]), classes=("n", "y"),
        )
        for p in prob
    ]  # fmt: skip
    found = decision_curve(tables, thresholds=(0.25, 0.5, 0.6))
    assert (found["unit"], found["patients"], found["prevalence"]) == ("patient", 4, 0.5)
    assert found["thresholds"] == [0.25, 0.5, 0.6]
    for k, at in enumerate((0.25, 0.5, 0.6)):
        price = at / (1 - at)
        worth = np.where(label == 1, 1.0, -price) * (prob >= at)
        seeds = worth.mean(axis=1)
        out = np.array([np.delete(worth, g, axis=1).mean() for g in range(4)])
        variance = 3 / 4 * ((out - out.mean()) ** 2).sum() + seeds.var(ddof=1) / 2
        half = stats.t.ppf(0.975, 3) * np.sqrt(variance)
        own = [found["model"][name][k] for name in ("value", "low", "high")]
        # Nobody gains more than 1 or loses more than the price.
        ends = [max(seeds.mean() - half, -price), min(seeds.mean() + half, 1.0)]
        assert own == pytest.approx([seeds.mean(), *ends]), at
        assert found["treat_all"][k] == pytest.approx(0.5 - 0.5 * price)


def test_a_patients_images_count_each() -> None:
    table = made([1, 0, 1], list("aab"), label=[1, 0, 1])
    found = decision_curve([table])
    assert found["thresholds"] == list(THRESHOLDS) and len(THRESHOLDS) == 19
    assert (THRESHOLDS[0], THRESHOLDS[9], THRESHOLDS[-1]) == (0.05, 0.5, 0.95)
    assert found["prevalence"] == pytest.approx(2 / 3)
    assert found["model"]["value"][9] == pytest.approx(2 / 3 - 1 / 3)


@pytest.mark.parametrize("names", [["scanner 1", "scanner 2", "scanner 10"], ["2", "10", "a"], ["a", "b", "ß²", "é"]])
def test_groups_stand_in_the_order_of_their_numbers(random_table: Callable[..., Predictions], names: list[str]) -> None:
    table = random_table(1)
    groups = [names[k % len(names)] for k in range(len(table))]
    found = subgroup_scores({"a": [table]}, by="scanner", groups=groups)["arms"]["a"]["groups"]
    assert [group["group"] for group in found] == names

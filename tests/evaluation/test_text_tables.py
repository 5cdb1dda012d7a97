"""The printed tables: every number with its interval and n, nothing undefined shown as a number."""

from collections.abc import Callable

from counterstain.evaluation.comparison import compare_arms
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.text_tables import pairs_table, shown, shown_interval

Make = Callable[..., Predictions]


def test_what_is_undefined_is_said() -> None:
    assert shown(None) == shown(float("nan")) == "undefined"
    assert shown_interval(None, None, None) == "undefined"
    assert shown_interval(0.5, None, None) == "0.500 [no interval]"
    assert shown_interval(0.81249, 0.7, 0.9) == "0.812 [0.700, 0.900]"


def test_rows_hold_the_pair_and_its_verdict(random_table: Make) -> None:
    arms = {"given-32": [random_table(1)], "modified-200": [random_table(1, strength=2.0)]}
    record = compare_arms(arms)
    _, rows = pairs_table(record, record["pairs"])
    assert rows[0][0] == "given-32 − modified-200"
    assert "not enough runs to claim" in rows[0]


def test_published_tests_stand_beside_the_verdict(random_table: Make, make_table: Make) -> None:
    one, two = random_table(1), random_table(1, strength=2.0)
    tests = compare_arms({"a": [one], "b": [two]})["pairs"][0]["tests"]
    assert [row["test"] for row in tests] == [
        "sign-flip permutation",
        "clustered McNemar, Obuchowski",
        "clustered McNemar, Durkalski",
        "clustered AUROC difference, Obuchowski",
    ]
    assert all(0 < row["p"] <= 1 for row in tests)
    alone = [
        make_table([0, 1, 1, 0, 1, 0], p) for p in ([0.2, 0.8, 0.3, 0.1, 0.6, 0.7], [0.6, 0.7, 0.8, 0.2, 0.3, 0.4])
    ]
    names = [row["test"] for row in compare_arms({"a": alone[:1], "b": alone[1:]})["pairs"][0]["tests"]]
    assert names == ["sign-flip permutation", "McNemar", "DeLong"]
    assert len(compare_arms({"a": [one] * 3, "b": [two] * 3})["pairs"][0]["tests"]) == 1

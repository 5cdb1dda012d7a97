"""A comparison as an object shows the pairs of its record: in a console, in a notebook, as a table."""

import math
from typing import Any

import pytest

from counterstain.errors import InputError
from counterstain.evaluation.comparison_result import Comparison, PairComparison, Verdict


def row(a: str, b: str, **changed: Any) -> dict[str, Any]:
    return {
        "a": a, "b": b, "primary": True, "metric": "auroc", "level": "image", "verdict": "a_better", "words": "said",
        "value_a": 0.875, "value_b": 0.75, "difference": 0.125, "low": 0.0625, "high": 0.1875, "confidence": 0.9,
        "p": 0.01,
        "p_adjusted": 0.02, "seeds": 3, "patients": 20, "images": 90,
    } | changed  # fmt: skip


def record(*pairs: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {
        "pairs": list(pairs), "shown": True, "asked": "that a is better than b", "primary": "auroc", "unit": "patient",
        "rule": "the rule", "ranking": {"arms": [{"arm": "a"}, {"arm": "b"}]}, "warnings": ["few"], "stamp": "",
        "words": "a is better than b.", "confidence": 0.9,
    } | changed  # fmt: skip


def test_a_pair_holds_the_numbers_of_its_row() -> None:
    pair = Comparison(record(row("a", "b"))).pairs[0]
    assert pair == PairComparison(
        a="a", b="b", primary=True, metric="auroc", level="image", verdict=Verdict.A_BETTER, words="said",
        value_a=0.875, value_b=0.75, difference=0.125, low=0.0625, high=0.1875, confidence=0.9, p=0.01, p_adjusted=0.02,
        seeds=3, patients=20, images=90,
    )  # fmt: skip


def test_what_is_undefined_in_a_record_is_nan() -> None:
    blank = dict.fromkeys(("value_b", "difference", "low", "high", "p", "p_adjusted", "patients"))
    pair = Comparison(record(row("a", "b", verdict="undefined", **blank))).pairs[0]
    numbers = (pair.value_b, pair.difference, pair.low, pair.high, pair.p, pair.p_adjusted)
    assert all(math.isnan(number) for number in numbers)
    assert pair.value_a == 0.875 and pair.patients is None and pair.better is None


@pytest.mark.parametrize("kind", list(Verdict))
def test_only_better_names_an_arm(kind: Verdict) -> None:
    pair = Comparison(record(row("a", "b", verdict=str(kind)))).pairs[0]
    assert pair.better == {"a_better": "a", "b_better": "b"}.get(str(kind))


def test_in_a_console() -> None:
    one = Comparison(record(row("a", "b")))
    assert repr(one) == "Comparison(a - b, auroc: a_better, unit patient)"
    assert repr(one.pairs[0]) == "PairComparison(a - b, auroc +0.125 (90 % interval [+0.062, +0.188]), a_better)"
    x, y = "x" * 41, "y" * 41
    long = Comparison(record(row(x, y, metric="f1", verdict="no_evidence"), row(x, "c"), unit="image"))
    assert repr(long) == f"Comparison({x[:40]} - {y[:40]}, f1: no_evidence, 2 pairs, unit image)"
    shown = "+0.125 (90 % interval [+0.062, +0.188])"
    assert repr(long.pairs[0]) == f"PairComparison({x[:40]} - {y[:40]}, f1 {shown}, no_evidence)"


def test_in_a_notebook_each_pair_is_a_row() -> None:
    page = Comparison(record(row("a", "b"), row("a", "c", verdict="no_evidence", low=None, high=None)))._repr_html_()
    assert page.startswith("<p>a is better than b.</p><table>")
    assert "<th>pair</th><th>difference in AUROC (90 % interval)</th><th>verdict</th>" in page
    assert "<tr><td>a − b</td><td>+0.125 [+0.062, +0.188]</td><td>a is better</td></tr>" in page
    assert "<tr><td>a − c</td><td>+0.125 [no interval]</td><td>no evidence</td></tr>" in page
    assert page.endswith("<ul><li>few</li></ul>")


def test_a_pair_is_found_in_either_order() -> None:
    found = Comparison(record(row("a", "b"), row("c", "a", difference=0.5)))
    assert found.pair("a", "c").difference == found.pair("c", "a").difference == 0.5
    with pytest.raises(InputError, match="no pair of 'b' and 'c' was compared; these were: a and b, c and a"):
        found.pair("b", "c")


def test_the_verdict_is_that_of_the_one_primary_pair() -> None:
    assert Comparison(record(row("a", "b", primary=False), row("a", "c", verdict="b_better"))).verdict == "b_better"
    with pytest.raises(InputError, match="2 pairs are primary"):
        _ = Comparison(record(row("a", "b"), row("a", "c"))).verdict
    with pytest.raises(InputError, match="0 pairs are primary"):
        _ = Comparison(record(row("a", "b", primary=False))).verdict


def test_properties_are_those_of_the_record() -> None:
    found = Comparison(record(row("a", "b")))
    assert found.shown is True and Comparison(record(shown=False)).shown is False
    assert found.asked == "that a is better than b" and found.primary == "auroc" and found.unit == "patient"
    assert found.rule == "the rule" and found.ranking == ("a", "b") and found.summary() == "a is better than b."
    assert found.notes == ("few",)
    assert Comparison(record(stamp="LEAK", warnings=["few", "LEAK", "few"])).notes == ("LEAK", "few")


def test_as_a_table_it_has_one_row_per_pair() -> None:
    frame = Comparison(record(row("a", "b"), row("a", "c", verdict="no_evidence"))).to_frame()
    assert frame["b"].tolist() == ["b", "c"] and frame["verdict"].tolist() == ["a_better", "no_evidence"]
    assert frame["difference"].tolist() == [0.125, 0.125] and frame["patients"].tolist() == [20, 20]


def test_co_primary_endpoints_are_shown_one_by_one() -> None:
    """The joint row's own difference is the first endpoint's: it must not stand as that of all."""
    ends = [row("a", "b", metric="recall"), row("a", "b", metric="specificity", difference=-0.5, verdict="b_better")]
    joint = Comparison({**record(row("a", "b", verdict="no_evidence", endpoints=ends)), "co_primary": ["x", "y"]})
    (pair,) = joint.pairs
    assert [(one.metric, one.difference, str(one.verdict)) for one in pair.endpoints] == [
        ("recall", 0.125, "a_better"), ("specificity", -0.5, "b_better"),
    ]  # fmt: skip
    assert joint.to_frame()["metric"].tolist() == ["recall", "specificity"]
    page = joint._repr_html_()
    assert page.index("a − b, all of:") < page.index("recall") < page.index("+0.125") < page.index("-0.500")
    assert "difference in" not in page

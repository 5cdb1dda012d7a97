"""Thresholds by hand: each rule's choice, its ties and edges, and what is refused."""

import numpy as np
import pytest

from counterstain.errors import InputError
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.thresholds import choose_threshold, decide, decided, decided_arms

POSITIVE = np.array([False, False, True, False, True, True])
PROB = np.array([0.1, 0.3, 0.4, 0.6, 0.7, 0.9])
# Half-way between: 0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95. Sensitivity 1, 1, 1, 2/3, 2/3, 1/3, 0;
# specificity 0, 1/3, 2/3, 2/3, 1, 1, 1.


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("youden", 0.65),  # 5/3, as 0.35 has, which is as far from 0.5: of equals the first is taken, see below
        ("Youden ", 0.65),
        ("sensitivity>=0.95", 0.35),
        ("sensitivity >= .5", 0.65),
        ("SENSITIVITY>=1", 0.35),
        ("sensitivity>=1.0", 0.35),
        ("specificity>=0.95", 0.65),
        ("specificity>=0.5", 0.35),
        ("specificity>=1", 0.65),
        ("cost 1:1", 0.65),
        ("cost 3:1", 0.35),
        ("cost 1:3", 0.65),
        ("cost 1.5:0.5", 0.35),
        ("cost 100:1", 0.35),
        (".4", 0.4),
        ("0.42", 0.42),
    ],
)
def test_each_rule_on_six_images(rule: str, expected: float) -> None:
    found, note = choose_threshold(POSITIVE, PROB, rule=rule)
    if rule in ("youden", "Youden ", "cost 1:1"):  # 0.35 and 0.65 do equally well and lie equally near to 0.5
        assert min(abs(found - 0.35), abs(found - 0.65)) < 1e-12
    else:
        assert found == pytest.approx(expected)
    assert note == ""


def test_of_equals_the_nearest_to_one_half_is_taken() -> None:
    """Perfect: any threshold between 0.2 and 0.9 would do, and three candidates lie there with the same gain."""
    positive = np.array([False, False, True, True])
    assert choose_threshold(positive, np.array([0.1, 0.15, 0.8, 0.9]), rule="youden")[0] == pytest.approx(0.475)
    # Nobody is told apart: calling all or none does equally well.
    for value, expected in ((0.3, 0.65), (0.8, 0.4)):
        assert choose_threshold(positive, np.full(4, value), rule="youden")[0] == pytest.approx(expected)


def test_a_rule_that_only_calling_everybody_or_nobody_meets() -> None:
    positive = np.array([True, False])
    wrong_way = np.array([0.2, 0.6])
    assert choose_threshold(positive, wrong_way, rule="sensitivity>=1")[0] == pytest.approx(0.1)
    assert choose_threshold(positive, wrong_way, rule="specificity>=1")[0] == pytest.approx(0.8)
    nobody = choose_threshold(positive, np.array([0.2, 1.0]), rule="specificity>=1")[0]
    assert not decide(np.array([1.0]), nobody).any()
    assert nobody == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("value", [True, False])
def test_one_class_bears_no_choice(value: bool) -> None:
    found = choose_threshold(np.full(3, value), np.array([0.1, 0.2, 0.9]), rule="youden")
    assert found == (0.5, "the validation part has one class only; the threshold is 0.5")
    assert choose_threshold(np.full(3, value), np.array([0.1, 0.2, 0.9]), rule="0.3") == (0.3, "")


def test_an_image_on_the_threshold_is_called() -> None:
    assert decide(np.array([0.29, 0.3, 0.31]), 0.3).tolist() == [False, True, True]


def made(classes: int = 2, first: float = 0.3) -> Predictions:
    prob = np.array([[1 - first, first], [0.2, 0.8]])
    if classes == 3:
        prob = np.column_stack([prob / 2, np.full(2, 0.5)])
    return Predictions(
        image=("i", "j"), patient=("p", "q"), slide=("", ""), site=("", ""), label=np.array([0, 1]), prob=prob,
        classes=tuple("abc"[:classes]),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("threshold", "calls"), [(0.0, [1, 1]), (0.3, [1, 1]), (0.31, [0, 1]), (0.81, [0, 0]), (1.0, [0, 0])]
)
def test_a_decided_table_has_its_calls_as_probabilities(threshold: float, calls: list[int]) -> None:
    found = decided(made(), threshold)
    assert found.prob.tolist() == [[1 - call, call] for call in calls]
    assert (found.image, found.label.tolist()) == (("i", "j"), [0, 1])


def test_what_cannot_be_decided_is_refused() -> None:
    with pytest.raises(InputError, match=r"^there are 3 classes; a threshold needs two\. Omit it\.$"):
        decided(made(3), 0.5)
    for wrong in (-0.01, 1.01, float("nan")):
        with pytest.raises(InputError, match=f"^threshold is {wrong:g}; a probability from 0 to 1 was needed$"):
            decided(made(), wrong)


def test_arms_have_one_threshold_each() -> None:
    arms = {"a": [made(), made(first=0.4)], "b=c": [made()]}
    alike = decided_arms(arms, ["0.35"])
    assert [table.prob[0, 1] for table in alike["a"]] == [0, 1] and len(alike["b=c"]) == 1
    own = decided_arms(arms, ["a=0.2", "b=c=0.9"])
    assert [table.prob[:, 1].tolist() for table in own["a"] + own["b=c"]] == [[1, 1], [1, 1], [0, 0]]
    for given, message in (
        (["a=0.2"], "^'b=c' has no threshold; add --threshold b=c=0.5, or one number for all$"),
        (["0.2", "a=0.3"], "^'a' has two thresholds; give one number for all, or NAME=number once each$"),
        (["ab=0.2"], "^--threshold ab=0.2 names 'ab'"),
        (["a=high"], "^--threshold is 'a=high'; a number such as 0.3, or NAME=0.3, was needed$"),
        ([], "^'a' has no threshold"),
    ):
        with pytest.raises(InputError, match=message):
            decided_arms(arms, given)

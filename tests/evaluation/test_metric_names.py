"""The names of measures: the field's aliases are understood, and a suggestion goes by meaning before spelling."""

import pytest

from counterstain.errors import InputError
from counterstain.evaluation.metric_names import ALIASES, canonical_measure, is_class_bound, measure_words

KNOWN = ("loss", "accuracy", "precision", "recall", "specificity", "f1", "balanced_accuracy", "mcc", "auroc", "auprc",
         "brier")  # fmt: skip


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("sensitivity", "recall"), ("TPR", "recall"), ("PPV", "precision"), ("dice", "f1"), ("AUC", "auroc"),
     ("ROC-AUC", "auroc"), ("F-score", "f1"), ("TNR", "specificity"), ("acc", "accuracy"),
     ("bal_acc", "balanced_accuracy"),
     ("Average Precision", "auprc"), ("Matthews", "mcc"), ("log-loss", "loss"), ("AUROC", "auroc")],
)  # fmt: skip
def test_the_fields_other_names_are_known(given: str, wanted: str) -> None:
    assert canonical_measure(given, KNOWN) == wanted


def test_no_alias_stands_twice() -> None:
    words = ["".join(c for c in w.lower() if c.isalnum()) for name, own in ALIASES.items() for w in (name, *own)]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("given", "message"),
    [("kappa", "'mcc' answers the same question"), ("Youden", "'balanced_accuracy' answers"), ("FPR", "'specificity'"),
     ("aurok", "did you mean 'auroc'"), ("sensitivty", "did you mean 'recall'"),
     ("npv", "which these tables don't give"),
     ("xyzzy", "known: loss, accuracy")],
)  # fmt: skip
def test_what_isnt_known_is_suggested_by_meaning_first(given: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        canonical_measure(given, KNOWN)


def test_only_class_bound_measures_name_their_class() -> None:
    assert measure_words("specificity", "malignant") == "specificity for 'malignant'"
    assert measure_words("recall") == "sensitivity (recall)"
    assert measure_words("auroc", "malignant") == "AUROC"
    assert [name for name in KNOWN if is_class_bound(name)] == ["precision", "recall", "specificity", "f1", "auprc"]

"""The words of figures: each that is said has a translation with the same fields; numerals, but not those of names."""

import ast
import re
from pathlib import Path

import pytest

from counterstain.evaluation.format import METRIC_NAMES
from counterstain.reports.figure_words import GERMAN, measure_name, numerals, words

REPORTS = Path(__file__).parents[2] / "src" / "counterstain" / "reports"
# Said through a variable: measures, levels, parts, states and templates.
BY_NAME = {"loss", "accuracy", "train", "val", "test", "before", "calibrated", "image", "slide", "patient"}


def said() -> set[str]:
    """Every text that a figure says."""
    found: set[str] = set(BY_NAME)
    for path in REPORTS.glob("*figure*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say":
                found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    return found


def test_every_text_of_a_figure_has_its_german() -> None:
    assert len(said()) > 30
    assert said() <= set(GERMAN), said() - set(GERMAN)
    assert set(METRIC_NAMES.values()) <= set(GERMAN)


@pytest.mark.parametrize("text", sorted(GERMAN))
def test_a_translation_has_the_same_fields(text: str) -> None:
    fields = [sorted(re.findall(r"\{\w+\}", own)) for own in (text, GERMAN[text])]
    assert fields[0] == fields[1]


def test_words_in_both_languages() -> None:
    text = "{measure} with {percent} interval"
    assert words(text, "en", measure="AUROC", percent="95 %") == "AUROC with 95 % interval"
    assert words(text, "de", measure="AUROC", percent="95 %") == "AUROC mit 95 %-Konfidenzintervall"
    assert words("a name of the user's", "de") == "a name of the user's"
    assert measure_name("recall", "de") == "Sensitivität" and measure_name("auroc", "de") == "AUROC"


@pytest.mark.parametrize(
    ("text", "german"),
    [
        ("0.842", "0,842"),
        ("−0.03", "−0,03"),
        ("+0.021  [−0.030, +0.072]", "+0,021  [−0,030; +0,072]"),
        ("AUROC 0.8 (95 %: [0.7, 0.9])", "AUROC 0,8 (95 %: [0,7; 0,9])"),
        ("1,234", "1.234"),
        ("1,234.5", "1.234,5"),
        ("lr-0.1", "lr-0.1"),
        ("v1.5", "v1.5"),
        ("given-32, 3 Seeds", "given-32, 3 Seeds"),
        ("12", "12"),
    ],
)
def test_numerals(text: str, german: str) -> None:
    assert numerals(text, "de") == german
    assert numerals(text, "en") == text

"""Verbs that read images: one set of options, shown in their signature, and none that is unknown is taken."""

import inspect

import pytest

import counterstain
from counterstain.cohort.reading_options import DEFAULTS, ImageOptions, ReadingOptions

COHORTS = ("cohort", "split", "audit", "augment", "init", "train", "features")
OF_A_MODEL = ("predict", "robustness", "explain")  # the model knows its positive class


@pytest.mark.parametrize("name", [*COHORTS, *OF_A_MODEL])
def test_a_verb_of_images_shows_every_option(name: str) -> None:
    shown = inspect.signature(counterstain._load(name)).parameters
    wanted = set(ReadingOptions.__annotations__ if name in COHORTS else ImageOptions.__annotations__)
    assert wanted <= set(shown) and ("positive" in shown) == (name in COHORTS)
    assert {option: shown[option].default for option in wanted} == {option: DEFAULTS[option] for option in wanted}  # type: ignore[literal-required]


@pytest.mark.parametrize("name", [*COHORTS, *OF_A_MODEL])
def test_an_unknown_option_is_refused_before_any_work(name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name}\(\) got an unexpected keyword argument 'patern'"):
        counterstain._load(name)("absent", patern="x")

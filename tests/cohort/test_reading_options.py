"""The options of reading images have the defaults of what reads them."""

import inspect

from counterstain.cohort.layouts import read_folder
from counterstain.cohort.reading_options import DEFAULTS, NamingOptions


def test_defaults_are_those_of_the_reader() -> None:
    own = inspect.signature(read_folder).parameters
    for name in (*NamingOptions.__annotations__, "positive", "root"):
        assert own[name].default == DEFAULTS[name]  # type: ignore[literal-required]

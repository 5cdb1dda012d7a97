"""What `import counterstain` offers."""

import pytest

import counterstain


def test_every_name_is_there() -> None:
    for name in counterstain.__all__:
        assert getattr(counterstain, name) is not None
    assert "run_study" in dir(counterstain)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'run_studies'"):
        counterstain.run_studies  # noqa: B018

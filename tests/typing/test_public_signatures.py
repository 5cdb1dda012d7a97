"""Signatures say what they take and give: few public functions have an Any, and their number only falls."""

from house_numbers import parsed, with_any

MOST = 36  # what reads files of others or libraries without types; lower it when you mend some


def test_few_public_signatures_have_any() -> None:
    found = with_any(parsed())
    assert len(found) <= MOST, "\n".join(found)


def test_the_interface_of_users_has_none() -> None:
    assert [name for name in with_any(parsed()) if name.startswith("api/")] == []

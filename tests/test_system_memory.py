"""The allocator is told to keep its pages, unless it is not to be."""

import sys

import pytest

from counterstain.system import keep_pages


def test_the_user_can_leave_the_allocator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSTAIN_ALLOCATOR", "default")
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    assert keep_pages() is False


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told")
def test_glibc_takes_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COUNTERSTAIN_ALLOCATOR", raising=False)
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "1")
    assert keep_pages() is True

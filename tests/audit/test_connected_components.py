"""Rows hang together by chains of pairs."""

from counterstain.audit.connected_components import link


def test_chains_of_pairs_make_clusters() -> None:
    found = link(6, [(0, 1), (4, 1), (2, 3), (5, 5)])
    assert found[0] == found[1] == found[4]
    assert found[2] == found[3]
    assert len(set(found.tolist())) == 3
    assert len(set(link(3, []).tolist())) == 3

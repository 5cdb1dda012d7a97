"""Which rows hang together by pairs."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["link"]


def link(rows: int, pairs: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """(rows,) number of each row's cluster; a chain of pairs leads from each of its rows to each other one.

    Args:
        rows: how many.
        pairs: of rows, each in [0, rows).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(rows, rows))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)

"""The nearest of many unit vectors by their cosine: all of them compared, or, where they are many, through an index."""

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALL", "Nearest", "index_is_installed"]

Floats = NDArray[np.float32]

# Up to here all are compared with all, which takes seconds. Above, the vectors are sorted into cells around
# CELLS x sqrt(N) centres, and each is compared with the PROBED nearest cells (recall: docs/measures/copies.md).
ALL = 20_000
CELLS = 4
PROBED = 24
PER_CELL = 40  # vectors per cell from which its centre is computed


def index_is_installed() -> bool:
    """Whether the library of the index is there; without it everything is compared with everything."""
    return importlib.util.find_spec("faiss") is not None


@dataclass(frozen=True, eq=False)
class Nearest:
    """Unit vectors (N, D) that can be asked for the nearest of them.

    known: their transpose, where all are compared; index: else
    """

    known: Floats | None
    index: Any

    @classmethod
    def of(cls, units: Floats, *, most: int = ALL) -> "Nearest":
        """Prepare N unit vectors; more than `most` get an index, which is the same each time it is built."""
        if len(units) <= most or not index_is_installed():
            return cls(np.ascontiguousarray(units.T), None)
        import faiss

        cells = max(1, min(int(CELLS * np.sqrt(len(units))), len(units) // 4))
        quantizer = faiss.IndexFlatIP(units.shape[1])
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, units.shape[1], cells, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        index.cp.seed, index.cp.niter, index.cp.spherical = 0, 10, True
        sample = np.random.default_rng(0).permutation(len(units))[: PER_CELL * cells]
        index.train(np.ascontiguousarray(units[np.sort(sample)]))
        index.add(np.ascontiguousarray(units))
        index.nprobe = min(PROBED, cells)
        return cls(None, (quantizer, index))

    def rows(self, queries: Floats, take: int) -> NDArray[np.int64]:
        """(M, take) the rows of the nearest known vectors of each query (M, D), in no order; -1: no more."""
        if self.known is not None:
            return np.asarray(np.argpartition(-(queries @ self.known), take - 1, axis=1)[:, :take])
        _, index = self.index
        return np.asarray(index.search(np.ascontiguousarray(queries), take)[1])

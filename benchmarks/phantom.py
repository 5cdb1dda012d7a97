"""How many phantom tiles a second one and two processes draw and write. Prints one JSON line.

python benchmarks/phantom.py [--tiles 600] [--tile-px 257]
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

from counterstain.phantom.tiles import Phantom, write_phantom


def measure(phantom: Phantom, workers: int) -> float:
    """Tiles a second from the call to the written cohort, the start of the processes included."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        cohort = write_phantom(phantom, Path(folder), workers=workers)
        return len(cohort) / (time.perf_counter() - start)


def main() -> None:
    """Time both and print."""
    parser = argparse.ArgumentParser(description="Phantom tiles a second.")
    parser.add_argument("--tiles", type=int, default=600)
    parser.add_argument("--tile-px", type=int, default=257)
    given = parser.parse_args()
    patients = max(2, given.tiles // 20)
    phantom = Phantom(patients=patients, tiles_per_patient=max(1, given.tiles // patients), tile_px=given.tile_px)
    record = {
        "benchmark": "phantom",
        "tile_px": given.tile_px,
        "tiles_a_second_1_worker": round(measure(phantom, 1), 1),
        "tiles_a_second_2_workers": round(measure(phantom, 2), 1),
        "load_before": round(os.getloadavg()[0], 2),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()

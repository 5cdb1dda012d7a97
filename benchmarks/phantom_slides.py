"""How long whole phantom slides take to draw, and the most memory it takes, by size. Prints one JSON line.

python benchmarks/phantom_slides.py [--sides 2048 8192 16384]
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

from counterstain.phantom.slide import PhantomSlide, write_slide


def measure(side_px: int) -> dict[str, float]:
    """Seconds and peak memory of one square slide."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        start = time.perf_counter()
        write_slide(PhantomSlide(size_px=(side_px, side_px)), path)
        seconds = time.perf_counter() - start
        return {
            "side_px": side_px,
            "seconds": round(seconds, 1),
            "file_mb": round(path.stat().st_size / 1e6, 1),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        }


def main() -> None:
    """Each size in a process of its own, as a process never gives back its peak."""
    parser = argparse.ArgumentParser(description="Seconds and memory of phantom slides.")
    parser.add_argument("--sides", type=int, nargs="+", default=[2048, 8192, 16384])
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rows = []
    for side in given.sides:
        with context.Pool(1) as pool:
            rows.append(pool.apply(measure, (side,)))
    record = {
        "benchmark": "phantom_slides",
        "slides": rows,
        "load_before": round(os.getloadavg()[0], 2),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()

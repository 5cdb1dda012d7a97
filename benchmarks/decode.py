"""How fast images are decoded and stored: ours against Pillow and OpenCV alone. One JSON line.

    python benchmarks/decode.py FOLDER [--images 500] [--tile-px 96] [--threads 1 2]

Wall time and the processor's own time; files are read once beforehand, so that the disk plays no part.
"""

import argparse
import io
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from counterstain.pixels.decode import decode_content, decoder_version
from counterstain.pixels.store import build_store, read_batch


def rates(work: Callable[[], object], count: int) -> dict[str, float]:
    """Images a second of wall time and of processor time; the better of two."""
    best = {"wall": 0.0, "cpu": 0.0}
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        best["wall"] = max(best["wall"], round(count / (time.perf_counter() - wall), 1))
        best["cpu"] = max(best["cpu"], round(count / (time.process_time() - cpu), 1))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--tile-px", type=int, default=96)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    cv2.setNumThreads(1)
    suffixes = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
    names = sorted(
        path.relative_to(options.folder).as_posix()
        for path in options.folder.rglob("*")
        if path.suffix.lower() in suffixes
    )[: options.images]
    contents = [(options.folder / name).read_bytes() for name in names]
    pairs = list(zip(contents, names, strict=True))
    found: dict[str, object] = {
        "ours": rates(lambda: [decode_content(content, name) for content, name in pairs], len(pairs)),
        "pillow": rates(lambda: [np.asarray(Image.open(io.BytesIO(c)).convert("RGB")) for c in contents], len(pairs)),
        "opencv": rates(lambda: [cv2.imdecode(np.frombuffer(c, np.uint8), 1) for c in contents], len(pairs)),
    }
    cohort = SimpleNamespace(table=pd.DataFrame({"image_path": names}), root=options.folder)
    for threads in options.threads:
        with tempfile.TemporaryDirectory() as folder:
            wall, cpu = time.perf_counter(), time.process_time()
            store = build_store(cohort, Path(folder), tile_px=options.tile_px, threads=threads)  # type: ignore[arg-type]
            found[f"store_{threads}_threads"] = {
                "wall": round(len(names) / (time.perf_counter() - wall), 1),
                "cpu": round(len(names) / (time.process_time() - cpu), 1),
            }
            wall = time.perf_counter()
            build_store(cohort, Path(folder), tile_px=options.tile_px)  # type: ignore[arg-type]
            found["open_again_seconds"] = round(time.perf_counter() - wall, 3)
            rows = np.random.default_rng(0).integers(0, len(store.image), (50, 64))
            found["read_batch"] = rates(lambda store=store, rows=rows: [read_batch(store, r) for r in rows], rows.size)
    peak_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    load = round(os.getloadavg()[0], 1)
    record = {"benchmark": "decode", "images": len(names), "images_per_second": found, "peak_mb": peak_mb}
    print(json.dumps({**record, "load_average": load, "decoder": decoder_version()}))


if __name__ == "__main__":
    main()

"""What a study and a reading of slides cost from 10³ to 10⁸ tiles on 1 to 256 workers: a model of measured parts.

    .venv/bin/python benchmarks/cost_model.py [--trainings 12] [--epochs 30]

Every rate below was printed by a script of this folder on two cores (benchmarks/results.md); a worker is one of
those. Nothing is measured at the sizes of its last rows: it shows which part outgrows the others, and where a limit is
met.
Tables go to stdout as Markdown.
"""

import argparse
import math

DECODED_PER_S = 277  # PNG of 700×460 into the store (decode.py)
STORED_BYTES = 257 * 257 * 3
TRAINED_PER_S = 452  # the given network at 257 px, bf16, whole epochs (epoch.py)
PREDICTED_PER_S = 1398  # prediction.py
AUDITED = {20_000: 32.4, 60_000: 66.1, 200_000: 271.5}  # seconds from files to pairs (audit.py --time)
AUDIT_GB = (2.46 - 0.82) / 180_000
JUDGED_S = (4.6 + 3.9) / 1e6  # evaluate and compare, per row (large_tables.py)
READ_PER_S = 2881 / 7.6  # tiles of a slide of 20,000 px, from the file to the maps (slides_peers.py)
TILES_A_SLIDE = 2881
TRAIN, TEST = 0.64, 0.2
TILES = tuple(10**power for power in range(3, 9))
WORKERS = (1, 4, 16, 64, 256)


def audit_s(tiles: float) -> float:
    """Seconds of the audit: between the measured sizes and beyond them by the slope of the last two."""
    known = sorted(AUDITED.items())
    (x0, y0), (x1, y1) = known[:2] if tiles < known[1][0] else known[-2:]
    return y0 * (tiles / x0) ** (math.log(y1 / y0) / math.log(x1 / x0))


def study_s(tiles: int, workers: int, trainings: int, epochs: int) -> dict[str, float]:
    """Seconds of each part of a study."""
    turns = math.ceil(trainings / workers)
    one = epochs * TRAIN * tiles / TRAINED_PER_S + TEST * tiles / PREDICTED_PER_S
    return {
        "store": tiles / DECODED_PER_S,
        "audit": audit_s(tiles),
        "training": turns * one,
        "judging": JUDGED_S * TEST * tiles * trainings,
    }


def slides_s(tiles: int, workers: int) -> float:
    """Seconds of reading slides with so many tiles in all, a slide a task."""
    slides = max(1, round(tiles / TILES_A_SLIDE))
    return math.ceil(slides / workers) * (tiles / slides) / READ_PER_S


def words(seconds: float) -> str:
    """Seconds in the unit that fits."""
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"


def row(cells: list[str]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=12, help="of the study: arms × seeds × folds")
    parser.add_argument("--epochs", type=int, default=30)
    given = parser.parse_args()
    head = ["tiles", "store", "audit", "trainings, one worker", "judging"]
    head += [f"whole, {n} worker{'s' if n > 1 else ''}" for n in WORKERS] + ["store on disk", "memory of the audit"]
    print(row(head), row(["---"] * len(head)), sep="\n")
    for tiles in TILES:
        parts = study_s(tiles, 1, given.trainings, given.epochs)
        whole = [sum(study_s(tiles, n, given.trainings, given.epochs).values()) for n in WORKERS]
        disk, memory = tiles * STORED_BYTES / 1e9, 0.5 + tiles * AUDIT_GB
        cells = [f"{tiles:,}", *(words(value) for value in parts.values()), *(words(value) for value in whole)]
        print(row([*cells, f"{disk:,.1f} GB", f"{memory:,.1f} GB"]))
    print()
    print(row(["tiles in slides", *head[5:-2]]), row(["---"] * (1 + len(WORKERS))), sep="\n")
    for tiles in TILES:
        print(row([f"{tiles:,}", *(words(slides_s(tiles, n)) for n in WORKERS)]))


if __name__ == "__main__":
    main()

"""A worked evaluation on public data: what is known or published of each set, beside what this program says. No tuning.

    python benchmarks/worked_evaluation.py DATA [--only readers scanners breakhis colorectal pcam phantom]

DATA is a folder with reader_study/, five_scanners/, breakhis_100x/, colorectal_tissue/ and pcam/;
docs/worked-evaluation.md says where they come from. Every command runs with its defaults; nothing is trained. One JSON
line is printed.
"""

import argparse
import csv
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

import counterstain
from counterstain.files import read_json

READERS = range(1, 6)


def readers(data: Path, work: Path) -> dict[str, Any]:
    """Five pathologists, microscope against four scanners: 20 comparisons with the slide as the unit."""
    table = pd.read_csv(data / "reader_study" / "readers.csv")
    views = {str(name): part.set_index("targetID") for name, part in table.groupby("modalityID")}
    first = views.pop("microscope")
    found = {}
    for name, second in views.items():
        for reader in READERS:
            calls = {
                "microscope": first[f"observer.{reader}"].to_numpy(float),
                "scanner": second.loc[first.index, f"observer.{reader}"].to_numpy(float),
            }
            pair = counterstain.compare(
                first["truth"].to_numpy(int), calls, groups=first["wsiName"].to_numpy(), fixed_models=True
            ).pairs[0]
            found[f"{name[-1]}{reader}"] = [pair.difference, pair.low, pair.high, pair.p, pair.verdict]
    return {"slides": first["wsiName"].nunique(), "cells": len(first), "comparisons": found}


def scanners(data: Path, work: Path) -> dict[str, Any]:
    """One field by five scanners, given two labels: every pair is one place."""
    for number, path in enumerate(sorted((data / "five_scanners").glob("*.png"))):
        place = work / "five" / ("a" if number % 2 else "b") / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    report = counterstain.audit(work / "five", out=work / "five-audit")
    with (work / "five-audit" / "pairs.csv").open(encoding="utf-8") as stream:
        tiers = Counter(row["tier"] for row in csv.DictReader(stream))
    return {"pairs": dict(tiers), "of": 10, "clean": report.clean}


def baselines(folder: Path) -> dict[str, list[float]]:
    """AUROC and its limits of the baselines that an audit tries without a network."""
    arms = read_json(folder / "baselines.json")["arms"]
    picked = {}
    for name, arm in arms.items():
        for score in arm["scores"]:
            if score["metric"] == "auroc" and score["class"] is None:
                picked.setdefault(name, [score["value"], score["low"], score["high"]])
    return picked


def breakhis(data: Path, work: Path) -> dict[str, Any]:
    """A colour histogram under a split of images at random, and under one by patient."""
    manifest, reading = data / "breakhis_100x" / "manifest.csv", {"columns": {"patient_id": "case_id"}}
    found = {}
    for unit in ("image", "patient"):
        counterstain.split(manifest, out=work / f"{unit}.csv", unit=unit, positive="malignant", **reading)
        out = work / f"audit-{unit}"
        report = counterstain.audit(manifest, work / f"{unit}.csv", out=out, unit=unit, positive="malignant", **reading)
        leaks = sum(finding.count for finding in report.findings if finding.severity == "leak")
        found[unit] = {"clean": report.clean, "leaks": leaks, "auroc": baselines(out)}
    return found


def colorectal(data: Path, work: Path) -> dict[str, Any]:
    """Two small sets without patients: what may be claimed of a split of them."""
    found = {}
    for name in ("crc_val_he_7k_subset", "kather2016_samples"):
        folder = data / "colorectal_tissue" / name
        made = counterstain.split(folder, unit="image")
        cohort = counterstain.cohort(folder)
        found[name] = {"images": len(cohort), "classes": len(cohort.classes), "stamp": getattr(made, "stamp", ""),
                       "notes": list(cohort.notes)}  # fmt: skip
    return found


def pcam(data: Path, work: Path) -> dict[str, Any]:
    """Copies within and between the parts of the data set's own split; what colour alone gives on a sample of it."""
    table = pd.read_csv(data / "pcam" / "manifest.csv", dtype=str)
    hashes = {name: part["sha256"] for name, part in table.groupby("split")}
    repeats = {name: len(own) - own.nunique() for name, own in hashes.items()}
    # Every tenth tile to train on and every third to test on: the audit of all 23,000 takes many minutes.
    sample = pd.concat([table[table["split"] == "train"][::10], table[table["split"] == "valid"][::3]])
    sample.assign(path=[str(data.absolute() / "pcam" / path) for path in sample["path"]]).to_csv(
        work / "sample.csv", index=False
    )
    rows = pd.DataFrame({"image_path": sample["path"], "split": sample["split"].replace({"valid": "test"})})
    rows["image_path"] = [str(data.absolute() / "pcam" / path) for path in rows["image_path"]]
    rows.to_csv(work / "splits.csv", index=False)
    report = counterstain.audit(
        work / "sample.csv", work / "splits.csv", out=work / "audit", unit="image", rotated=False, positive="1"
    )
    return {"images": len(table), "identical_repeats": repeats,
            "files_in_both_parts": len(set(hashes["train"]) & set(hashes["valid"])), "sample": len(sample),
            "clean": report.clean, "auroc": baselines(work / "audit")}  # fmt: skip


def phantom(data: Path, work: Path) -> dict[str, Any]:
    """Tiles whose truth is known: without a shortcut, and with the scanner's colour tied to the label."""
    found = {}
    for shortcut in (0.0, 0.9):
        folder = work / f"phantom-{shortcut}"
        counterstain.phantom(folder, patients=40, tiles=6, tile_px=127, shortcut=shortcut)
        counterstain.split(folder / "cohort.csv", out=work / f"phantom-{shortcut}.csv")
        out = work / f"audit-phantom-{shortcut}"
        report = counterstain.audit(folder / "cohort.csv", work / f"phantom-{shortcut}.csv", out=out)
        found[str(shortcut)] = {"findings": [finding.tier for finding in report.findings], "auroc": baselines(out)}
    return found


PARTS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    one.__name__: one for one in (readers, scanners, breakhis, colorectal, phantom, pcam)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        record = {}
        for name in asked.only:
            began = time.perf_counter()
            work = Path(place) / name
            work.mkdir()
            record[name] = PARTS[name](asked.data, work)
            record[name]["seconds"] = round(time.perf_counter() - began, 1)
    print(json.dumps(record))


if __name__ == "__main__":
    main()

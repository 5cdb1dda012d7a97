"""What do `evaluate` and `compare` cost on tables of a million rows?

    .venv/bin/python benchmarks/large_tables.py [--rows 1000000] [--patients 5000] [--classes 2 9]

Two CSV tables of the same images are written (image_path, patient_id, label, prob_<class> with six digits): patients of
uneven size and of one class each. `evaluate` reads the first and `compare` both, each as a process of its own, as a
user starts them. Seconds are of the processor (user and system, of all threads), so that other programs on the machine
matter little; the peak is the process's largest resident memory. The tables are made by a process of their own, since
a child's peak counts what its parent held. The bar is for two classes. A table goes to stderr, one JSON line to stdout.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from turns import finish, say, show

BAR = {"cpu_s": 12.0, "peak_gb": 1.0}
CHUNK = 100_000


def make_tables(folder: Path, rows: int, patients: int, classes: int, seed: int = 0) -> None:
    """Write a.csv and b.csv, the second model a little weaker."""
    import numpy as np

    rng = np.random.default_rng(seed)
    size = rng.dirichlet(np.full(patients, 2.0))
    hardness = rng.normal(0, 0.7, (2, patients))
    columns = ",".join(f"prob_class{c}" for c in range(classes))
    files = [(folder / name).open("w", encoding="utf-8") for name in ("a.csv", "b.csv")]
    for file in files:
        file.write(f"image_path,patient_id,label,{columns}\n")
    for start in range(0, rows, CHUNK):
        count = min(CHUNK, rows - start)
        patient = rng.choice(patients, count, p=size)
        label = patient % classes
        shared = rng.normal(0, 1, (count, classes))
        for file, strength, hard in zip(files, (1.6, 1.5), hardness, strict=True):
            score = shared + rng.normal(0, 0.7, (count, classes))
            score[np.arange(count), label] += strength + hard[patient]
            prob = np.exp(score)
            prob = np.round(prob / prob.sum(axis=1, keepdims=True), 6)
            prob[:, -1] = 1 - prob[:, :-1].sum(axis=1)
            for k, (who, true, values) in enumerate(zip(patient.tolist(), label.tolist(), prob.tolist(), strict=True)):
                cells = ",".join(f"{abs(value):.6f}" for value in values)
                file.write(f"tiles/patient-{who:05d}/tile-{start + k:07d}.png,patient-{who:05d},class{true},{cells}\n")
    for file in files:
        file.close()


def measured(command: list[str]) -> dict[str, float]:
    """Processor seconds and peak memory of a process that must end well."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with exit code {process.returncode}")
    return {"cpu_s": round(used.ru_utime + used.ru_stime, 2), "peak_gb": round(used.ru_maxrss * 1024 / 1e9, 3)}


def main() -> None:
    """Make the tables, run both verbs on each, print the record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--patients", type=int, default=5000)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 9])
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make is not None:
        make_tables(given.make, given.rows, given.patients, given.classes[0])
        return
    verb = [sys.executable, "-m", "counterstain"]
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = ["--rows", str(given.rows), "--patients", str(given.patients)]
        for classes in given.classes:
            subprocess.run(
                [sys.executable, __file__, "--make", name, *size, "--classes", str(classes)], check=True
            )  # fmt: skip
            a, b = str(folder / "a.csv"), str(folder / "b.csv")
            commands = {
                "evaluate": [*verb, "evaluate", a, "--out", str(folder / "scored")],
                "compare": [*verb, "compare", f"a={a}", f"b={b}", "--fixed-models"],
            }
            for what, command in commands.items():
                say(f"{what}, {classes} classes …")
                found[f"{what}, {classes} classes"] = measured(command)
    show([("", "processor, s", "peak, GB"), *((k, f"{v['cpu_s']}", f"{v['peak_gb']}") for k, v in found.items())])
    held = all(
        own[what] <= limit for k, own in found.items() if k.endswith(" 2 classes") for what, limit in BAR.items()
    )
    record: dict[str, Any] = {"rows": given.rows, "patients": given.patients, "bar": BAR, "held": held, "found": found}
    finish("large_tables", record)


if __name__ == "__main__":
    main()

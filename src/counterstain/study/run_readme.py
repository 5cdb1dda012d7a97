"""README.md of a run's folder: what was studied, what came out, and what each file is."""

from pathlib import Path

from counterstain.files import write_bytes
from counterstain.run_folder import LOG, MANIFEST, RECORDS, optional_record
from counterstain.study.training_curves import PICTURE

__all__ = ["write_readme"]

# Path in the run's folder, and what it is; only what is there is listed.
ON_TOP = (
    ("report.html", "the report: one page that needs no other file"),
    ("scores.csv", "every score with its interval, unit and number of images: one row per arm and measure"),
    ("figures", "the figures of the report"),
    ("predictions", "test predictions, one table per arm and seed: `predictions/<arm>/seed-0.csv`"),
    ("arms", "the trained models: `arms/<arm>/seed-0/fold-0-0/` is a model for every command that takes one"),
    ("study.yaml", "the study as it was run"),
    (LOG, "what was done, with times: every epoch, too"),
    (PICTURE, "loss and accuracy by epoch of every training"),
    ("decisions.csv", "decisions on possible copies, made on the audit page"),
)
IN_RECORDS = (
    ("resolved.json", "the study with every default written out"),
    ("cohort.csv", "the images with label, patient, slide and site; `cohort.json` counts them"),
    ("set_aside.csv", "images that could not be read, with the reason"),
    ("splits.csv", "the part of each image: train, val or test; `split.json` counts images and patients"),
    ("augmentation.json", "which augmentations were used"),
    ("environment.json", "versions, processor and threads"),
    ("audit.json", "findings of the audit; `audit/` has the pairs of possible copies"),
    ("baselines.json", "scores without a network; `baselines/` has their predictions"),
    ("scores.json", "the scores, for programs"),
    ("comparison.json", "the comparison of the arms and its verdict"),
    ("beyond_chance.json", "each arm held against chance and the strongest baseline"),
    ("errors.json", "telling errors, the patients they are of, their influence; `error_tiles/` has the tiles"),
    ("in_use.json", "calibration, thresholds and prediction sets as frozen on validation patients"),
    ("subgroups.json", "scores by site, slide and patient"),
    ("procedures.json", "differences by fold, and the sources of variance"),
    ("decision_curve.json", "net benefit over thresholds"),
    ("looks.json", "how often this test part has been used"),
    ("slide.json", "scores on the whole slide"),
    ("old_protocol.json", "what the old protocol would claim of the same images"),
    ("stages", "which stage was finished with which inputs; a stopped run is resumed from these"),
    (MANIFEST, "SHA-256 of every file; it is written last, so a run that has it is finished"),
)


def write_readme(run: Path) -> Path:
    """Write README.md from the records and the files that are in the folder; returns its path."""
    scores, comparison = optional_record(run, "scores.json"), optional_record(run, "comparison.json")
    stamp = str(scores.get("stamp") or "")
    verdict = str(comparison.get("words") or "One arm was trained, so nothing is compared.")
    # What is written after this file is listed as if it were there.
    top = [row for row in ON_TOP if (run / row[0]).exists()]
    records = [row for row in IN_RECORDS if (run / RECORDS / row[0]).exists() or row[0] == MANIFEST]
    lines = [
        f"# {run.name}",
        "",
        "A run of Counterstain, finished and never changed afterwards.",
        *(["", f"**{stamp}**"] if stamp else []),
        "",
        verdict,
        "",
        "| file | what it is |",
        "|---|---|",
        *(f"| [{name}]({name}) | {words} |" for name, words in top),
        "",
        f"`{RECORDS}/` has what programs read:",
        "",
        "| file | what it is |",
        "|---|---|",
        *(f"| [{name}]({RECORDS}/{name}) | {words} |" for name, words in records),
        "",
        "Is every file as it was written? `counterstain verify .` Does the run repeat? `counterstain reproduce .`",
        "Use its best model on other images: `counterstain predict . images/`",
        "",
    ]
    path = run / "README.md"
    write_bytes(path, "\n".join(lines))
    return path

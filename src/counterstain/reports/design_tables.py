"""The tables of a report that say what was done: cohort, split, arms and transformations."""

from collections.abc import Mapping
from typing import Any

from counterstain.evaluation.format import UNDEFINED, clean, natural, share
from counterstain.reports.page_table import Cell, Table, count_heads, counted, row_counts, table_cells
from counterstain.reports.run_record import RunRecord, part_order

__all__ = ["arm_table", "cohort_table", "ranges_table", "site_table", "split_table"]

MOST_ROWS = 40


def arm_table(run: RunRecord) -> Table:
    """The arms: what differs between them, and how long each run of each was trained."""
    rows = []
    for arm in run.arms:
        settings = (run.resolved.get("arms") or {}).get(arm, {})
        runs = [training for training in run.trainings if training.arm == arm]
        frozen = settings.get("tune") == "frozen"  # a probe has neither batches nor epochs
        if frozen:
            settings = {"network": f"{settings.get('network', UNDEFINED)}, frozen"}
        parameters = next((training.record.get("parameters") for training in runs), None)
        best = [str(training.best_epoch) for training in runs if not frozen]
        trained = [str(training.epochs) for training in runs if not frozen]
        as_range = len(best) > 6
        rows.append(
            table_cells(
                arm,
                settings.get("network", UNDEFINED),
                counted(parameters),
                settings.get("batch", UNDEFINED),
                f"{settings['learning_rate']:g}" if "learning_rate" in settings else UNDEFINED,
                f"{min(map(int, best))}–{max(map(int, best))}" if as_range else ", ".join(best) or UNDEFINED,
                f"{min(map(int, trained))}–{max(map(int, trained))}" if as_range else ", ".join(trained) or UNDEFINED,
            )
        )
    head = ("arm", "network", "parameters", "batch", "learning rate", "best epochs", "last epochs")
    return Table("The arms and their trainings", head, tuple(rows), frozenset({0, 1}))


def cohort_table(run: RunRecord) -> Table | None:
    """Images and patients of each class."""
    per_class = run.cohort.get("per_class") or {}
    total, alone = run.cohort.get("images") or 0, run.rows_are == "patient"
    names = [name for name in run.cohort.get("classes", per_class) if name in per_class]
    if not names:
        return None
    rows = [
        table_cells(
            Cell(clean(name), "the positive class" if name == run.cohort.get("positive") else ""),
            f"{per_class[name]['images']:,}",
            share(per_class[name]["images"], total),
            *(() if alone else (counted(per_class[name].get("patients")),)),
        )
        for name in names
    ]
    patients = (run.cohort.get("patients") or {}).get("count")
    last = () if alone else (Cell(counted(patients), strong=True),)
    rows.append(table_cells("all", Cell(f"{total:,}", strong=True), "", *last))
    head = ("class", run.rows, "share", *(() if alone else ("patients",)))
    return Table("Classes of the cohort", head, tuple(rows))


def site_table(run: RunRecord) -> Table | None:
    """Images and patients of each site, with the images of each class; None where sites are unknown."""
    sites = run.cohort.get("sites") or {}
    if not sites:
        return None
    classes = [name for name in run.cohort.get("classes", ()) if len(run.cohort["classes"]) <= 4]
    rows = [
        table_cells(
            name or "not named",
            *row_counts(run.rows_are, sites[name]["images"], sites[name].get("patients")),
            *(f"{sites[name]['per_class'][klass]['images']:,}" for klass in classes),
        )
        for name in natural(sites)[:MOST_ROWS]
    ]
    more = f" (the first {MOST_ROWS} of {len(sites)})" if len(sites) > MOST_ROWS else ""
    return Table(f"Sites{more}", ("site", *count_heads(run.rows_are), *map(clean, classes)), tuple(rows))


def split_table(run: RunRecord) -> Table | None:
    """Images and patients of each part of the split, in all and by class."""
    parts = run.split.get("parts", ())
    if not parts:
        return None
    alone = run.rows_are == "patient"
    classes = [name for name in run.scores["classes"] if len(run.scores["classes"]) <= 4]
    rows = []
    for part in parts:
        where = f"repeat {part['repeat']}, fold {part['fold']}: " if len(parts) > 1 else ""
        for name in part_order(list(part["counts"])):
            counts = part["counts"][name]
            per_class = [counts["per_class"].get(klass, {"images": 0, "patients": None}) for klass in classes]
            rows.append(
                table_cells(
                    f"{where}{name}",
                    *row_counts(run.rows_are, counts["images"], counts.get("patients")),
                    *(Cell(f"{row['images']:,}", "" if alone else _patients(row.get("patients"))) for row in per_class),
                )
            )
    more = f"; the first {MOST_ROWS} lines of {len(rows)}" if len(rows) > MOST_ROWS else ""
    head = ("part", *count_heads(run.rows_are), *map(clean, classes))
    by_patient = not alone and any(row.get("patients") is not None for part in parts for row in part["counts"].values())
    below = f": {run.rows}{', and below them patients,' if by_patient else ''} of each class" if classes else ""
    return Table(f"Parts of the split{below}{more}", head, tuple(rows[:MOST_ROWS]))


def _patients(count: int | None) -> str:
    return "" if count is None else f"{count:,} patient{'' if count == 1 else 's'}"


def ranges_table(run: RunRecord) -> Table | None:
    """The transformations that were switched on, each with its range and how often it was used."""
    settings = run.augmentation.get("settings") or run.resolved.get("augmentation") or {}
    names = run.augmentation.get("transformations") or ()
    expand = settings.get("mode") == "expand"
    rows = [
        table_cells(
            name.replace("_", " "),
            _range(name, settings),
            "one copy of each image" if expand else _how_often(name, settings),
        )
        for name in names
    ]
    if not rows:
        return None
    return Table(
        "Transformations of training images", ("transformation", "range", "used on"), tuple(rows), frozenset({0, 1, 2})
    )


def _range(name: str, settings: Mapping[str, Any]) -> str:
    match name:
        case "flip":
            return "left–right and up–down" if settings.get("flip") == "both" else str(settings.get("flip"))
        case "equalise":
            kinds = {"luminance": "luminance", "tissue": "the tissue's luminance"}
            return f"histogram of {kinds.get(str(settings.get('equalise')), 'each colour channel')}"
        case "rotation" | "shear":
            return f"up to ±{settings[f'{name}_deg']:g}°"
        case "translation":
            return f"up to ±{100 * settings['translation']:g} % of the side"
        case "quarter_turn":
            return "0, 90, 180 or 270°"
        case "colour":
            parts = [part for part in ("brightness", "contrast", "saturation") if settings.get(part)]
            return ", ".join(f"{part} ±{100 * settings[part]:g}\u00a0%" for part in parts)
        case _:
            return ""


def _how_often(name: str, settings: Mapping[str, Any]) -> str:
    probability = settings.get(f"{name}_probability")
    each = ", each direction by itself" if name == "flip" and settings.get("flip") == "both" else ""
    return "every image" if probability in (None, 1, 1.0) else f"{100 * probability:g} % of the images{each}"

"""Folders of images as cohorts: one folder per class, and the naming of public data sets, each a row of a table."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from counterstain.cohort.arrays import read_hdf5, read_npz
from counterstain.cohort.class_folders import DATA_SET_PARTS, label_by_folder, part_folders
from counterstain.cohort.cohort import Cohort, assemble, container
from counterstain.cohort.cohort_columns import COLUMNS, NUMBER_COLUMNS, clean_labels, clean_numbers, rename_splits
from counterstain.cohort.companions import MASK_OF, without_masks
from counterstain.cohort.image_files import (
    CONTAINER_SUFFIXES,
    IMAGE_SUFFIXES,
    LINKS_WAY_OUT,
    PACKED,
    ImageFiles,
    find_images,
)
from counterstain.cohort.manifest import is_own_table, read_manifest
from counterstain.cohort.patterns import match_pattern
from counterstain.cohort.reading_options import NamingOptions
from counterstain.errors import InputError, first_names, suggest
from counterstain.files import StrPath
from counterstain.run_folder import record_path

__all__ = ["LAYOUTS", "Layout", "read_folder", "read_images"]


@dataclass(frozen=True)
class Layout:
    """How the files of a data set are named.

    pattern: searched for in each path below the root; its groups are columns of the cohort, and "magnification"
    tasks:   groups of the pattern that are labels, the first one the default; () where it has one, or the folder is it
    words:   {task: {what the name says: label}}
    slide_is_patient: no patients are published, so each slide is taken for one
    """

    name: str
    title: str
    pattern: str
    tasks: tuple[str, ...] = ()
    words: Mapping[str, Mapping[str, str]] | None = None
    slide_is_patient: bool = False


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "breakhis",
            "BreakHis: SOB_M_DC-14-2523-40-001.png",
            # Block letters (AB, CD, G) belong to one case: they are part of the slide's id, not of the patient's.
            r"SOB_(?P<binary>[BM])_(?P<subtype>[A-Z]{1,2})-(?P<slide_id>(?P<patient_id>\d\d-\d+)[A-Z]*)"
            r"-(?P<magnification>\d+)-\d+\.[A-Za-z]+$",
            tasks=("binary", "subtype"),
            words={"binary": {"B": "benign", "M": "malignant"}},
        ),
        Layout(
            "idc",
            "IDC: 10253_idx5_x1001_y1001_class0.png",
            r"(?:^|/)(?P<slide_id>(?P<patient_id>\d+)_idx\d+)_x(?P<x>\d+)_y(?P<y>\d+)_class(?P<label>[01])\.[A-Za-z]+$",
        ),
        Layout(
            "kather",
            "Kather: 10009_CRC-Prim-HE-03_009.tif_Row_301_Col_151.tif, ADI-AAAFLCLY.tif, ADI-TCGA-AAICEQFN.tif",
            r"(?:^|/)(?:[0-9A-F]+_(?P<slide_id>CRC-Prim-HE-\d+)(?:_\w+)?\.tif_Row_(?P<y>\d+)_Col_(?P<x>\d+)"
            r"|(?P<tissue>ADI|BACK|DEB|LYM|MUC|MUS|NORM|STR|TUM)-(?:[A-Z]{4}-)?[A-Z]{8})\.tiff?$",
            slide_is_patient=True,
        ),
        Layout(
            "tcga",
            "TCGA: TCGA-A2-A0CM-01Z-00-DX1….png",
            r"(?P<slide_id>(?P<patient_id>TCGA-(?P<site>[0-9A-Z]{2})-[0-9A-Z]{4})(?:-[0-9A-Z]{2,4})*)(?![0-9A-Za-z])",
        ),
        Layout("folder", "a folder for each class", r""),
        Layout("pcam", "PCam: HDF5 pairs …_x.h5 and …_y.h5", r"", slide_is_patient=True),
        Layout("medmnist", "MedMNIST: .npz", r""),
    )
}
LAYOUT_WAY = "with --layout of `counterstain cohort`, `init` or `audit`; in a study with cohort.layout"
_TABLES = (".csv", ".tsv", ".parquet", ".pq", ".xlsx", ".xls", ".ods")
_NAMED = tuple(name for name, layout in LAYOUTS.items() if layout.pattern)
_CONTAINERS: dict[str, tuple[tuple[str, ...], Callable[[Path, Sequence[str]], dict[str, list[Any]]]]] = {
    "pcam": ((".h5", ".hdf5"), read_hdf5),
    "medmnist": ((".npz",), read_npz),
}


def read_folder(
    folder: Path | str,
    *,
    layout: str = "auto",
    positive: str | None = None,
    pattern: str | None = None,
    task: str | None = None,
    magnification: str | None = None,
    splits: Mapping[str, str] | None = None,
    follow_links: bool = False,
    root: Path | str | None = None,
) -> Cohort:
    """The cohort of a folder of images, or of one .h5 or .npz file.

    Args:
        folder: Of images, at any depth; hidden files and links that leave it are skipped and listed in the cohort.
        layout: A name of LAYOUTS, or "auto": the one that every file name follows, else one folder per class.
        positive: The class of two whose probability is reported.
        pattern: A regular expression, searched for in each path below the folder; its named groups (patient_id,
            slide_id, site, label, mpp, x, y) are the ids.
        task: "binary" (the default) or "subtype", for BreakHis.
        magnification: "40", "100", "200", "400" or "all" (the default), for BreakHis.
        splits: {name of a folder train, valid, … : our word}, e.g. {"valid": "test"}.
        follow_links: Follow links to files and folders inside `root`, which images are then named from.
        root: The folder that links may not leave; by default `folder`.

    Raises:
        InputError: If there are no images, only one class, or names that do not follow the layout or pattern.
    """
    path = Path(folder)
    if layout != "auto" and layout not in LAYOUTS:
        raise InputError(f"layout is '{layout}'{suggest(layout, ('auto', *LAYOUTS))}")
    if path.is_file() and path.name.lower().endswith(CONTAINER_SUFFIXES):
        files, path = ImageFiles((), _with_labels(path), ()), path.parent
    else:
        files = without_masks(find_images(path, follow_links=follow_links, root=None if root is None else Path(root)))
    chosen = _choose(files, layout, pattern, path)
    if (task and not chosen.tasks) or (magnification and "(?P<magnification>" not in chosen.pattern):
        raise InputError(f"task and magnification are for BreakHis; these images are read as {chosen.title}")
    if chosen.name in _CONTAINERS:
        return _read_containers(chosen, path, files, positive, splits)
    if not files.images:
        raise InputError(
            f"0 usable images in {path} ({_kinds(files)}); needed: PNG, JPEG, TIFF or BMP in one folder per class"
        )
    if chosen.name in _NAMED:
        columns = _read_names(chosen, files.images, task, magnification, path)
    else:
        columns = {"image_path": list(files.images)}
    if pattern is not None:
        columns.update(match_pattern(pattern, columns["image_path"]))
    return _finish(chosen, path, files, columns, positive, splits, pattern, asks=layout == "auto")


def _with_labels(path: Path) -> tuple[str, ...]:
    """A container's name and, of a PCam pair, its other half's."""
    half = re.sub(r"_([xy])(\.[^.]+)$", lambda end: f"_{'y' if end[1] == 'x' else 'x'}{end[2]}", path.name)
    return tuple(sorted({path.name, *([half] if (path.parent / half).is_file() else [])}))


def _kinds(files: ImageFiles) -> str:
    if not files.skipped:
        return "it is empty"
    packed = [name for name, reason in files.skipped if reason == PACKED]
    if packed:
        return f"{len(packed)} files are packed: unpack them first, such as gunzip {packed[0]} or unzip"
    if files.links:
        return f"{len(files.links)} links were left out, the first {files.links[0]}; {LINKS_WAY_OUT}"
    name, reason = files.skipped[0]
    return f"{len(files.skipped)} other files were skipped, the first {name}: {reason}"


def _choose(files: ImageFiles, layout: str, pattern: str | None, folder: Path) -> Layout:
    """The named layout; or the one that all file names follow."""
    if layout != "auto":
        return LAYOUTS[layout]
    if pattern is not None:
        return LAYOUTS["folder"]
    if not files.images and files.containers:
        npz = [name.lower().endswith(".npz") for name in files.containers]
        if any(npz) and not all(npz):
            raise InputError(f"{folder} holds .npz and .h5 files; name one layout, medmnist or pcam: {LAYOUT_WAY}")
        return LAYOUTS["medmnist" if npz[0] else "pcam"]
    for name in _NAMED:
        find = re.compile(LAYOUTS[name].pattern).search
        unmatched = [path for path in files.images if not find(path)]
        if files.images and not unmatched:
            return LAYOUTS[name]
        if len(unmatched) < len(files.images) / 2:
            raise InputError(
                f"{len(files.images) - len(unmatched)} of {len(files.images)} files are named as in "
                f"{LAYOUTS[name].title}, {len(unmatched)} are not ({first_names(unmatched)}); move these elsewhere, or "
                f"name the layout, folder: {LAYOUT_WAY}"
            )
    return LAYOUTS["folder"]


def _read_names(
    layout: Layout, images: Sequence[str], task: str | None, magnification: str | None, folder: Path
) -> dict[str, list[Any]]:
    """What the names of a known data set say, as columns."""
    find = re.compile(layout.pattern).search
    matches = {path: find(path) for path in images}
    unmatched = [path for path, match in matches.items() if match is None]
    if unmatched:
        raise InputError(
            f"{len(unmatched)} of {len(images)} files are not named as in {layout.title} ({first_names(unmatched)}); "
            f"move these elsewhere, or name the layout, folder: {LAYOUT_WAY}"
        )
    by_path = {path: {key: value or "" for key, value in match.groupdict().items()}
            for path, match in matches.items() if match is not None}  # fmt: skip
    if magnification is not None and magnification != "all":
        number = magnification.upper().removesuffix("X")
        numbers = sorted({groups["magnification"] for groups in by_path.values()}, key=int)
        if number not in numbers:
            raise InputError(f"magnification is '{magnification}'; {folder} has {', '.join(numbers)}, or say all")
        by_path = {path: groups for path, groups in by_path.items() if groups["magnification"] == number}
    if layout.tasks:
        task = task or layout.tasks[0]
        if task not in layout.tasks:
            raise InputError(f"task is '{task}'{suggest(task, layout.tasks)}")
        labels = (layout.words or {}).get(task, {})
        for groups in by_path.values():
            groups["label"] = labels.get(groups[task], groups[task])
    names = sorted({name for groups in by_path.values() for name in groups} & set(COLUMNS))
    columns: dict[str, list[Any]] = {name: [groups[name] for groups in by_path.values()] for name in names}
    if layout.name == "tcga":
        # A name that holds the patient's barcode alone says nothing of the slide.
        pairs = zip(columns["slide_id"], columns["patient_id"], strict=True)
        columns["slide_id"] = ["" if slide == patient else slide for slide, patient in pairs]
    if layout.slide_is_patient:
        columns["patient_id"] = list(columns["slide_id"])
    tissue = [groups.get("tissue", "") for groups in by_path.values()]
    parents = [path.rpartition("/")[0].rpartition("/")[2].upper() for path in by_path]
    if all(tissue) and (not any(parents) or parents == tissue):  # else the folders are classes of the user's own
        columns["label"] = tissue
    return {"image_path": list(by_path), **columns}


def _finish(
    layout: Layout,
    folder: Path,
    files: ImageFiles,
    columns: dict[str, list[Any]],
    positive: str | None,
    splits: Mapping[str, str] | None,
    pattern: str | None,
    *,
    asks: bool,
) -> Cohort:
    """The cohort of the columns that the names gave, with what the folders say added: split and class."""
    notes = [f"layout: {layout.title}"]
    skipped = list(files.skipped)
    notes += _add_parts(columns, splits, folder)
    if "label" not in columns:
        columns, stray, folder_notes = label_by_folder(columns, 1 if "split" in columns else 0, folder, asks=asks)
        skipped += [(path, "in no class's folder") for path in stray]
        notes += folder_notes
    elif pattern is not None:
        columns["label"] = clean_labels(columns["label"], "what the pattern found")
    for name in NUMBER_COLUMNS:
        if name in columns:
            columns[name] = clean_numbers(columns[name], len(columns["image_path"]), name, "file names").tolist()
    if layout.slide_is_patient and any(columns.get("slide_id", [])):
        notes.append("patients are not published; each slide is treated as a patient")
    tables = [name for name, _ in files.skipped if name.lower().endswith(_TABLES)]
    if tables:
        notes.append(f"tables that were not used: {first_names(tables)}; name one instead of the folder to use its ids")
    masks = [path for path, reason in files.skipped if reason == MASK_OF]
    if masks:
        notes.append(
            f"{len(masks)} files named as masks or previews of other images were left out ({first_names(masks)}); if "
            "they are images of their own, name them in a manifest"
        )
    if files.links:
        notes.append(f"{len(files.links)} links were left out ({first_names(files.links)}); {LINKS_WAY_OUT}")
    columns["image_path"] = [files.real.get(path, path) for path in columns["image_path"]]
    return assemble(columns, root=files.root or folder, positive=positive, skipped=sorted(skipped), notes=notes)


def _add_parts(columns: dict[str, list[Any]], splits: Mapping[str, str] | None, folder: Path) -> list[str]:
    """Put the split that the first folders tell into `columns`, and give notes of it."""
    if "split" in columns:
        return []
    firsts = [path.split("/")[0] for path in columns["image_path"]]
    public = [DATA_SET_PARTS.get(name.lower(), "") for name in firsts]
    if not splits and all(public) and len(set(public)) > 1:
        columns["split"] = public
        published = sorted({f"{name} is {DATA_SET_PARTS[name.lower()]}" for name in firsts})
        return [f"split: {', '.join(published)}, as published"]
    if part_folders(columns["image_path"], splits or {}, folder):
        columns["split"] = rename_splits(firsts, splits, where=folder.name)
        return [f"split: from the folders {', '.join(sorted(set(firsts)))}"]
    if splits:
        raise InputError(f"splits: {folder} has no folders train, val or test above its classes")
    return []


def _read_containers(
    layout: Layout, folder: Path, files: ImageFiles, positive: str | None, splits: Mapping[str, str] | None
) -> Cohort:
    suffixes, read = _CONTAINERS[layout.name]
    containers = [name for name in files.containers if name.lower().endswith(suffixes)]
    if not containers:
        raise InputError(f"0 {' or '.join(suffixes)} files in {folder}; needed for {layout.title}")
    columns = read(folder, containers)
    columns["split"] = rename_splits(columns["split"], splits, where=folder.name)
    notes = [f"layout: {layout.title}"]
    if layout.slide_is_patient and any(columns.get("slide_id", [])):
        columns["patient_id"] = list(columns["slide_id"])
        notes.append("patients are not published; each slide is treated as a patient")
    others = [name for name in (*files.images, *files.containers) if name not in containers]
    skipped = sorted([*files.skipped, *((name, "not a part of this layout") for name in others)])
    return assemble(columns, root=folder, positive=positive, skipped=skipped, notes=notes)


def read_images(
    path: Cohort | StrPath,
    *,
    columns: Mapping[str, str] | None = None,
    splits: Mapping[str, str] | None = None,
    positive: str | None = None,
    root: Path | str | None = None,
    **options: Unpack[NamingOptions],
) -> Cohort:
    """The cohort in a folder of images, a container, or a CSV or Parquet manifest; a Cohort as it is.

    A folder with a cohort.csv that Counterstain wrote (`slides tiles`, `phantom`, a run) is that cohort, unless a
    layout is named.

    Args:
        path: of it; or a Cohort, of which nothing but `positive` can be said.
        columns, splits, root: of a manifest; see read_manifest.
        positive: of two classes, the one whose probability is reported.
        **options: pattern, and layout, task, magnification and follow_links of a folder; see read_folder.

    Raises:
        InputError: If there is nothing at the path, or it is not a cohort.
    """
    if isinstance(path, Cohort):
        named: dict[str, object] = {"columns": columns, "splits": splits, "root": root, **options}
        odd = next((name for name, value in named.items() if value not in (None, False, "auto", {})), None)
        if odd is not None:
            raise InputError(f"{odd} is of a folder or a manifest, and the images are a Cohort; leave it out")
        return path if positive is None else path.with_positive(positive)
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; name a folder of images, or a CSV or Parquet manifest")
    manifest = next(
        (table for table in (path / "cohort.csv", record_path(path, "cohort.csv")) if is_own_table(table)), None
    )
    if path.is_dir() and manifest is not None and not named_options(options):
        cohort = read_images(manifest, columns=columns, splits=splits, positive=positive, root=root, **options)
        return replace(cohort, notes=(*cohort.notes, *_not_listed(path, manifest, cohort)))
    if not path.is_dir() and not path.name.lower().endswith((*CONTAINER_SUFFIXES, *IMAGE_SUFFIXES)):
        if unused := named_options(options):
            raise InputError(f"{unused[0]} is for a folder's file names; {path} is a table with columns instead")
        return read_manifest(
            path, root=root, positive=positive, columns=dict(columns or {}), splits=dict(splits or {}),
            pattern=options.get("pattern"),
        )  # fmt: skip
    if root is not None and not options.get("follow_links"):
        raise InputError(
            f"root is of a CSV or Parquet manifest; {path} is a folder of images, which is its own root; with "
            "follow_links it is the folder that no link may leave"
        )
    if columns:
        raise InputError(f"columns are of a CSV or Parquet manifest; {path} is a folder of images")
    return read_folder(path, positive=positive, splits=dict(splits or {}), root=root, **options)


def named_options(options: Mapping[str, object]) -> list[str]:
    """The options that say how a folder's files are named, where they say something."""
    return [name for name, value in options.items() if name != "pattern" and value not in (None, False, "auto")]


def _not_listed(folder: Path, table: Path, cohort: Cohort) -> list[str]:
    """Notes of a folder that is read by its own cohort.csv: that it is, and which images are not in that table."""
    listed = {container(name)[0] for name in cohort.image}
    inside = Path(os.path.realpath(folder)) == Path(os.path.realpath(cohort.root))
    others = [name for name in find_images(folder).images if name not in listed] if inside else []
    notes = [f"read from {table}"]
    if others:
        notes.append(
            f"{len(others)} images in the folder are not in its cohort.csv ({first_names(others)}); remove that table "
            "to have the folder read again"
        )
    return notes

"""The labels that one slide's tiles get from its annotation file, and what must be said of that file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from counterstain.cohort.cohort_columns import label_key
from counterstain.errors import InputError, first_names, suggest
from counterstain.slides.annotations import Region, TileLabels, find_annotations, label_tiles, load_annotations
from counterstain.slides.info import Slide, SlideInfo
from counterstain.slides.tiling import Tiling

__all__ = ["Labelling", "check_classes", "label_slide"]

_MOST_OUTSIDE = 0.5  # of the annotated area: more is another slide's, or in other units
_SAID_OUTSIDE = 0.05


@dataclass(frozen=True)
class Labelling:
    """How tiles are labelled by annotations.

    folder:        of one annotation file per slide
    classes:       {annotated name: label}, in any letter case; None takes every name
    rest:          label of tiles that no area of these classes touches; None leaves them out
    least_overlap: share of a tile that its class must cover
    origin:        where (0, 0) lies, as in `load_annotations`
    """

    folder: Path
    classes: Mapping[str, str] | None
    rest: str | None
    least_overlap: float
    origin: str


def check_classes(slides: Sequence[Path], labelling: Labelling) -> set[str]:
    """The labels that tiles may get from annotations.

    Raises:
        InputError: If a class that is asked for is annotated on no slide, before anything is cut: it is a slip; or if
            one class, spelled twice, is to have two labels.
    """
    folder, classes = labelling.folder, labelling.classes
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the folder of the annotations")
    names: set[str] = set()
    reasons: list[str] = []
    for path in slides:
        try:
            file = find_annotations(folder, path)
            names |= {region.name for region in load_annotations(file).regions} if file is not None else set()
        except InputError as error:  # told when the slide's turn comes
            reasons.append(str(error))
    if not names:
        raise InputError(reasons[0] if reasons else f"{folder} holds no annotations named after a slide; add them")
    known = {label_key(name) for name in names}
    labels: dict[str, str] = {}
    for name, label in (classes or {}).items():
        if label_key(name) not in known:
            raise InputError(f"no slide has an area annotated as '{name}'{suggest(name, sorted(names))}")
        if labels.setdefault(label_key(name), label) != label:
            raise InputError(f"class '{name}' is to be '{label}' and '{labels[label_key(name)]}'; give it one label")
    return names if classes is None else set(classes.values())


def label_slide(path: Path, slide: Slide, tiling: Tiling, labelling: Labelling) -> tuple[TileLabels, tuple[str, ...]]:
    """The labels of a slide's tiles, and notes.

    Raises:
        InputError: If the slide has no annotations, they cannot be read, or most of what is drawn lies outside of it.
    """
    file = find_annotations(labelling.folder, path)
    if file is None:
        raise InputError(f"{labelling.folder} holds no annotations named after {path.name}; add them, or leave it out")
    annotations = load_annotations(file, bounds=slide.info.bounds, origin=labelling.origin)
    remarks = _outside_notes(annotations.regions, file, slide.info)
    classes = None
    if labelling.classes is not None:  # a slide need not show every class
        by_key = {label_key(name): label for name, label in labelling.classes.items()}
        names = [region.name for region in annotations.regions if label_key(region.name) in by_key]
        classes = {name: by_key[label_key(name)] for name in names}
    labels = label_tiles(
        tiling.coords, tiling.tile_level0_px, annotations.regions, least_overlap=labelling.least_overlap,
        classes=classes, rest=labelling.rest,
    )  # fmt: skip
    others = [region for region in annotations.regions if classes is not None and region.name not in classes]
    if others and labelling.rest is not None:
        within = label_tiles(tiling.coords, tiling.tile_level0_px, others, least_overlap=labelling.least_overlap)
        pairs = zip(labels.label, within.label, strict=True)
        count = sum(label == labelling.rest and bool(covered) for label, covered in pairs)
        if count:
            remarks += (
                f"{count} tiles in areas of other classes ({first_names([region.name for region in others])}) are "
                f"labelled {labelling.rest}, as the rest; name these classes with --class if they are not",
            )
    return labels, (*annotations.notes, *remarks)


def _outside_notes(regions: Sequence[Region], file: Path, info: SlideInfo) -> tuple[str, ...]:
    """A note where a part of what is drawn lies outside of the slide.

    Raises:
        InputError: If most of it does: tiles of tissue that was annotated would get the label of the rest.
    """
    import shapely

    width, height = info.levels[0].width_px, info.levels[0].height_px
    marked = shapely.union_all([region.shape for region in regions])
    share = 1 - marked.intersection(shapely.box(0, 0, width, height)).area / marked.area if marked.area else 0.0
    finding = f"{share:.0%} of what {file.name} holds lies outside of the slide ({width:,} × {height:,} px)"
    if share > _MOST_OUTSIDE:
        left, top, right, bottom = marked.bounds
        raise InputError(
            f"{finding}: it reaches from x {left:,.0f}, y {top:,.0f} to x {right:,.0f}, y {bottom:,.0f}; it is another "
            "slide's, counts in other units than level-0 px, or from another corner (--origin)"
        )
    return (f"{finding}; is it this slide's?",) if share > _SAID_OUTSIDE else ()

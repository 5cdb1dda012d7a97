"""The errors of a run as its report shows them: strips of tiles, the patients they are of, and what hangs on each."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from counterstain.evaluation.format import clean, difference, listed, number, plural, share
from counterstain.reports.illustration import jpeg_uri
from counterstain.reports.page_table import Cell, Table
from counterstain.reports.run_record import RunRecord
from counterstain.reports.run_tables import VERDICTS

__all__ = ["ArmErrors", "Strip", "Tile", "error_sections", "influence_words", "tile_uris"]

TITLES = {"wrong": "Confidently wrong", "unsure": "Least sure", "right": "Confidently right"}
MOST_PATIENTS = 10
SIDES = (128, 112, 96, 80, 64, 48)  # px, the largest that fits the budget is taken
QUALITY = 82


@dataclass(frozen=True)
class Tile:
    """One tile of a strip; data is a data: URI, "" where no picture is shown."""

    data: str
    image: str
    prediction: str
    details: str
    wrong: bool


@dataclass(frozen=True)
class Strip:
    """Tiles of one kind."""

    title: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class ArmErrors:
    """One arm's errors: a sentence, its strips, and the patients with the most errors (None where unknown)."""

    arm: str
    words: str
    strips: tuple[Strip, ...]
    patients: Table | None


def error_sections(run: RunRecord, *, tiles: bool, budget: int) -> list[ArmErrors]:
    """Each arm's errors; [] where the run has no record of them.

    Args:
        run: whose record errors.json is shown.
        tiles: whether pictures are shown at all; names, calls and probabilities are.
        budget: characters that all their data: URIs may have together.
    """
    arms = run.errors.get("arms") or {}
    files = [card["file"] for errors in arms.values() for cards in errors["tiles"].values() for card in cards]
    tiles_by_file = {name: run.error_tiles[name] for name in files if name in run.error_tiles} if tiles else {}
    uris = tile_uris(tiles_by_file, files, budget)
    return [_arm(run, arm, arms[arm], uris) for arm in run.arms if arm in arms]


def tile_uris(tiles: Mapping[str, bytes], shown: Sequence[str], budget: int) -> dict[str, str]:
    """Each tile as a data: URI, all as large as lets the whole page stay within the budget.

    Args:
        tiles: name -> PNG bytes.
        shown: the names in the order of the page, some of them several times.
        budget: characters of all URIs together. Where not even the smallest fit, the last ones of the page are left
            out, "" instead.
    """
    uris: dict[str, str] = {}
    for side in SIDES:
        uris = {name: _jpeg(content, side) for name, content in tiles.items()}
        if sum(len(uris.get(name, "")) for name in shown) <= budget:
            return uris
    spent, within_budget = 0, {}
    for name in dict.fromkeys(shown):
        spent += len(uris.get(name, "")) * shown.count(name)
        within_budget[name] = uris.get(name, "") if spent <= budget else ""
    return within_budget


def _jpeg(content: bytes, side: int) -> str:
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=QUALITY)
    return jpeg_uri(stream.getvalue())


def _arm(run: RunRecord, arm: str, errors: Mapping[str, Any], uris: Mapping[str, str]) -> ArmErrors:
    seeds = len(run.scores["arms"][arm]["seeds"])
    mean = f", mean over {seeds} trainings" if seeds > 1 else ""
    sentences = f"{share(errors['errors'], 1)} of {errors['images']:,} test {run.rows} are predicted wrong{mean}."
    sentences += _unfamiliar_words(errors.get("unfamiliar"))
    strips = tuple(
        Strip(title, tuple(_tile(card, uris) for card in errors["tiles"][name]))
        for name, title in TITLES.items()
        if errors["tiles"].get(name)
    )
    return ArmErrors(clean(arm), sentences, strips, _patients(run, arm, errors["patients"]))


def _unfamiliar_words(unfamiliar: Mapping[str, Any] | None) -> str:
    """How many test images are unlike the training images, and how they fare; "" where nothing is known."""
    if unfamiliar is None:
        return ""
    sentence = (
        f" {unfamiliar['images']:,} ({share(unfamiliar['share'], 1, 1)}) are unlike the training images to most "
        "trainings; about 1\u00a0% would be by chance"
    )
    if unfamiliar["errors"] is None or unfamiliar["errors_of_others"] is None:
        return f"{sentence}."
    return (
        f"{sentence}. Of them {share(unfamiliar['errors'], 1, 0)} are predicted wrong, of the others "
        f"{share(unfamiliar['errors_of_others'], 1, 0)}."
    )


def _tile(card: Mapping[str, Any], uris: Mapping[str, str]) -> Tile:
    wrong = card["label"] != card["predicted"]
    probability = "> 0.999" if card["probability"] > 0.9995 else number(card["probability"])
    prediction = f"{clean(card['predicted'])} {probability}"
    details = [_named(word, clean(card[word])) for word in ("patient", "site") if card[word]]
    label = f", labelled {clean(card['label'])}" if wrong else ""
    if card.get("unfamiliar"):
        details.append("unlike the training images")
    return Tile(uris.get(card["file"], ""), clean(card["image"]), prediction + label, ", ".join(details), wrong)


def _named(word: str, name: str) -> str:
    """ "site B"; a name that says so itself, such as "site-1", stands alone."""
    return name if name.lower().startswith(word) else f"{word} {name}"


def _patients(run: RunRecord, arm: str, rows: Sequence[Mapping[str, Any]]) -> Table | None:
    if not rows:
        return None
    known, alone = run.scores["arms"][arm]["patients"], run.rows_are == "patient"
    lines = tuple(
        (
            Cell(clean(row["patient"])),
            *(() if alone else (Cell(f"{row['images']:,}"),)),
            Cell(f"{row['errors']:.1f}"),
            *(() if alone else (Cell(share(row["errors"], row["images"], 0)),)),
            Cell(share(row["share"], 1, 0)),
        )
        for row in rows[:MOST_PATIENTS]
    )
    caption = f"{clean(arm)}: patients with the most errors, of {plural(known, 'test patient')}"
    of_own = () if alone else (f"share of own {run.rows}",)
    head = ("patient", *(() if alone else (run.rows,)), "errors, mean over trainings", *of_own, "share of all errors")
    return Table(caption, head, lines)


def influence_words(run: RunRecord) -> list[str]:
    """Whether a verdict hangs on a single patient: one sentence for each primary pair that was looked at."""
    return [_pair_words(pair) for pair in run.errors.get("influence") or () if pair["patients"]]


def _pair_words(pair: Mapping[str, Any]) -> str:
    names = f"{clean(pair['a'])} − {clean(pair['b'])}"
    changing = [row for row in pair["patients"] if row["changes"]]
    if changing:
        return f"{names}: {listed(_changed_verdict(row, pair) for row in changing)}."
    moved = listed(_differences_without(pair["patients"]))
    return (
        f"{names}: the verdict stays the same without any one of the {len(pair['patients'])} patients who move the "
        f"difference of {difference(pair['difference'], None, None)} most: {moved}."
    )


def _differences_without(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return [f"{difference(row['difference'], None, None)} without {clean(row['patient'])}" for row in rows]


def _changed_verdict(row: Mapping[str, Any], pair: Mapping[str, Any]) -> str:
    """What the verdict becomes without one patient."""
    without = f"without patient {clean(row['patient'])} "
    if not row["verdict"]:
        return f"{without}the arms can't be compared"
    verdict = VERDICTS.get(row["verdict"], row["verdict"].replace("_", " "))
    verdict = verdict.replace("{a}", clean(pair["a"])).replace("{b}", clean(pair["b"]))
    moved = f"the difference is {difference(row['difference'], None, None)} instead of "
    return f"{without}the verdict changes to “{verdict}” ({moved}{difference(pair['difference'], None, None)})"

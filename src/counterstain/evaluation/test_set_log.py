"""The ledger: one line per look at a test part, in the cohort's folder; a test part wears out."""

import csv
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from counterstain.errors import InputError
from counterstain.evaluation.predictions import Predictions
from counterstain.files import append_row, hash_file, hash_json, plain_cell

__all__ = ["LEDGER", "LoggedUse", "count_uses", "note_tables", "read_uses", "record_use", "uses_in_words"]

LEDGER = "counterstain_looks.csv"


@dataclass(frozen=True, kw_only=True)
class LoggedUse:
    """One look at the predictions of one model on one test part.

    data_hash: of the images looked at; key: of what was seen, so that the same result seen again is the same look.
    """

    study: str
    run: str
    model: str
    part: str
    data_hash: str
    images: int
    purpose: str
    key: str
    time_utc: str = ""

    def to_record(self) -> dict[str, object]:
        """All but the time, which is in the ledger only: a run made again is the same bytes."""
        return {name: value for name, value in asdict(self).items() if name != "time_utc"}


COLUMNS = tuple(field.name for field in fields(LoggedUse))


def record_use(folder: Path, look: LoggedUse) -> int:
    """Add a look to the ledger of a folder unless it is there; returns how often these images were used, as counted.

    Raises:
        OSError: If the folder cannot be written to.
        InputError: If the ledger there is not one.
    """
    path = folder / LEDGER
    uses = read_uses(folder)
    if look.key not in {use.key for use in uses}:
        stamped = look.time_utc or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        row = asdict(look) | {"time_utc": stamped}
        append_row(path, COLUMNS, [row[name] for name in COLUMNS])
        uses = read_uses(folder)
    return count_uses(uses, look.data_hash)


def note_tables(folder: Path, paths: Sequence[Path], table: Predictions) -> list[str]:
    """Note a look at prediction tables, which may be anyone's; returns what the ledger then says of their images.

    Args:
        folder: of the ledger.
        paths: of the tables, one per seed.
        table: the first of them; its images are known by their names alone.

    Raises:
        InputError: If the ledger cannot be written.
    """
    data = hash_json({"images": sorted(table.image)})
    key = hash_json({"tables": [hash_file(path) for path in paths]})
    look = LoggedUse(
        study="evaluate", run="", model=paths[0].name, part="test", data_hash=data, images=len(table),
        purpose="evaluate", key=key,
    )  # fmt: skip
    try:
        record_use(folder, look)
    except OSError as error:
        raise InputError(f"the ledger in {folder} cannot be written ({error.strerror}); name another folder") from None
    return list(uses_in_words(read_uses(folder), data))


def read_uses(folder: Path) -> tuple[LoggedUse, ...]:
    """The looks noted in a folder, oldest first; none where there is no ledger. A line that was cut off is left out.

    Raises:
        InputError: If the file is not a ledger.
    """
    path = folder / LEDGER
    if not path.is_file():
        return ()
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is damaged ({error}); move it, or name another folder with `ledger`") from None
    if not rows or tuple(rows[0]) != COLUMNS:
        raise InputError(f"{path} is not a log of test-set uses; move it, or name another folder with `ledger`")
    complete = (row for row in rows[1:] if len(row) == len(COLUMNS))
    return tuple(_look(dict(zip(COLUMNS, map(plain_cell, row), strict=True))) for row in complete)


def _look(row: dict[str, str]) -> LoggedUse:
    images = int(row["images"]) if row["images"].isdigit() else 0
    return LoggedUse(**{**row, "images": images})  # type: ignore[arg-type]


def count_uses(looks: Iterable[LoggedUse], data_hash: str) -> int:
    """How often the images with this hash were used. The arms of one run are looked at together, which is one use.

    A run that was done again under its name with another result is another use. Tables that belong to no run count one
    by one.

    >>> common = {"study": "s", "run": "s", "part": "test", "data_hash": "d", "images": 9, "purpose": "report"}
    >>> count_uses([LoggedUse(model=arm, key=arm, **common) for arm in ("given", "modified")], "d")
    1
    """
    times: dict[tuple[str, str], dict[str, int]] = {}
    for look in looks:
        if look.data_hash == data_hash:
            of_run = times.setdefault((look.study, look.run) if look.run else (look.study, look.key), {})
            of_run[look.model] = of_run.get(look.model, 0) + 1
    return sum(max(of_model.values()) for of_model in times.values())


def uses_in_words(looks: Iterable[LoggedUse], data_hash: str) -> tuple[str, ...]:
    """What the ledger says of the images with this hash."""
    uses: Sequence[LoggedUse] = [look for look in looks if look.data_hash == data_hash]
    if not uses:
        return ("no use of this test part is on record",)
    studies = len({look.study for look in uses})
    models = len({(look.study, look.model) for look in uses})
    sentence = (
        f"this test part has been used {_times(count_uses(uses, data_hash))}: {models} model{'s' * (models > 1)} of "
        f"{studies} stud{'ies' if studies > 1 else 'y'}"
    )
    if studies < 2:
        return (sentence,)
    return (sentence, "later experiments were chosen with knowledge of the first result: their p-values are too small")


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")

"""A decision threshold for anyone's table: a number, or a rule that is applied to other, validation, patients."""

from collections.abc import Sequence
from dataclasses import dataclass

from counterstain.errors import InputError
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.thresholds import choose_threshold, parse_rule

__all__ = ["FrozenThreshold", "freeze_threshold"]


@dataclass(frozen=True)
class FrozenThreshold:
    """The threshold of each table, and where it is from.

    values: one per table: an image is called positive where its probability is at least this
    rule: as it was given: "0.3", "youden", "sensitivity>=0.95", …
    chosen_on: "" for a number, else what it was chosen on, such as "300 images of 41 validation patients"
    notes: what a reader should be told, one line each
    """

    values: tuple[float, ...]
    rule: str
    chosen_on: str = ""
    notes: tuple[str, ...] = ()


def freeze_threshold(
    rule: str, tables: Sequence[Predictions], validation: Sequence[Predictions] = ()
) -> FrozenThreshold:
    """The threshold that a rule gives, chosen on validation patients and never on the tables to be judged.

    Args:
        rule: a number from 0 to 1, or any rule of `choose_threshold`.
        tables: S tables to be judged, of two classes.
        validation: for a rule: one table for all, or one for each of the tables in their order.

    Raises:
        InputError: If a rule comes without validation patients, if images or patients of both are the same, or the
            classes differ.
    """
    if len(tables[0].classes) != 2:
        raise InputError(f"there are {len(tables[0].classes)} classes; a threshold needs two. Omit --threshold.")
    number = _number(rule)
    if number is not None:
        if validation:
            raise InputError(f"--threshold is the number {rule}, so nothing is chosen; leave --threshold-from out")
        return FrozenThreshold((number,) * len(tables), rule)
    parse_rule(rule)
    if not validation:
        raise InputError(
            f"--threshold {rule} is a rule, and a threshold that is chosen on the images it is judged on looks better "
            "than it is; name a table of other, validation, patients with --threshold-from val.csv, or give a number"
        )
    if len(validation) not in (1, len(tables)):
        raise InputError(
            f"there are {len(validation)} validation tables for {len(tables)} tables; give one for all, or one for "
            "each in the same order"
        )
    for table in validation:
        _check_apart(tables[0], table)
        if len(set(table.label.tolist())) < 2:
            only = table.classes[int(table.label[0])]
            raise InputError(
                f"the validation table has '{only}' only, so {rule} can't be applied; give patients of both classes"
            )
    choices = [choose_threshold(table.label == 1, table.prob[:, 1], rule=rule) for table in validation]
    values = tuple(value for value, _ in choices) * (len(tables) // len(validation))
    notes = [note for _, note in choices if note]
    first = validation[0]
    patients = len(set(first.patient))
    chosen = f"{len(first)} image{'' if len(first) == 1 else 's'}"
    if first.unit == "patient":
        chosen += f" of {patients} validation patient{'' if patients == 1 else 's'}"
    else:
        notes.append("the threshold was chosen on images whose patients are unknown; they may be patients judged here")
    return FrozenThreshold(values, rule, chosen, tuple(dict.fromkeys(notes)))


def _number(rule: str) -> float | None:
    """The rule as a probability; None where it is no number."""
    try:
        value = float(rule)
    except ValueError:
        return None
    if not 0 <= value <= 1:
        raise InputError(f"--threshold is {rule}; a probability from 0 to 1 was needed, or a rule such as youden")
    return value


def _check_apart(table: Predictions, validation: Predictions) -> None:
    """The validation table has the same classes and none of the images and patients that are judged."""
    if validation.classes != table.classes:
        raise InputError(
            f"the validation table has the classes {', '.join(validation.classes)}, the table to be judged "
            f"{', '.join(table.classes)}; both need the same, with the same positive one (--positive)"
        )
    named = table.rows_are == validation.rows_are != "row"
    kinds = [(str(table.rows_are), table.image, validation.image)] if named else []
    if table.unit == validation.unit == "patient":
        kinds.insert(0, ("patient", table.patient, validation.patient))
    for noun, judged, chosen in kinds:
        shared = sorted(set(judged) & set(chosen))
        if shared:
            raise InputError(
                f"{len(shared)} {noun}{'' if len(shared) == 1 else 's'} ('{shared[0]}' among them) are in the "
                "validation table and in the table to be judged; choose the threshold on other patients"
            )

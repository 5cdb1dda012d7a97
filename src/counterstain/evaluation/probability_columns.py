"""Which columns of anyone's prediction table hold probabilities, of which class, and on which scale.

The layouts are those that the tools' own writers give their tables; docs/tables.md names the repository and the file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from counterstain.columns import name_key
from counterstain.errors import InputError
from counterstain.evaluation.predictions import SUM_TOLERANCE, Place
from counterstain.tables import Table

__all__ = ["ProbabilityColumns", "find_probability_columns", "named_after_target", "read_numbers", "rescaled"]
__all__ += ["same_class"]

_WORD = (
    r"(?:(?:y|pred|predicted|prediction|class|model)[ _.-]?)?"
    r"(?:probability|probabilities|probs?|proba|scores?|softmax|predictions?|pred|outputs?|p)"
)
_PERCENT = re.compile(r"\s*[(\[]?\s*(?:%|percent|pct)\s*[)\]]?\s*$", re.IGNORECASE)
# How a column says its class: prob_malignant, p(malignant), probability of malignant; prob0, out0-y_pred0;
# malignant_prob. The first group is what the columns of one family share.
_SHAPES = tuple(
    re.compile(shape, re.IGNORECASE)
    for shape in (
        rf"({_WORD})(?:[ _.:-]+(?:(?:of|for)[ _.-]+|class[ _.-]+(?=\d))?|\s*[(\[]\s*|(?<=[a-z])(?-i:(?=[A-Z])))"
        r"(?P<label>.+?)\s*[)\]]?$",
        rf"({_WORD}|(?:.+-)?y_pred)(?P<label>\d+)$",
        r"(?P<label>.+?)[ _.-]+(probability|prob|proba|probs|score|softmax)$",
    )
)
_PREFERRED = ("prob", "probability", "yprob", "p", "proba", "yproba")
_LONE = frozenset(
    {
        *("prob", "proba", "probability", "yprob", "yproba", "yscore", "score", "p", "pr", "risk", "predprob"),
        *("predproba", "predscore", "predictedprobability", "predictedprob", "predictionprobability", "riskscore"),
        "predictionscore",
    }
)
_LISTS = frozenset({"prob", "probs", "proba", "probabilities", "scores", "softmax"})
_TOP_K = re.compile(r"(?:index|label|class|top)_\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class ProbabilityColumns:
    """Columns with a probability each, and the class that each belongs to by its name ("" where it says none)."""

    columns: tuple[str, ...]
    classes: tuple[str, ...]
    lists: bool = False


def same_class(first: str, second: str) -> bool:
    """Whether two spellings name one class: Malignant and malignant, 1 and a spreadsheet's 1.0."""
    return first == second or name_key(first.removesuffix(".0")) == name_key(second.removesuffix(".0")) != ""


def find_probability_columns(
    table: Table, free: Sequence[str], labels: Sequence[str], columns: Mapping[str, str]
) -> ProbabilityColumns | None:
    """The probability columns of a table: those that the user named, or else those that their names and labels show.

    Args:
        table: the table.
        free: its columns that are nothing else.
        labels: the different true labels.
        columns: the user's own choice: {"prob_<class>" or "prob": column}.

    Returns:
        None where there are none.

    Raises:
        InputError: If they are the highest few in order of size, which belong to no class.
    """
    chosen = {noun: name for noun, name in columns.items() if noun == "prob" or noun.startswith("prob_")}
    if chosen:
        return ProbabilityColumns(tuple(chosen.values()), tuple(noun[5:] for noun in chosen))
    ranked = next((name for name in free if _TOP_K.match(name)), None)
    family = _family(table, free, labels)
    if ranked is not None and family is not None and all(label.isdigit() for label in family.classes):
        raise InputError(
            f"{table.path} gives probabilities in order of size ('{ranked}' beside '{family.columns[0]}'), not by "
            "class; write one column per class (with timm's inference.py: --topk 0 --results-separate-col)"
        )
    return family or _named_as_classes(table, free, labels) or _single(table, free)


def _family(table: Table, free: Sequence[str], labels: Sequence[str]) -> ProbabilityColumns | None:
    """The best set of columns whose names are made alike and end or begin with a class."""
    families: dict[tuple[int, str], list[tuple[str, str]]] = {}
    for name in free:
        bare = _PERCENT.sub("", name)
        for kind, shape in enumerate(_SHAPES):
            match = shape.match(bare)
            if match is not None:
                if name_key(bare) in _LONE and not any(same_class(match["label"], label) for label in labels):
                    break  # y_prob is a probability, and not that of a class "y"
                stem = name_key(match[2 if kind == len(_SHAPES) - 1 else 1])
                families.setdefault((kind, stem), []).append((name, match["label"]))
                break
    ranked = []
    for (kind, stem), members in families.items():
        plain = kind == 0 and stem in _PREFERRED
        if not plain:  # a looser name must hold numbers: "score_date" is no probability
            members = [(name, label) for name, label in members if is_numeric(table, name)]
        covers = all(any(same_class(label, member_class) for _, member_class in members) for label in labels)
        touches = any(same_class(label, member_class) for label in labels for _, member_class in members)
        clear = kind != 1 and stem in ("prob", "probability", "proba", "yprob", "yproba")
        if members and (clear or touches or len(members) > 1):
            order = _PREFERRED.index(stem) if plain else len(_PREFERRED) + kind
            ranked.append(((not covers, len(members) == 1, order), members))
    if not ranked:
        return None
    members = min(ranked, key=lambda entry: entry[0])[1]
    return ProbabilityColumns(tuple(name for name, _ in members), tuple(label for _, label in members))


def is_numeric(table: Table, name: str) -> bool:
    """Whether a column holds numbers, missing ones apart."""
    values, bad = table.numbers(name)
    return not bad.any() and bool(np.isfinite(values).any())


def _named_as_classes(table: Table, free: Sequence[str], labels: Sequence[str]) -> ProbabilityColumns | None:
    """Columns that are named as the classes alone (AutoGluon, fastai's vocabulary), if they sum to 1 in every row."""
    exact = [name for name in free if any(same_class(name, label) for label in labels)]
    if not exact or not all(any(same_class(name, label) for name in exact) for label in labels):
        return None
    places = [free.index(name) for name in exact]
    low, high = min(places), max(places)
    while low > 0 and is_numeric(table, free[low - 1]):
        low -= 1
    while high + 1 < len(free) and is_numeric(table, free[high + 1]):
        high += 1
    for candidates in (exact, list(free[low : high + 1])):
        if len(candidates) > 1 and all(is_numeric(table, name) for name in candidates):
            total = np.sum([table.numbers(name)[0] for name in candidates], axis=0)
            if any(np.all(np.abs(total - scale) <= scale * sum_tolerance(len(candidates))) for scale in (1, 100)):
                return ProbabilityColumns(tuple(candidates), tuple(candidates))
    return None


def _single(table: Table, free: Sequence[str]) -> ProbabilityColumns | None:
    """One column of probabilities that doesn't say whose they are, or one of lists with a probability per class."""
    for name in free:
        key = name_key(_PERCENT.sub("", name))
        if key in _LISTS and table.cell(name, 0).startswith("["):
            return ProbabilityColumns((name,), (), lists=True)
    lone = next((name for name in free if name_key(_PERCENT.sub("", name)) in _LONE), None)
    return None if lone is None else ProbabilityColumns((lone,), ("",))


def named_after_target(table: Table) -> tuple[str, ProbabilityColumns] | None:
    """STAMP's layout: a column of labels, and for each class one named <that column>_<class>; None where it isn't."""
    for target in table.header:
        start = f"{target}_"
        members = [name for name in table.header if name.startswith(start) and is_numeric(table, name)]
        classes = [name[len(start) :] for name in members]
        if len(members) > 1 and set(table.distinct(target)[0]) <= set(classes):
            return target, ProbabilityColumns(tuple(members), tuple(classes))
    return None


# -------------------------------------------------------------------------------------------------------- the numbers


def read_numbers(table: Table, source: ProbabilityColumns, where: Place) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """(N, C) numbers as they stand, and the classes; NaN stays NaN (it is refused with its row later).

    Raises:
        InputError: If a cell is empty or text, with its row.
    """
    if source.lists:
        return _from_lists(table, source.columns[0], where)
    columns = []
    for name in source.columns:
        values, bad = table.numbers(name)
        missing = np.flatnonzero(np.isnan(values))
        empty = next((row for row in missing.tolist() if bad[row] or not table.cell(name, row)), None)
        if empty is not None:
            cell = table.cell(name, empty)
            shown = f"'{cell}'" if cell else "empty"
            raise InputError(f"{name} in {where(empty)} is {shown}; a probability from 0 to 1 was needed")
        columns.append(values)
    return np.column_stack(columns), source.classes


def _from_lists(table: Table, name: str, where: Place) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Cells such as "[0.1, 0.9]" or "[0.1 0.9]" as a row of numbers each; the classes are their places, from 0."""
    rows = []
    for row, cell in enumerate(table.text(name)):
        try:
            rows.append([float(part) for part in re.split(r"[,\s]+", cell.strip("[]() "))])
        except ValueError:
            raise InputError(f"{name} in {where(row)} is '{cell[:60]}'; a list of probabilities was needed") from None
        if len(rows[-1]) != len(rows[0]):
            raise InputError(f"{name} in {where(row)} has {len(rows[-1])} probabilities, the row before {len(rows[0])}")
    return np.array(rows), tuple(str(k) for k in range(len(rows[0])))


def sum_tolerance(classes: int) -> float:
    """How far from 1 the sum of probabilities may be that were rounded to two decimals: 0.005 for each class."""
    return max(0.011, 0.0055 * classes)


def rescaled(
    table: Table, source: ProbabilityColumns, prob: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """(N, C) probabilities from percent and from numbers rounded to two decimals, with a note on each.

    What needs neither comes back as it is, to the last bit.
    """
    notes: tuple[str, ...] = ()
    name = table.path.name
    if _is_percent(table, source, prob):
        prob = prob / 100
        notes += (f"{name} gives probabilities in percent; they were divided by 100",)
    if prob.shape[1] > 1:
        total = prob.sum(axis=1)
        rounded = (np.abs(total - 1) > SUM_TOLERANCE) & (np.abs(total - 1) <= sum_tolerance(prob.shape[1]) + 1e-9)
        if rounded.any():
            prob = np.where(rounded[:, None], prob / np.where(rounded, total, 1)[:, None], prob)
            least, most = f"{total[rounded].min():.4g}", f"{total[rounded].max():.4g}"
            notes += (
                f"probabilities of {int(rounded.sum())} of {len(prob)} rows of {name} sum to "
                f"{least}{f' to {most}' if most != least else ''}, as rounding leaves them; "
                "they were divided by their sum",
            )
    return prob, notes


def _is_percent(table: Table, source: ProbabilityColumns, prob: NDArray[np.float64]) -> bool:
    """Whether the header or the cells say so, or the rows sum to 100; of a lone column, whether it looks like it."""
    finite = prob[np.isfinite(prob)]
    if not finite.size or finite.min() < 0 or finite.max() > 100.5:
        return False
    if any(_PERCENT.search(name) or "%" in table.cell(name, 0) for name in source.columns):
        return True
    if prob.shape[1] == 1:
        return bool(finite.max() >= 20)  # logits that are never negative and reach 20 are not seen
    total = prob.sum(axis=1)
    return bool(np.all(np.abs(total - 100) <= 100 * sum_tolerance(prob.shape[1])))

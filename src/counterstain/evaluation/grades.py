"""Grades: tables whose classes have an order, so that a call two grades off weighs more than a call one grade off."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from counterstain.errors import InputError, suggest
from counterstain.evaluation.metric_names import is_graded
from counterstain.evaluation.predictions import Predictions

__all__ = ["as_grades", "check_graded_measures"]


def as_grades(table: Predictions, order: Sequence[str]) -> Predictions:
    """The table with its classes as grades in this order, from the lowest to the highest.

    Args:
        table: one column of probabilities per class, or predicted classes alone, which need not contain each grade: a
            reader may never have called the highest.
        order: every class once, three or more.

    Raises:
        InputError: If these are fewer than three, or not the table's classes.

    Examples:
        >>> table = Predictions(image=("a", "b"), patient=("P1", "P2"), slide=("", ""), site=("", ""), label=[0, 1],
        ...                     prob=[[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], classes=("high", "low", "mid"))
        >>> graded = as_grades(table, ["low", "mid", "high"])
        >>> graded.ordered, graded.label.tolist(), graded.prob.tolist()
        (True, [2, 0], [[0.2, 0.1, 0.7], [0.8, 0.1, 0.1]])
    """
    grades = tuple(order)
    if len(grades) < 3:
        raise InputError(
            f"--order names {len(grades)} classes ({', '.join(grades)}); grades are three or more, from the lowest to "
            "the highest, with a comma between them. Of two classes name the positive one: --positive"
        )
    twice = next((name for name in grades if grades.count(name) > 1), None)
    absent = twice or next((name for name in table.classes if name not in grades), None)
    if absent is not None:
        raise InputError(
            f"--order {','.join(grades)} names class '{absent}' {'twice' if twice else 'not at all'}; "
            f"name each class of the table once: {', '.join(table.classes)}"
        )
    odd = next((name for name in grades if name not in table.classes), None)
    if odd is not None and not table.hard:
        raise InputError(f"--order names class '{odd}', which has no probability column{suggest(odd, table.classes)}")
    prob = np.zeros((len(table), len(grades)))
    place = [grades.index(name) for name in table.classes]
    prob[:, place] = table.prob
    return replace(table, classes=grades, label=np.array(place)[table.label], prob=prob, ordered=True)


def check_graded_measures(names: Sequence[str], order: Sequence[str] | None) -> None:
    """Refuse a measure of grades where the classes' order is not known, with the option that says it.

    Raises:
        InputError: If one of `names` is the quadratic-weighted kappa, by any of its names, and there is no order.
    """
    for name in () if order is not None else names:
        if is_graded(name):
            raise InputError(
                f"'{name}' weighs calls by their distance in grades, and a table doesn't say the order of its classes; "
                "name them from low to high: --order normal,low,high"
            )

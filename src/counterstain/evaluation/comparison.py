"""Comparison of arms: the paired difference, its interval and test by patient and seed, one verdict from one rule."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError, suggest
from counterstain.evaluation.arm_scores import aligned_arms, levels_of
from counterstain.evaluation.comparison_notes import (
    check_copies,
    check_detect,
    comparison_notes,
    detect_notes,
    patient_notes,
    size_notes,
)
from counterstain.evaluation.cross_validation import FoldTests
from counterstain.evaluation.format import clean, plural
from counterstain.evaluation.intervals import Sample, sample, units_of
from counterstain.evaluation.metric_names import canonical_measure, measure_words
from counterstain.evaluation.metrics import predicted_class
from counterstain.evaluation.pair_verdicts import Compared, joint_rows, judged_rows
from counterstain.evaluation.paired_difference import difference
from counterstain.evaluation.paired_tests import (
    clustered_auroc_difference,
    clustered_mcnemar,
    delong,
    mcnemar,
    sign_flip,
)
from counterstain.evaluation.pooled_predictions import pool_patients, pool_slides
from counterstain.evaluation.predictions import PROBABILITY_MEASURES, Predictions
from counterstain.evaluation.ranking import DEFAULT_PRIOR_SD, ranking_record
from counterstain.evaluation.record_types import ComparisonQuestion, ComparisonRecord, PairRow, TestRow
from counterstain.evaluation.resampling import unit_codes
from counterstain.evaluation.rows import level_of, level_words, unit_words
from counterstain.evaluation.verdict import CLAIMS, HYPOTHESES, Question, check_margin, rule_in_words, shown
from counterstain.evaluation.verdict_words import summary_words

__all__ = ["COMPARISON_SCHEMA", "compare_arms", "supporting_tests", "threshold_notes"]

COMPARISON_SCHEMA = "counterstain.comparison/1"
CALLED_BY_MOST = "{rows} are called at their thresholds, and a {level} is what most of its {rows} are called"
UNSEEN = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories: controls, lone surrogates, ends of lines and paragraphs


def compare_arms(
    arms: Mapping[str, Sequence[Predictions]],
    *,
    primary: str = "auroc",
    level: str = "image",
    margin: float | None = None,
    alpha: float = 0.05,
    pairs: Sequence[tuple[str, str]] | None = None,
    reference: str | None = None,
    hypothesis: str = "difference",
    claim: str = "procedures",
    co_primary: Sequence[str] = (),
    decided: Mapping[str, Sequence[Predictions]] | None = None,
    prior_sd: float = DEFAULT_PRIOR_SD,
    detect: float | None = None,
    over_folds: FoldTests | None = None,
    files: Mapping[str, Sequence[str]] | None = None,
    stamp: str = "",
) -> ComparisonRecord:
    """The record comparison.json: every pair of arms, compared on the primary endpoint, with one verdict each.

    Args:
        arms: arm -> its prediction tables, one for each seed, all on the same images.
        primary: the one endpoint: a measure's name, or another name that the field has for it ("sensitivity").
        level: "image" (the rows, whatever they are), "slide" or "patient": what is scored. The unit of the error is the
            patient at each of them.
        margin: the difference that would not matter; needed for equivalence and non-inferiority.
        alpha: two-sided error.
        pairs: the primary pairs; the rest is exploratory and marked so. Default: all pairs are primary.
        reference: compare every other arm with this one only (Holm over k - 1 pairs); not together with `pairs`.
        hypothesis: "difference"; "equivalence"; "noninferiority" of a pair's first arm to its second.
        claim: "procedures" (ways of training, several seeds); "models" (these fitted ones alone, one table for each).
        co_primary: endpoints that must all pass, such as ("sensitivity", "specificity"), instead of `primary`.
        decided: arm -> the same tables with the calls at frozen thresholds as probabilities 0 and 1
            (`thresholds.decided`); measures of calls are taken from them.
        prior_sd: standard deviation of the sceptical prior on a true difference; docs/measures/false-claim-probability.
        detect: a difference for which the number of patients is wanted.
        over_folds: tests over several training sets, which the verdict must pass too.
        files: arm -> the tables' file names; given, equal tables within an arm are refused by name.
        stamp: carried through to the record.

    Raises:
        InputError: If there are fewer than two arms, a name is unknown, or the tables cannot be joined.
    """
    _check_question(arms, margin, hypothesis, claim)
    chosen_pairs = _primary_pairs(arms, pairs, reference)
    _check_settings(margin, alpha, prior_sd)
    tables = aligned_arms(arms)
    copies = check_copies(tables, files)
    first = next(iter(tables.values()))[0]
    level = _known_level(level, first)
    samples = _samples_of(tables, decided, level)
    measures = _known_measures(tables, samples)
    endpoints = _endpoints(co_primary, measures)
    metric = endpoints[0] if endpoints else canonical_measure(primary, measures)
    check_detect(detect, endpoints or (metric,))
    margin_notes = {check_margin(name, margin) for name in endpoints or (metric,)} - {""}
    question = Question(
        metric=metric, level=level, unit=first.unit, rows_are=first.rows_are, alpha=alpha, margin=margin,
        hypothesis=hypothesis, claim=claim, positive=first.positive, co_primary=endpoints,
        training_sets=1 if over_folds is None else over_folds.training_sets,
    )  # fmt: skip
    every_pair = tuple(itertools.combinations(arms, 2))
    compared = Compared(
        tables=tables, samples=samples, units=len(units_of([first])), prior_sd=prior_sd, detect=detect,
        over_folds=over_folds, primary_pairs=tuple(chosen_pairs) or every_pair,
    )  # fmt: skip
    all_pairs = chosen_pairs + [p for p in every_pair if p not in chosen_pairs and p[::-1] not in chosen_pairs]
    rows = joint_rows(all_pairs, compared, question) if endpoints else judged_rows(all_pairs, compared, question)
    _add_tests(rows, tables, decided, level)
    primary_rows = [row for row in rows if row["primary"]]
    ranking = ranking_record(samples, rows, question)
    notes = [*copies, *patient_notes(arms), *sorted(margin_notes), *size_notes(samples, question)]
    if decided is not None and level != "image":
        notes.append(CALLED_BY_MOST.format(level=level, rows=f"{first.rows_are}s"))
    return {
        **_question_record(question, compared, first, stamp, reference, frozen=decided is not None),
        "shown": all(shown(row["verdict"], hypothesis) for row in primary_rows), "pairs": rows, "ranking": ranking,
        "exploratory": _exploratory(all_pairs, samples, measures, endpoints or (metric,), level, alpha),
        "words": summary_words(primary_rows, question, ranking["arms"][0]["arm"], reference),
        "warnings": [
            *comparison_notes(question, first, tables, units=compared.units, notes=notes),
            *detect_notes(detect, primary_rows, unit_words(first.unit, first.rows_are)),
        ],
    }  # fmt: skip


def _add_tests(
    rows: Sequence[PairRow],
    tables: Mapping[str, Sequence[Predictions]],
    decided: Mapping[str, Sequence[Predictions]] | None,
    level: str,
) -> None:
    """Give each pair its supporting tests, those of calls at the frozen thresholds if there are any."""
    tested = _at_level(tables, level)
    calls = tested if decided is None else _at_level(aligned_arms(decided), level)
    for row in rows:
        pair = (row["a"], row["b"])
        row["tests"] = supporting_tests(*(tested[arm] for arm in pair), calls=[calls[arm] for arm in pair])


def _at_level(tables: Mapping[str, Sequence[Predictions]], level: str) -> Mapping[str, Sequence[Predictions]]:
    """The tables with one row per slide or patient, where that is what is compared."""
    pool = {"patient": pool_patients, "slide": pool_slides}.get(level)
    return (
        tables if pool is None else {arm: [pool(table) for table in arm_tables] for arm, arm_tables in tables.items()}
    )


def _question_record(
    question: Question, compared: Compared, first: Predictions, stamp: str, reference: str | None, *, frozen: bool
) -> ComparisonQuestion:
    """What the record says of the question; `first` is any of the tables, `frozen` whether calls are at thresholds."""
    return {
        "schema": COMPARISON_SCHEMA,
        "stamp": stamp,
        "primary": question.metric,
        "co_primary": list(question.co_primary),
        "level": question.level,
        "unit": first.unit,
        "rows_are": first.rows_are,
        "positive": first.positive,
        "positive_from": first.positive_from if first.positive is not None else None,
        "alpha": question.alpha,
        "confidence": 1 - question.alpha,
        "margin": question.margin,
        "hypothesis": question.hypothesis,
        "asked": _asked_words(compared.primary_pairs, question.hypothesis),
        "claim": question.claim,
        "reference": reference,
        "prior_sd": compared.prior_sd,
        "detect": compared.detect,
        "training_sets": question.training_sets,
        "thresholds": "frozen" if frozen else "0.5",
        "rule": rule_in_words(question),
    }


def _samples_of(
    tables: Mapping[str, Sequence[Predictions]], decided: Mapping[str, Sequence[Predictions]] | None, level: str
) -> dict[str, Sample]:
    """Each arm's scores over the units of all tables; measures of calls from the tables with frozen calls, if any."""
    names = units_of([next(iter(tables.values()))[0]])
    samples = {arm: sample(arm_tables, names, level=level) for arm, arm_tables in tables.items()}
    if decided is None:
        return samples
    calls = aligned_arms(decided)
    return {arm: _with_calls(drawn, sample(calls[arm], names, level=level)) for arm, drawn in samples.items()}


def _known_measures(tables: Mapping[str, Sequence[Predictions]], samples: Mapping[str, Sample]) -> list[str]:
    """What can be compared: without probabilities no measure of them."""
    measures = [metric for metric, index in next(iter(samples.values())).values if index is None]
    if any(table.hard for arm_tables in tables.values() for table in arm_tables):
        measures = [metric for metric in measures if metric not in PROBABILITY_MEASURES]
    return measures


def _endpoints(co_primary: Sequence[str], measures: Sequence[str]) -> tuple[str, ...]:
    """The co-primary endpoints by their own names; none, or two and more."""
    endpoints = tuple(canonical_measure(name, measures, noun="co-primary endpoint") for name in co_primary)
    if len(set(endpoints)) != len(endpoints) or len(endpoints) == 1:
        raise InputError(f"co-primary endpoints are {', '.join(co_primary)}; two or more different ones are needed")
    return endpoints


def threshold_notes(options: Sequence[str], record: ComparisonRecord) -> list[str]:
    """From which probability each arm calls positive, and which endpoint no threshold changes.

    Args:
        options: "0.3" for all arms, or "NAME=0.3" for each, as `thresholds.decided_arms` takes them.
        record: comparison.json.
    """
    parts = [option.rpartition("=") for option in options]
    at = ", ".join(f"{float(value):g} or more{f' ({name})' if name else ''}" for name, _, value in parts)
    notes = [f"called '{record['positive']}' at a probability of {at}"]
    for metric in record["co_primary"] or [record["primary"]]:
        if metric in PROBABILITY_MEASURES:
            notes.append(f"{measure_words(metric)} is that of the probabilities; --threshold doesn't change it")
    return notes


def _asked_words(pairs: Sequence[tuple[str, str]], hypothesis: str) -> str:
    """What a gate asks to be shown: "that a is not inferior to b"."""
    relations = {"difference": "better than", "equivalence": "equivalent to", "noninferiority": "not inferior to"}
    claims = [f"{a} is {relations[hypothesis]} {b}" for a, b in pairs]
    return "that " + (" and ".join(claims) if len(claims) <= 3 else f"{claims[0]}, and so on for {len(claims)} pairs")


def _primary_pairs(
    arms: Mapping[str, object], pairs: Sequence[tuple[str, str]] | None, reference: str | None
) -> list[tuple[str, str]]:
    """The pairs that share the error; [] where all of them do."""
    if reference is not None:
        if pairs is not None:
            raise InputError("both pairs and a reference were given; a reference already says which pairs matter")
        if reference not in arms:
            raise InputError(f"reference is '{reference}'{suggest(reference, arms)}")
        return [(arm, reference) for arm in arms if arm != reference]
    for pair in pairs or ():
        for arm in pair:
            if arm not in arms:
                raise InputError(f"a pair names arm '{arm}'{suggest(arm, arms)}")
        if pair[0] == pair[1]:
            raise InputError(f"a pair names arm '{pair[0]}' twice; two different arms are needed")
    return list(pairs or ())


def _check_settings(margin: float | None, alpha: float, prior_sd: float) -> None:
    if margin is not None and not margin > 0:
        raise InputError(f"margin is {margin:g}; a negligible difference above 0 is needed")
    if not 0 < alpha < 0.5:
        raise InputError(f"alpha is {alpha}; an error rate between 0 and 0.5 was needed, say 0.05")
    if not 0 < prior_sd < float("inf"):
        raise InputError(f"prior_sd is {prior_sd}; a standard deviation above 0 was needed, say {DEFAULT_PRIOR_SD}")


def _check_question(
    arms: Mapping[str, Sequence[Predictions]], margin: float | None, hypothesis: str, claim: str
) -> None:
    if len(arms) < 2:
        count = f"{plural(len(arms), 'arm')} {'was' if len(arms) == 1 else 'were'} given"
        raise InputError(f"{count}; a comparison needs two. Give another prediction table.")
    if any(not arm.strip() for arm in arms):
        raise InputError("an arm has no name; name each, as in ours=ours.csv")
    odd = next((arm for arm in arms if any(category(letter) in UNSEEN for letter in arm)), None)
    if odd is not None:
        raise InputError(
            f"the name of arm {odd!r} holds a line end or a control character, which no table can show; name it "
            f"'{clean(odd)}', as in ours=ours.csv"
        )
    if hypothesis not in HYPOTHESES:
        raise InputError(f"hypothesis is '{hypothesis}'{suggest(hypothesis, HYPOTHESES)}")
    if claim not in CLAIMS:
        raise InputError(f"claim is '{claim}'{suggest(claim, CLAIMS)}")
    if hypothesis != "difference" and margin is None:
        raise InputError(f"{hypothesis} was asked without a margin; set the margin, the largest negligible difference")
    several = next((arm for arm, arm_tables in arms.items() if claim == "models" and len(arm_tables) != 1), None)
    if several is not None:
        raise InputError(
            f"arm '{several}' has {len(arms[several])} tables; a claim about fitted models needs one for each arm. "
            "Give one, or ask about the way of training instead"
        )


def _known_level(level: str, table: Predictions) -> str:
    """The level by its name in the records.

    Raises:
        InputError: If the tables cannot be compared at it.
    """
    level = level_of(level, table.rows_are)
    if level not in levels_of([table]):
        levels = " or ".join(level_words(possible, table.rows_are) for possible in levels_of([table]))
        raise InputError(f"level is '{level}'; these tables can be compared at {levels}")
    return level


def _with_calls(drawn: Sample, calls: Sample) -> Sample:
    """The scores of a sample, those of calls replaced by the ones at the frozen threshold."""
    keys = [key for key in drawn.values if key[0] not in PROBABILITY_MEASURES]

    return replace(
        drawn,
        values={**drawn.values, **{key: calls.values[key] for key in keys}},
        left_out={**drawn.left_out, **{key: calls.left_out[key] for key in keys}},
        df={**drawn.df, **{key: calls.df[key] for key in keys}},
    )


def _exploratory(
    pairs: Sequence[tuple[str, str]],
    samples: Mapping[str, Sample],
    measures: Sequence[str],
    judged: Sequence[str],
    level: str,
    alpha: float,
) -> list[dict[str, object]]:
    """Differences in all other scores: described, not judged."""
    columns = ("value_a", "value_b", "difference", "low", "high", "p")
    rows = []
    for a, b in pairs:
        for metric in (name for name in measures if name not in judged):
            measured = asdict(difference(samples[a], samples[b], (metric, None), alpha=alpha))
            rows.append({"a": a, "b": b, "metric": metric, "level": level} | {name: measured[name] for name in columns})
    return rows


DRAWS = 20_000  # of sign patterns: p is good to 0.003 near 0.05


def supporting_tests(
    a: Sequence[Predictions], b: Sequence[Predictions], *, calls: Sequence[Sequence[Predictions]] | None = None
) -> list[TestRow]:
    """What published tests say of two arms on the same images; they do not decide the verdict.

    Sign-flip over patients takes the accuracy of each patient, averaged over the seeds. McNemar's and the AUROC tests
    are for two fitted models, so they are given for one table each only.

    Args:
        a, b: the arms' tables, one per seed, all with the same rows in the same order.
        calls: the same tables with the calls at frozen thresholds as probabilities, for tests of calls.

    Returns:
        Records of "test", "p", and "about": what is compared with what as the unit.
    """
    code = unit_codes([a[0]])[1][0]
    units = int(code.max()) + 1
    called = (a, b) if calls is None else calls
    right = [np.mean([predicted_class(t.prob) == t.label for t in arm], axis=0) for arm in called]
    delta = np.bincount(code, weights=right[0] - right[1], minlength=units).astype(np.float64)
    delta[np.abs(delta) < 1e-9] = 0.0
    unit, seeds = unit_words(a[0].unit, a[0].rows_are), "" if len(a) == len(b) == 1 else ", mean over seeds"
    rows = [_row("sign-flip permutation", sign_flip(delta, draws=DRAWS), f"accuracy{seeds}, by {unit}")]
    if len(a) == len(b) == 1:
        rows += _fitted_models(a[0], b[0], code, right=right, alone=units == len(a[0]))
    return rows


def _fitted_models(
    a: Predictions, b: Predictions, code: NDArray[np.int64], *, right: Sequence[NDArray[np.float64]], alone: bool
) -> list[TestRow]:
    """Tests of two fitted models: for one row per unit (`alone`) or for clusters; `right` says which rows are."""
    right_a, right_b = (shares > 0.5 for shares in right)
    only_a, only_b = right_a & ~right_b, right_b & ~right_a
    positive, binary = a.label == 1, len(a.classes) == 2
    if alone:
        rows = [
            _row("McNemar", mcnemar(int(only_a.sum()), int(only_b.sum())).p, f"accuracy, one {a.rows_are} per unit")
        ]
        if binary and not (a.hard or b.hard):
            rows.append(
                _row("DeLong", delong(positive, a.prob[:, 1], b.prob[:, 1]).p, f"AUROC, one {a.rows_are} per unit")
            )
        return rows
    b_count, c_count = (np.bincount(code, weights=which).astype(int).tolist() for which in (only_a, only_b))
    clustered = clustered_mcnemar(b_count, c_count, np.bincount(code).tolist())
    rows = [
        _row("clustered McNemar, Obuchowski", clustered.p_obuchowski, "accuracy, by patient"),
        _row("clustered McNemar, Durkalski", clustered.p_durkalski, "accuracy, by patient"),
    ]
    if binary and not (a.hard or b.hard):
        area = clustered_auroc_difference(positive, a.prob[:, 1], b.prob[:, 1], code)
        rows.append(_row("clustered AUROC difference, Obuchowski", area.p, "AUROC, by patient"))
    return rows


def _row(test: str, p: float, about: str) -> TestRow:
    return {"test": test, "p": p, "about": about}

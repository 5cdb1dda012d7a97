"""The tables of scores and comparison as plain rows and text, for a terminal, a page or a log."""

from collections.abc import Mapping, Sequence

from counterstain.evaluation.format import digits_apart, p_value, p_words
from counterstain.evaluation.metric_names import ORDER, measure_words
from counterstain.evaluation.record_types import ComparisonRecord, FindingScore, FindingsRecord, PairRow
from counterstain.evaluation.rows import recorded_unit
from counterstain.evaluation.verdict import deciding_ends, percent, worst_end

__all__ = [
    "details_table",
    "finding_differences_table",
    "finding_scores_table",
    "findings_table",
    "levelled_interval",
    "needed_words",
    "pairs_table",
    "ranking_table",
    "shown",
]
__all__ += ["several_arms_notes", "shown_interval", "verdict_label"]

Rows = list[list[str]]


def shown(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """A score as text; what is undefined is "undefined", never 0; a difference has its sign."""
    if value is None or value != value:
        return "undefined"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"


def shown_interval(
    value: float | None, low: float | None, high: float | None, digits: int = 3, *, sign: bool = False
) -> str:
    """ "0.812 [0.701, 0.889]"; without an interval "0.812 [no interval]"."""
    if value is None or value != value:
        return "undefined"
    if low is None or low != low or high is None or high != high:
        return f"{shown(value, digits, sign=sign)} [no interval]"
    ends = f"[{shown(low, digits, sign=sign)}, {shown(high, digits, sign=sign)}]"
    return f"{shown(value, digits, sign=sign)} {ends}"


def levelled_interval(
    value: float | None, low: float | None, high: float | None, confidence: float, *, sign: bool = False
) -> str:
    """ "0.812 (95 % interval [0.701, 0.889])", for a value that stands alone."""
    text = shown_interval(value, low, high, sign=sign)
    plain, bracket, ends = text.partition(" [")
    if not bracket:
        return text
    return f"{plain} (no interval)" if ends == "no interval]" else f"{plain} ({percent(confidence)} interval [{ends})"


def findings_table(record: FindingsRecord, metric: str = "auroc") -> tuple[list[str], Rows]:
    """Header and rows, one per finding and one for their mean: images with it, and the metric of each arm.

    Args:
        record: of score_findings, or the findings.json of a run.
        metric: one of those in the record.
    """
    scores = {(row["finding"], row["arm"]): row for row in record["scores"] if row["metric"] == metric}
    arms = list(record["seeds"])
    return ["finding", f"of {record['images']} images", *arms], _finding_rows(record, scores, arms)


def finding_scores_table(record: FindingsRecord, arm: str) -> tuple[list[str], Rows]:
    """Header and rows, one per finding and one for their mean: images with it, and every measure of one arm."""
    scores = {(row["finding"], row["metric"]): row for row in record["scores"] if row["arm"] == arm}
    metrics = [name for name in ORDER if any(metric == name for _, metric in scores)]
    header = ["finding", f"of {record['images']} images", *map(measure_words, metrics)]
    return header, _finding_rows(record, scores, metrics)


def _finding_rows(
    record: FindingsRecord, scores: Mapping[tuple[str, str], FindingScore], columns: Sequence[str]
) -> Rows:
    """One row per finding, the mean last: images with it, and its score in each column."""
    counts = {row["finding"]: row["images"] for row in record["findings"]}
    rows = []
    for finding in dict.fromkeys([*counts, *(finding for finding, _ in scores)]):
        cells = [scores[finding, column] for column in columns]
        values = [shown_interval(cell["value"], cell["low"], cell["high"]) for cell in cells]
        rows.append([finding, str(counts.get(finding, "")), *values])
    return rows


def finding_differences_table(record: FindingsRecord) -> tuple[list[str], Rows]:
    """Header and rows, one per pair of arms and finding: the difference in AUROC, its interval and p."""
    rows = []
    for row in record["differences"]:
        digits = digits_apart(row["low"], row["high"])
        interval = shown_interval(row["difference"], row["low"], row["high"], digits, sign=True)
        rows.append([f"{row['a']} − {row['b']}", row["finding"], interval, p_value(row.get("p_adjusted", row["p"]))])
    return ["pair", "finding", f"difference in AUROC ({percent(record['confidence'])} interval)", "p (Holm)"], rows


def ranking_table(record: ComparisonRecord) -> tuple[list[str], Rows]:
    """Header and rows, one for each arm, the best on top: its value with interval, and its pair with the best.

    Args:
        record: comparison.json.
    """
    best = record["ranking"]["arms"][0]["arm"]
    pairs = {
        pair["b"] if pair["a"] == best else pair["a"]: pair
        for pair in record["pairs"]
        if best in (pair["a"], pair["b"])
    }
    measure = measure_words(record["primary"], record["positive"], several=record["positive"] is None)
    header = ["arm", f"{measure} ({_level(record)} interval)"]
    header += [f"behind the best ({_level(record)} interval)", "p (Holm)", "vs the best", *_detect_head(record)]
    rows = []
    for arm in record["ranking"]["arms"]:
        value = shown_interval(arm["value"], arm["low"], arm["high"])
        pair = pairs.get(arm["arm"])
        if pair is None:
            rows.append([arm["arm"], value, "", "", "the best", *[""] * len(_detect_head(record))])
            continue
        best_is_first = pair["a"] == best
        lead = pair["difference"] if best_is_first else _minus(pair["difference"])
        ends = (pair["low"], pair["high"]) if best_is_first else (_minus(pair["high"]), _minus(pair["low"]))
        behind = shown_interval(lead, *ends, digits_apart(*ends), sign=True)
        rows.append([arm["arm"], value, behind, p_value(pair["p_adjusted"]),
                     _against_best(pair, best), *_detect_cell(record, pair)])  # fmt: skip
    return header, rows


def pairs_table(record: ComparisonRecord, pairs: Sequence[PairRow]) -> tuple[list[str], Rows]:
    """Header and rows, one for each pair, with the interval and the p that decided.

    Args:
        record: comparison.json.
        pairs: those of its pairs that are wanted.
    """
    header = ["pair", _deciding_head(record), "p (Holm)", "verdict", *_detect_head(record)]
    rows: Rows = []
    for pair in pairs:
        name, p = f"{pair['a']} − {pair['b']}", p_value(_deciding_p(record, pair))
        endpoints = pair.get("endpoints") or ()
        value = "" if endpoints else _deciding_cell(record, pair)
        joint = f"{name}, all of:" if endpoints else name
        rows.append([joint, value, p, verdict_label(pair), *([""] if endpoints and _detect_head(record) else [])])
        if not endpoints:
            rows[-1] += _detect_cell(record, pair)
        for endpoint in endpoints:
            value, p = _deciding_cell(record, endpoint), p_value(_deciding_p(record, endpoint))
            rows.append([f"  {_measure(endpoint)}", value, p, verdict_label(endpoint), *_detect_cell(record, endpoint)])
    return header, rows


def _deciding_p(record: ComparisonRecord, pair: PairRow) -> float:
    """The p that the question is decided by."""
    return pair["p_adjusted"] if record["hypothesis"] == "difference" else pair["p_margin_adjusted"]


def _deciding_head(record: ComparisonRecord) -> str:
    """The head above differences: with the limit or interval that decides the question, and its level."""
    if record["hypothesis"] == "noninferiority":
        return f"difference, at worst ({percent(1 - record['alpha'] / 2)} limit)"
    level = percent(1 - (2 if record["hypothesis"] == "equivalence" else 1) * record["alpha"])
    return f"difference ({level} interval)"


def _deciding_cell(record: ComparisonRecord, pair: PairRow) -> str:
    if record["hypothesis"] == "noninferiority":
        worst = worst_end(pair)
        difference = shown(pair["difference"], sign=True)
        return difference if worst is None or worst != worst else f"{difference}, {shown(worst, sign=True)}"
    ends = deciding_ends(pair, record["hypothesis"])
    return shown_interval(pair["difference"], *ends, digits_apart(*ends), sign=True)


def several_arms_notes(record: ComparisonRecord, pairs: Sequence[PairRow]) -> list[str]:
    """What the table of several arms doesn't hold: why an interval and its p may disagree, other pairs that differ."""
    best = record["ranking"]["arms"][0]["arm"]
    lines = []
    if len(pairs) > 1:
        corrected = f"p is after Holm's correction over {pairs[0]['tests_corrected_for']} pairs"
        lines.append(f"Each interval or limit is of its pair alone; {corrected}")
    others = [
        pair for pair in pairs if best not in (pair["a"], pair["b"]) and pair["verdict"] in ("a_better", "b_better")
    ]
    if others and record["reference"] is None and not record["co_primary"]:
        lines.append(
            "Also told apart: " + ", ".join(f"{_winner(pair)} is better than {_loser(pair)}" for pair in others)
        )
    return lines


def _winner(pair: PairRow) -> str:
    return str(pair["a"] if pair["verdict"] == "a_better" else pair["b"])


def _loser(pair: PairRow) -> str:
    return str(pair["b"] if pair["verdict"] == "a_better" else pair["a"])


def _against_best(pair: PairRow, best: str) -> str:
    """What a pair with the best arm says of the other one, in a word or two."""
    kind = pair["also"] or pair["verdict"]
    if kind in ("a_better", "b_better"):
        return "worse" if pair["a" if kind == "a_better" else "b"] == best else "better"
    other = {"equivalent": "equivalent", "undefined": "undefined", "not_enough_runs": "too few runs"}
    return other.get(kind, "unclear")


def details_table(record: ComparisonRecord, pair: PairRow) -> tuple[list[str], Rows]:
    """Two columns with all that the verdict on one pair rests on.

    Args:
        record: comparison.json.
        pair: one of its pairs.
    """
    a, b = pair["a"], pair["b"]
    rows = []
    for endpoint in pair.get("endpoints") or [pair]:
        measure = _measure(endpoint)
        for arm, value, low, high in (
            (a, endpoint["value_a"], endpoint.get("low_a"), endpoint.get("high_a")),
            (b, endpoint["value_b"], endpoint.get("low_b"), endpoint.get("high_b")),
        ):
            rows.append([f"{measure}: {arm}", _own_value(record, endpoint, arm, value, (low, high))])
        digits = digits_apart(endpoint["low"], endpoint["high"])
        rows.append([f"difference, {a} − {b}", shown(endpoint["difference"], digits, sign=True)])
        rows.append([f"{_level(record)} interval", _ends(endpoint["low"], endpoint["high"], digits)])
        rows.append(["p against no difference" + _holm(endpoint), p_value(endpoint["p_adjusted"])])
        rows += _margin_rows(record, endpoint)
        if pair.get("endpoints"):
            rows += _basis_rows(record, endpoint)
    if pair.get("endpoints"):
        against = "no difference" if record["hypothesis"] == "difference" else "the margin"
        rows.append([f"joint p against {against}, the largest{_holm(pair)}", p_value(_deciding_p(record, pair))])
    chance = pair["probability_false"]
    if chance is not None and chance == chance and not pair.get("endpoints"):
        rows.append([f"chance that this ranking is false (prior SD {record['prior_sd']:g})", p_value(chance)])
    if not pair.get("endpoints"):
        rows += _basis_rows(record, pair)
    for beside in pair.get("tests", ()):
        if beside["p"] is not None and beside["p"] == beside["p"]:
            rows.append([f"beside it: {beside['test']}", f"{p_words(beside['p'])} ({beside['about']})"])
    return ["on what it rests", ""], rows


def _basis_rows(record: ComparisonRecord, endpoint: PairRow) -> Rows:
    """The number of patients that was asked for, and the test: of a pair, or of each of its endpoints."""
    rows: Rows = []
    if record["detect"] is not None and (needed := needed_words(endpoint, recorded_unit(record))):
        rows.append([f"{recorded_unit(record)}s to find a difference of {record['detect']:g}", needed])
    if endpoint["probability_false"] is not None:
        rows.append(["test", endpoint["test"]])
    return rows


def _own_value(
    record: ComparisonRecord, endpoint: PairRow, arm: str, value: float, ends: tuple[float | None, float | None]
) -> str:
    """An arm's value with its interval, which a co-primary endpoint has itself, and the ranking for a lone measure."""
    ranked = next((row for row in record["ranking"]["arms"] if row["arm"] == arm), None)
    if ends == (None, None) and ranked is not None and endpoint["metric"] == record["primary"]:
        ends = ranked["low"], ranked["high"]
    return levelled_interval(value, *ends, 1 - record["alpha"])


def _margin_rows(record: ComparisonRecord, pair: PairRow) -> Rows:
    """What decided the question about the margin, with its own level."""
    alpha = record["alpha"]
    if record["margin"] is None:
        return []
    if record["hypothesis"] == "noninferiority":
        return [
            [f"one-sided {percent(1 - alpha / 2)} limit", shown(worst_end(pair), sign=True)],
            [f"p of non-inferiority by {record['margin']:g}{_holm(pair)}", p_value(pair["p_margin_adjusted"])],
            [f"p of inferiority by more than that{_holm(pair)}", p_value(pair["p_inferior_adjusted"])],
        ]  # fmt: skip
    return [
        [f"{percent(1 - 2 * alpha)} interval for equivalence", _ends(pair["low_margin"], pair["high_margin"])],
        [f"p of equivalence within ±{record['margin']:g}{_holm(pair)}", p_value(pair["p_margin_adjusted"])],
    ]


def needed_words(pair: PairRow, unit: str) -> str:
    """ "135 (90 % range 103 to 186)" for what `detect` asked; "" where the pair is settled."""
    needed = pair.get("needed")
    if needed is None:
        return ""
    if needed["patients"] is None:
        return f"no number of {unit}s: the spread over seeds hides it; train more seeds"
    high = f"{needed['high']:,}" if needed["high"] is not None else "no number"
    return f"{needed['patients']:,} (90 % range {needed['low']:,} to {high})"


def _detect_head(record: ComparisonRecord) -> list[str]:
    """The head of the column with the patients needed, where a difference was named."""
    return [] if record["detect"] is None else [f"{recorded_unit(record)}s to find {record['detect']:g} (90 % range)"]


def _detect_cell(record: ComparisonRecord, pair: PairRow) -> list[str]:
    if record["detect"] is None:
        return []
    needed = pair["needed"]
    if needed is None:
        return [""]
    high = "∞" if needed["high"] is None else f"{needed['high']:,}"
    return ["more seeds" if needed["patients"] is None else f"{needed['patients']:,} ({needed['low']:,} to {high})"]


def _holm(pair: PairRow) -> str:
    count = pair["tests_corrected_for"]
    return f" (Holm over {count} pairs)" if count > 1 else ""


def _level(record: ComparisonRecord) -> str:
    return percent(1 - record["alpha"])


def _measure(row: PairRow) -> str:
    return measure_words(row["metric"], row["positive"], several=row["positive"] is None)


def _ends(low: float | None, high: float | None, digits: int = 3) -> str:
    if low is None or low != low or high is None or high != high:
        return "no interval"
    return f"[{low:+.{digits}f}, {high:+.{digits}f}]"


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def verdict_label(pair: PairRow) -> str:
    """The verdict of one pair in a few words."""
    a, b = pair["a"], pair["b"]
    words = {
        "a_better": f"{a} is better",
        "b_better": f"{b} is better",
        "equivalent": "equivalent within the margin",
        "noninferior": f"{a} is not inferior by the margin",
        "inferior": f"{a} is inferior by more than the margin",
        "noninferiority_not_shown": "non-inferiority not shown",
        "equivalence_not_shown": "equivalence not shown",
        "no_evidence": "no evidence of a difference",
        "not_enough_runs": "not enough runs to claim",
        "undefined": "undefined",
    }
    also = {"a_better": f"; {a} is better", "b_better": f"; {b} is better"}.get(pair["also"] or "", "")
    return words[pair["verdict"]] + also

"""The tables of a report: a run's records as rows of words, each number beside its interval."""

from counterstain.evaluation.format import (
    UNDEFINED,
    capital,
    clean,
    counted_rows,
    difference,
    digits_apart,
    interval,
    listed,
    metric_name,
    natural,
    number,
    p_value,
    p_words,
    plural,
    signed,
)
from counterstain.evaluation.metric_names import ORDER, is_class_bound
from counterstain.evaluation.rows import level_words, unit_words
from counterstain.reports.page_table import (
    NO_INTERVAL,
    Cell,
    Table,
    count_heads,
    counted,
    row_counts,
    score_cell,
    table_cells,
)
from counterstain.reports.run_record import RunRecord, find_score, primary

__all__ = ["class_table", "factorial", "metric_tables", "pair_table", "primary_table", "scores_level"]

ARMS_ABREAST = 4
ROOMY = 2
MOST_SEEDS = 5
VERDICTS = {
    "a_better": "{a} is better",
    "b_better": "{b} is better",
    "equivalent": "equivalent within the margin",
    "noninferior": "{a} is not inferior by the margin",
    "inferior": "{a} is inferior by more than the margin",
    "undefined": "undefined",
    "noninferiority_not_shown": "non-inferiority not shown",
    "equivalence_not_shown": "equivalence not shown",
    "no_evidence": "no evidence of a difference",
    "not_enough_runs": "not enough runs to claim",
}
STATED = ("a_better", "b_better", "equivalent", "noninferior", "inferior")


def scores_level(run: RunRecord) -> str:
    """The level of the scores' intervals, as "95 %"."""
    return f"{100 * float(run.scores.get('confidence', 0.95)):g}\u00a0%"


def _unit_words(run: RunRecord) -> str:
    return f"{scores_level(run)} intervals with the {unit_words(run.scores['unit'], run.rows_are)} as the unit"


# ------------------------------------------------------------------------------------------------------------- results


def primary_table(run: RunRecord) -> Table:
    """The one measure of the verdict for every arm: value, interval, single seeds, and what it rests on."""
    metric, level = primary(run)
    rows = []
    for arm in run.arms:
        record = run.scores["arms"][arm]
        score = find_score(run.scores, arm, metric, level)
        seeds = [] if score is None else [number(value) for value in score["per_seed"]]
        counts = (counted(len(record["seeds"])), *row_counts(run.rows_are, record["images"], record["patients"]))
        row = score or {"value": None, "low": None, "high": None}
        value_cells = (Cell(number(row["value"]), strong=True), interval(row["low"], row["high"]) or NO_INTERVAL)
        each = ", ".join(seeds) or UNDEFINED
        if len(seeds) > MOST_SEEDS:
            values = score["per_seed"] if score else ()
            each = f"{number(min(values))} to {number(max(values))}"
        rows.append(table_cells(arm, *value_cells, each, *counts))
    measured = f"{capital(metric_name(metric))}, {level_words(level, run.rows_are)}"
    caption = f"{measured}, test part; {_unit_words(run)}"
    head = (
        "arm",
        metric_name(metric),
        f"{scores_level(run)} interval",
        "each seed",
        "seeds",
        *count_heads(run.rows_are),
    )
    return Table(caption, head, tuple(rows))


def metric_tables(run: RunRecord, level: str) -> list[Table]:
    """Every measure of every arm at one level, a few arms abreast; [] where that level was not scored."""
    classes = len(run.scores["classes"])
    scored = {
        score["metric"] for arm in run.arms for score in run.scores["arms"][arm]["scores"] if score["class"] is None
    }
    metrics = [*(name for name in ORDER if name in scored), *natural(scored.difference(ORDER))]
    tables = []
    for start in range(0, len(run.arms), ARMS_ABREAST):
        arms = run.arms[start : start + ARMS_ABREAST]
        rows = []
        for metric in metrics:
            scores = [find_score(run.scores, arm, metric, level) for arm in arms]
            if any(scores):
                rows.append((Cell(metric_name(metric)), *(score_cell(score) for score in scores)))
        if not rows:
            return []
        scope = f"of the class {clean(run.scores['positive'])}" if classes == 2 else "macro means over the classes"
        caption = f"{level_words(level, run.rows_are).capitalize()}, {scope}; {_unit_words(run)}"
        tables.append(Table(caption, ("measure", *map(clean, arms)), tuple(rows), inline=len(run.arms) <= ROOMY))
    return tables


def class_table(run: RunRecord) -> list[Table]:
    """Per-class measures of each arm, each class against the rest; [] for two classes."""
    classes = run.scores["classes"]
    if len(classes) <= 2:
        return []
    tables = []
    metrics = [name for name in ("recall", "precision", "specificity", "f1", "auroc") if _has_class_scores(run, name)]
    for arm in run.arms:
        rows = [
            (
                Cell(clean(name)),
                *(score_cell(find_score(run.scores, arm, metric, "image", name)) for metric in metrics),
            )
            for name in classes
        ]
        caption = f"{clean(arm)}: each class against the rest, {level_words('image', run.rows_are)}; {_unit_words(run)}"
        tables.append(Table(caption, ("class", *(metric_name(name) for name in metrics)), tuple(rows)))
    return tables


def _has_class_scores(run: RunRecord, metric: str) -> bool:
    return any(
        score["metric"] == metric and score["class"] is not None
        for arm in run.arms
        for score in run.scores["arms"][arm]["scores"]
    )


# ---------------------------------------------------------------------------------------------------------- comparison


def pair_table(run: RunRecord) -> Table | None:
    """Every pair of arms: difference, p, and what the rule makes of it."""
    pairs = run.comparison.get("pairs", ())
    if not pairs:
        return None
    exploratory = any(not pair["primary"] for pair in pairs)
    of_two = len(pairs) == 1  # of several arms that chance isn't known well enough
    rows = []
    for pair in pairs:
        verdict = VERDICTS.get(pair["verdict"], pair["verdict"].replace("_", " "))
        also = pair.get("also")
        verdict += f"; {VERDICTS[also]}" if also in ("a_better", "b_better") else ""
        kind = "exploratory" if not pair["primary"] else "primary" if exploratory else ""
        ends = (pair["low"], pair["high"])
        digits = digits_apart(*ends)
        rows.append(
            table_cells(
                Cell(f"{clean(pair['a'])} − {clean(pair['b'])}", kind),
                Cell(signed(pair["difference"], digits), interval(*ends, digits, sign=True) or NO_INTERVAL),
                p_value(pair["p"]),
                p_value(pair["p_adjusted"]),
                *([p_value(pair.get("probability_false"))] if of_two else []),
                Cell(
                    verdict.replace("{a}", clean(pair["a"])).replace("{b}", clean(pair["b"])),
                    strong=bool(pair["primary"]) and pair["verdict"] in STATED,
                ),
            )
        )
    metric, level = primary(run)
    first = pairs[0]
    counts = [counted_rows(first["images"], run.rows_are, first.get("patients"))] if first.get("images") else []
    counts += [plural(first["seeds"], "seed")] if first.get("seeds") else []
    positive = run.comparison.get("positive") if is_class_bound(metric) else None
    endpoint = metric_name(metric) + (f" for {clean(positive)}" if positive else "")
    caption = f"Paired differences in {endpoint}, {level_words(level, run.rows_are)}: {listed(counts)}"
    percent = f"{100 * run.comparison.get('confidence', 0.95):.4g}\u00a0%"
    prior = run.comparison.get("prior_sd")
    chance = ["chance of a false ranking" + (f", prior SD {prior:g}" if prior else "")] if of_two else []
    head = ("arms", f"difference, {percent} interval", "p", "p,\u00a0Holm", *chance, "verdict")
    return Table(caption, head, tuple(rows), frozenset({0, len(head) - 1}))


def factorial(run: RunRecord) -> Table | None:
    """The 2×2 of network and batch size where the arms form one: values inside, the effect of each at the edges."""
    settings = run.resolved.get("arms") or {}
    place = {(str(chosen.get("network")), int(chosen.get("batch") or 0)): arm for arm, chosen in settings.items()}
    networks = list(dict.fromkeys(str(settings[arm].get("network")) for arm in run.arms if arm in settings))
    batches = sorted({batch for _, batch in place})
    if any(chosen.get("tune") == "frozen" for chosen in settings.values()):
        return None  # a frozen arm has no batch
    if len(settings) != 4 or len(place) != 4 or len(networks) != 2 or len(batches) != 2:
        return None
    metric, level = primary(run)

    def value(network: str, batch: int) -> Cell:
        return score_cell(find_score(run.scores, place[network, batch], metric, level))

    def effect(later: tuple[str, int], earlier: tuple[str, int]) -> Cell:
        return _difference_cell(run, place[later], place[earlier])

    low, high = batches
    first, second = networks
    rows = [
        (Cell(clean(name)), value(name, low), value(name, high), effect((name, high), (name, low))) for name in networks
    ]
    edge = (effect((second, low), (first, low)), effect((second, high), (first, high)), Cell(""))
    rows.append((Cell("effect of the network", f"{clean(second)} − {clean(first)}"), *edge))
    caption = (
        f"{metric_name(metric)}, {level_words(level, run.rows_are)}, by network and batch size; {scores_level(run)} "
        "intervals, p is corrected for the number of pairs"
    )
    head = ("network", f"batch {low}", f"batch {high}", f"effect of the batch, {high} − {low}")
    return Table(caption, head, tuple(rows))


def _difference_cell(run: RunRecord, later: str, earlier: str) -> Cell:
    for pair in run.comparison.get("pairs", ()):
        turned = {(later, earlier): 1, (earlier, later): -1}.get((pair["a"], pair["b"]))
        if turned is None or pair["difference"] is None:
            continue
        ends = [None if pair[name] is None else turned * pair[name] for name in ("low", "high")]
        low, high = ends if turned > 0 else reversed(ends)
        limits = interval(low, high, sign=True)
        below = f"{limits}, {p_words(pair['p_adjusted'])}" if limits else NO_INTERVAL
        return Cell(difference(turned * pair["difference"], None, None), below)
    return Cell(UNDEFINED)

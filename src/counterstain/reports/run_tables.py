"""The tables of a report: a run's records as rows of words, each number beside its interval."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from counterstain.evaluation.format import (
    UNDEFINED,
    clean,
    difference,
    digits_apart,
    interval,
    listed,
    metric_name,
    natural,
    number,
    p_value,
    share,
    signed,
)
from counterstain.evaluation.metric_names import ORDER, is_class_bound
from counterstain.reports.run_figures import find_score, part_order, primary
from counterstain.reports.run_record import RunRecord

__all__ = [
    "Cell",
    "Table",
    "arm_table",
    "class_table",
    "cohort_table",
    "factorial",
    "metric_tables",
    "pair_table",
    "primary_table",
    "ranges_table",
    "scores_level",
    "site_table",
    "split_table",
]

ARMS_ABREAST = 4
ROOMY = 2
MOST_ROWS = 40
MOST_SEEDS = 5
NO_INTERVAL = "no interval"
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


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table: a text, and below it in smaller letters its interval or a remark."""

    text: str
    below: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table: head has one text per column; the first cell of each row names it.

    words: the columns that hold no numbers; inline: what is below a cell stands beside it, as there is room.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    words: frozenset[int] = frozenset({0})
    inline: bool = False


def _cells(*texts: object) -> tuple[Cell, ...]:
    return tuple(text if isinstance(text, Cell) else Cell(clean(text)) for text in texts)


def _count(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _score_cell(score: Mapping[str, Any] | None) -> Cell:
    if score is None or score["value"] is None:
        return Cell(UNDEFINED)
    return Cell(number(score["value"]), interval(score["low"], score["high"]) or NO_INTERVAL)


def scores_level(run: RunRecord) -> str:
    """The level of the scores' intervals, as "95 %"."""
    return f"{100 * float(run.scores.get('confidence', 0.95)):g}\u00a0%"


def _unit_words(run: RunRecord) -> str:
    return f"{scores_level(run)} intervals with the {run.scores['unit']} as the unit"


# ------------------------------------------------------------------------------------------------------------- results


def primary_table(run: RunRecord) -> Table:
    """The one measure of the verdict for every arm: value, interval, single seeds, and what it rests on."""
    metric, level = primary(run)
    rows = []
    for arm in run.arms:
        own = run.scores["arms"][arm]
        score = find_score(run.scores, arm, metric, level)
        seeds = [] if score is None else [number(value) for value in score["per_seed"]]
        counts = (_count(len(own["seeds"])), _count(own["images"]), _count(own["patients"]))
        found = score or {"value": None, "low": None, "high": None}
        shown = (Cell(number(found["value"]), strong=True), interval(found["low"], found["high"]) or NO_INTERVAL)
        each = ", ".join(seeds) or UNDEFINED
        if len(seeds) > MOST_SEEDS:
            values = score["per_seed"] if score else ()
            each = f"{number(min(values))} to {number(max(values))}"
        rows.append(_cells(arm, *shown, each, *counts))
    caption = (
        f"{metric_name(metric)[:1].upper()}{metric_name(metric)[1:]}, {level} level, test part; {_unit_words(run)}"
    )
    head = ("arm", metric_name(metric), f"{scores_level(run)} interval", "each seed", "seeds", "images", "patients")
    return Table(caption, head, tuple(rows))


def metric_tables(run: RunRecord, level: str) -> list[Table]:
    """Every measure of every arm at one level, a few arms abreast; [] where that level was not scored."""
    classes = len(run.scores["classes"])
    known = {
        score["metric"] for arm in run.arms for score in run.scores["arms"][arm]["scores"] if score["class"] is None
    }
    metrics = [*(name for name in ORDER if name in known), *natural(known.difference(ORDER))]
    tables = []
    for start in range(0, len(run.arms), ARMS_ABREAST):
        arms = run.arms[start : start + ARMS_ABREAST]
        rows = []
        for metric in metrics:
            found = [find_score(run.scores, arm, metric, level) for arm in arms]
            if any(found):
                rows.append((Cell(metric_name(metric)), *(_score_cell(score) for score in found)))
        if not rows:
            return []
        of = f"of the class {clean(run.scores['positive'])}" if classes == 2 else "macro means over the classes"
        caption = f"{level.capitalize()} level, {of}; {_unit_words(run)}"
        tables.append(Table(caption, ("measure", *map(clean, arms)), tuple(rows), inline=len(run.arms) <= ROOMY))
    return tables


def class_table(run: RunRecord) -> list[Table]:
    """Per-class measures of each arm, each class against the rest; [] for two classes."""
    classes = run.scores["classes"]
    if len(classes) <= 2:
        return []
    tables = []
    metrics = [name for name in ("recall", "precision", "specificity", "f1", "auroc") if _has(run, name)]
    for arm in run.arms:
        rows = [
            (
                Cell(clean(name)),
                *(_score_cell(find_score(run.scores, arm, metric, "image", name)) for metric in metrics),
            )
            for name in classes
        ]
        caption = f"{clean(arm)}: each class against the rest, image level; {_unit_words(run)}"
        tables.append(Table(caption, ("class", *(metric_name(name) for name in metrics)), tuple(rows)))
    return tables


def _has(run: RunRecord, metric: str) -> bool:
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
            _cells(
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
    counts = [f"{first[name]:,} {name}" for name in ("images", "patients", "seeds") if first.get(name)]
    of = run.comparison.get("positive") if is_class_bound(metric) else None
    named = metric_name(metric) + (f" for {clean(of)}" if of else "")
    caption = f"Paired differences in {named}, {level} level: {listed(counts)}"
    level_words = f"{100 * run.comparison.get('confidence', 0.95):.4g}\u00a0%"
    prior = run.comparison.get("prior_sd")
    chance = ["chance of a false ranking" + (f", prior SD {prior:g}" if prior else "")] if of_two else []
    head = ("arms", f"difference, {level_words} interval", "p", "p,\u00a0Holm", *chance, "verdict")
    return Table(caption, head, tuple(rows), frozenset({0, len(head) - 1}))


def signed_value(value: float | None) -> str:
    """A difference alone."""
    return difference(value, None, None)


def factorial(run: RunRecord) -> Table | None:
    """The 2×2 of network and batch size where the arms form one: values inside, the effect of each at the edges."""
    settings = run.resolved.get("arms") or {}
    place = {(str(own.get("network")), int(own.get("batch") or 0)): arm for arm, own in settings.items()}
    networks = list(dict.fromkeys(str(settings[arm].get("network")) for arm in run.arms if arm in settings))
    batches = sorted({batch for _, batch in place})
    if any(own.get("tune") == "frozen" for own in settings.values()):
        return None  # a frozen arm has no batch
    if len(settings) != 4 or len(place) != 4 or len(networks) != 2 or len(batches) != 2:
        return None
    metric, level = primary(run)

    def value(network: str, batch: int) -> Cell:
        return _score_cell(find_score(run.scores, place[network, batch], metric, level))

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
        f"{metric_name(metric)}, {level} level, by network and batch size; {scores_level(run)} intervals, p is "
        "corrected for the number of pairs"
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
        shown = interval(low, high, sign=True)
        below = f"{shown}, p = {p_value(pair['p_adjusted'])}" if shown else NO_INTERVAL
        return Cell(signed_value(turned * pair["difference"]), below.replace("= <", "<").replace("= >", ">"))
    return Cell(UNDEFINED)


# ------------------------------------------------------------------------------------------------------- what was done


def arm_table(run: RunRecord) -> Table:
    """The arms: what differs between them, and how long each run of each was trained."""
    rows = []
    for arm in run.arms:
        own = (run.resolved.get("arms") or {}).get(arm, {})
        runs = [training for training in run.trainings if training.arm == arm]
        frozen = own.get("tune") == "frozen"  # a probe has neither batches nor epochs
        if frozen:
            own = {"network": f"{own.get('network', UNDEFINED)}, frozen"}
        parameters = next((training.record.get("parameters") for training in runs), None)
        best = [str(training.best_epoch) for training in runs if not frozen]
        trained = [str(training.epochs) for training in runs if not frozen]
        many = len(best) > 6
        rows.append(
            _cells(
                arm,
                own.get("network", UNDEFINED),
                _count(parameters),
                own.get("batch", UNDEFINED),
                f"{own['learning_rate']:g}" if "learning_rate" in own else UNDEFINED,
                f"{min(map(int, best))}–{max(map(int, best))}" if many else ", ".join(best) or UNDEFINED,
                f"{min(map(int, trained))}–{max(map(int, trained))}" if many else ", ".join(trained) or UNDEFINED,
            )
        )
    head = ("arm", "network", "parameters", "batch", "learning rate", "best epochs", "last epochs")
    return Table("The arms and their trainings", head, tuple(rows), frozenset({0, 1}))


def cohort_table(run: RunRecord) -> Table | None:
    """Images and patients of each class."""
    per_class = run.cohort.get("per_class") or {}
    total = run.cohort.get("images") or 0
    names = [name for name in run.cohort.get("classes", per_class) if name in per_class]
    if not names:
        return None
    rows = [
        _cells(
            Cell(clean(name), "the positive class" if name == run.cohort.get("positive") else ""),
            f"{per_class[name]['images']:,}",
            share(per_class[name]["images"], total),
            _count(per_class[name].get("patients")),
        )
        for name in names
    ]
    patients = (run.cohort.get("patients") or {}).get("count")
    rows.append(_cells("all", Cell(f"{total:,}", strong=True), "", Cell(_count(patients), strong=True)))
    return Table("Classes of the cohort", ("class", "images", "share", "patients"), tuple(rows))


def site_table(run: RunRecord) -> Table | None:
    """Images and patients of each site, with the images of each class; None where sites are unknown."""
    sites = run.cohort.get("sites") or {}
    if not sites:
        return None
    classes = [name for name in run.cohort.get("classes", ()) if len(run.cohort["classes"]) <= 4]
    rows = [
        _cells(
            name or "not named",
            f"{sites[name]['images']:,}",
            _count(sites[name].get("patients")),
            *(f"{sites[name]['per_class'][klass]['images']:,}" for klass in classes),
        )
        for name in natural(sites)[:MOST_ROWS]
    ]
    more = f" (the first {MOST_ROWS} of {len(sites)})" if len(sites) > MOST_ROWS else ""
    return Table(f"Sites{more}", ("site", "images", "patients", *map(clean, classes)), tuple(rows))


def split_table(run: RunRecord) -> Table | None:
    """Images and patients of each part of the split, in all and by class."""
    parts = run.split.get("parts", ())
    if not parts:
        return None
    classes = [name for name in run.scores["classes"] if len(run.scores["classes"]) <= 4]
    rows = []
    for part in parts:
        where = f"repeat {part['repeat']}, fold {part['fold']}: " if len(parts) > 1 else ""
        for name in part_order(list(part["counts"])):
            counts = part["counts"][name]
            per_class = [counts["per_class"].get(klass, {"images": 0, "patients": None}) for klass in classes]
            rows.append(
                _cells(
                    f"{where}{name}",
                    f"{counts['images']:,}",
                    _count(counts.get("patients")),
                    *(Cell(f"{own['images']:,}", _patients(own.get("patients"))) for own in per_class),
                )
            )
    more = f"; the first {MOST_ROWS} lines of {len(rows)}" if len(rows) > MOST_ROWS else ""
    head = ("part", "images", "patients", *map(clean, classes))
    below = ": images, and below them patients, of each class" if classes else ""
    return Table(f"Parts of the split{below}{more}", head, tuple(rows[:MOST_ROWS]))


def _patients(count: int | None) -> str:
    return "" if count is None else f"{count:,} patient{'' if count == 1 else 's'}"


def ranges_table(run: RunRecord) -> Table | None:
    """The transformations that were switched on, each with its range and how often it was used."""
    settings = run.augmentation.get("settings") or run.resolved.get("augmentation") or {}
    names = run.augmentation.get("transformations") or ()
    expand = settings.get("mode") == "expand"
    rows = [
        _cells(
            name.replace("_", " "),
            _range(name, settings),
            "one copy of each image" if expand else _often(name, settings),
        )
        for name in names
    ]
    if not rows:
        return None
    return Table(
        "Transformations of training images", ("transformation", "range", "used on"), tuple(rows), frozenset({0, 1, 2})
    )


def _range(name: str, settings: Mapping[str, Any]) -> str:
    match name:
        case "flip":
            return "left–right and up–down" if settings.get("flip") == "both" else str(settings.get("flip"))
        case "equalise":
            kinds = {"luminance": "luminance", "tissue": "the tissue's luminance"}
            return f"histogram of {kinds.get(str(settings.get('equalise')), 'each colour channel')}"
        case "rotation" | "shear":
            return f"up to ±{settings[f'{name}_deg']:g}°"
        case "translation":
            return f"up to ±{100 * settings['translation']:g} % of the side"
        case "quarter_turn":
            return "0, 90, 180 or 270°"
        case "colour":
            parts = [part for part in ("brightness", "contrast", "saturation") if settings.get(part)]
            return ", ".join(f"{part} ±{100 * settings[part]:g}\u00a0%" for part in parts)
        case _:
            return ""


def _often(name: str, settings: Mapping[str, Any]) -> str:
    probability = settings.get(f"{name}_probability")
    each = ", each direction by itself" if name == "flip" and settings.get("flip") == "both" else ""
    return "every image" if probability in (None, 1, 1.0) else f"{100 * probability:g} % of the images{each}"

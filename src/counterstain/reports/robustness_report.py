"""The robustness card as a page: drawn from robustness.json (and the picture beside it) alone."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from counterstain.evaluation.format import (
    clean,
    difference,
    interval,
    levelled,
    listed,
    metric_name,
    number,
    plural,
    share,
    signed,
)
from counterstain.files import read_record, write_bytes
from counterstain.reports.alarms import robustness_alarm
from counterstain.reports.figure_data import forest_data
from counterstain.reports.figures import Row, forest_figure
from counterstain.reports.illustration import Illustration, keep_figure, photograph_uri
from counterstain.reports.page import environment, template
from counterstain.reports.page_table import Cell, Table
from counterstain.reports.robustness_figures import curves_figure

__all__ = ["headline", "loss_rows", "write_card"]

SCHEMA = "counterstain.robustness/1"
MEASURES = ("auroc", "sensitivity", "specificity", "balanced_accuracy", "accuracy")


def write_card(folder: Path) -> Path:
    """Write a card's figures (figures/*.png and *.svg) and robustness.html; the same record gives the same bytes.

    Args:
        folder: with robustness.json, and examples.png where any trial was made.

    Returns:
        The path of robustness.html.

    Raises:
        InputError: If there is no record, or it is of another schema.
    """
    record = read_record(folder / "robustness.json", SCHEMA)
    examples = folder / "examples.png"
    page = environment().get_template("robustness.html").render(
        style=Markup(template("report.css")),
        name=clean(record["bundle"].get("title") or record["bundle"]["folder"]),
        stamp=clean(record["bundle"]["stamp"]),
        version=record["counterstain"],
        headline=headline(record),
        alarm=robustness_alarm(record),
        facts=_facts(record),
        notes=[clean(note) for note in record["notes"]],
        budget=_budget_table(record),
        budget_met=record["budget"] is not None and record["budget"]["met"],
        losses=_loss_table(record),
        curves=_curves(record, folder / "figures"),
        examples=photograph_uri(examples.read_bytes()) if examples.is_file() else "",
        example=clean(record["example"]),
        clean_scores=_clean_table(record),
        rotation=_rotation_table(record),
        rotation_words=_rotation_words(record),
        sites=_site_table(record),
        site_figure=_sites(record, folder / "figures"),
        site_words=_site_words(record),
        probe_words=_probe_words(record),
        numbers=_number_table(record),
        decision=record["threshold"]["words"],
        unit=record["unit"],
    )  # fmt: skip
    path = folder / "robustness.html"
    write_bytes(path, page)
    return path


# -------------------------------------------------------------------------------------------------------- what is said


def headline(record: Mapping[str, Any]) -> str:
    """What the model reaches, what costs it most, and whether a budget is met."""
    auroc = record["clean"]["auroc"]
    sentences = f"AUROC is {number(auroc['value'])}{levelled(auroc['low'], auroc['high'])} on clean tiles"
    steps = [(step["scores"]["auroc"], curve, step) for curve in record["curves"] for step in curve["steps"]]
    defined = [entry for entry in steps if entry[0]["difference"] is not None]
    if defined:
        score, curve, step = min(defined, key=lambda entry: float(entry[0]["difference"]))
        loss = difference(score["difference"], score["low"], score["high"])
        if score["difference"] < 0:
            sentences += f"; it falls most, by {loss}, under {_lower_first(curve['title'])} at {step['shown']}"
        else:
            sentences += "; no trial lowers it"
    # The ranking can be untouched while the frozen threshold no longer fits: AUROC alone would hide it.
    turned = [(step["flipped"]["value"], curve, step) for curve in record["curves"] for step in curve["steps"]]
    turned = [entry for entry in turned if entry[0]]
    if turned:
        most, curve, step = max(turned, key=lambda entry: float(entry[0]))
        sentences += f". Most decisions flip under {_lower_first(curve['title'])} at {step['shown']}: {share(most, 1)}"
    if record["budget"] is not None:
        rows = record["budget"]["limits"]
        failed = sum(not row["met"] for row in rows)
        broken = "none is" if not failed else "1 is" if failed == 1 else f"{failed} are"
        sentences += f". Of {plural(len(rows), 'limit')} in the budget {broken} broken"
    return f"{sentences}."


def _lower_first(title: str) -> str:
    return title if title.startswith("JPEG") else title[0].lower() + title[1:]


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    cohort, bundle = record["cohort"], record["bundle"]
    tried = plural(cohort["images"], "image")
    if cohort["patients"] is not None:
        tried += f" of {plural(cohort['patients'], 'patient')}"
    where = "not known" if cohort["sites"] == 0 else plural(cohort["sites"], "site")
    return [
        ("Network", clean(bundle["network"])),
        ("Tried on", tried + (f", part {clean(cohort['part'])}" if cohort["part"] else "")),
        ("Sites", where),
        ("Scale of the tiles", _scale(cohort["tile_mpp"])),
    ]


def _scale(mpp: Mapping[str, float] | None) -> str:
    if mpp is None:
        return "not known"
    low, high = f"{mpp['min']:.3g}", f"{mpp['max']:.3g}"
    return f"{low} µm/px" if low == high else f"{low} to {high} µm/px"


def _clean_table(record: Mapping[str, Any]) -> Table:
    rows = tuple((Cell(metric_name(name)), _value_cell(score)) for name, score in _ordered(record["clean"]))
    return Table(f"Unchanged tiles, {_intervals(record)}", ("measure", "value"), rows, inline=True)


def _intervals(record: Mapping[str, Any]) -> str:
    """What stands behind the values of a table."""
    return f"with 95\u00a0% intervals over {record['unit']}s"


def _ordered(scores: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Measures in the order of a reader; a JSON record has them by the alphabet."""
    return [(name, scores[name]) for name in MEASURES if name in scores]


def _value_cell(score: Mapping[str, Any], *, percent: bool = False) -> Cell:
    if percent and score["value"] is not None:
        low, high = score["low"], score["high"]
        below = f"[{share(low, 1)}, {share(high, 1)}]" if low is not None and high is not None else "no interval"
        return Cell(share(score["value"], 1), below)
    return Cell(number(score["value"]), interval(score["low"], score["high"]) or "no interval")


def _loss_cell(score: Mapping[str, Any]) -> Cell:
    sure = score["high"] is not None and score["high"] < 0
    return Cell(signed(score["difference"]), interval(score["low"], score["high"], sign=True) or "no interval", sure)


def loss_rows(
    record: Mapping[str, Any],
) -> list[tuple[str, list[Mapping[str, Any]], Mapping[str, Any] | None, float]]:
    """For each trial: title, the worse step at each of its five strengths, the first sure loss of AUROC, turned share.

    A loss is sure where the whole interval of the difference lies below 0. The share of flipped decisions is that at
    the third strength, in whichever direction more flip.
    """
    rows = []
    for curve in record["curves"]:
        by_strength: dict[float, list[Mapping[str, Any]]] = {}
        for step in curve["steps"]:
            by_strength.setdefault(round(abs(step["at"] - curve["clean_at"]), 6), []).append(step)
        sorted_steps = _worse_first(by_strength)
        worse = [steps[0] for steps in sorted_steps]
        highs = ((step, step["scores"]["auroc"]["high"]) for steps in sorted_steps for step in steps)
        first = next((step for step, high in highs if high is not None and high < 0), None)
        turned = max(float(step["flipped"]["value"]) for step in sorted_steps[2])
        rows.append((curve["title"], worse, first, turned))
    return rows


def _worse_first(by_strength: Mapping[float, Sequence[Mapping[str, Any]]]) -> list[list[Mapping[str, Any]]]:
    """The steps at each strength, from weak to strong, the greater loss before the smaller."""
    return [sorted(steps, key=_auroc_change) for _, steps in sorted(by_strength.items())]


def _auroc_change(step: Mapping[str, Any]) -> float:
    change = step["scores"]["auroc"]["difference"]
    return 0.0 if change is None else float(change)


def _loss_table(record: Mapping[str, Any]) -> Table | None:
    rows = []
    for title, worse, first, turned in loss_rows(record):
        cells = [Cell(title)]
        for step in (worse[1], worse[2], worse[4]):
            loss = _loss_cell(step["scores"]["auroc"])
            cells.append(Cell(f"{step['shown']}: {loss.text}", loss.below, loss.strong))
        cells.append(Cell(first["shown"] if first is not None else "none found"))
        cells.append(Cell(share(turned, 1)))
        rows.append(tuple(cells))
    head = ("trial", "mild", "moderate", "severe", "first sure loss", "decisions turned at moderate")
    caption = (
        f"Change of AUROC, {_intervals(record)}, in the worse direction where there are two, and what becomes of the "
        "decisions"
    )
    return Table(caption, head, tuple(rows)) if rows else None


def _number_table(record: Mapping[str, Any]) -> Table | None:
    if not record["curves"]:
        return None
    names = [name for name, _ in _ordered(record["curves"][0]["steps"][0]["scores"])]
    rows = [
        (
            Cell(f"{curve['title']}, {step['shown']}"),
            *(_loss_cell(step["scores"][name]) for name in names),
            _value_cell(step["flipped"], percent=True),
        )
        for curve in record["curves"]
        for step in curve["steps"]
    ]
    head = ("trial and strength", *(metric_name(name) for name in names), "decisions turned")
    return Table("All differences from the unchanged tiles, with 95 % intervals", head, tuple(rows))


def _budget_table(record: Mapping[str, Any]) -> Table | None:
    if record["budget"] is None:
        return None
    rows = tuple(
        (
            Cell(clean(row["words"].partition(";")[0])),
            Cell(clean(row["words"].rpartition("; ")[2].removesuffix(" is needed"))),
            Cell("met" if row["met"] else "not met", strong=not row["met"]),
        )
        for row in record["budget"]["limits"]
    )
    by = "the worse end of the interval" if record["budget"]["judge"] == "interval" else "the value itself"
    return Table(f"{clean(record['budget']['file'])}, judged by {by}", ("found", "needed", ""), rows, frozenset({0, 1}))


def _rotation_table(record: Mapping[str, Any]) -> Table | None:
    if record["rotation"] is None:
        return None
    rows = tuple(
        (Cell(row["name"]), Cell(share(row["flipped"], 1)), Cell(number(row["moved"])))
        for row in record["rotation"]["symmetries"]
    )
    return Table("The seven other symmetries", ("tile", "decisions turned", "mean change of probability"), rows)


def _rotation_words(record: Mapping[str, Any]) -> str:
    rotation = record["rotation"]
    if rotation is None:
        return ""
    flipped, ever, moved = rotation["flipped"], rotation["any_flipped"], rotation["largest_moved"]
    return (
        f"{share(flipped['value'], 1)} of the decisions {_percents(flipped)} are not those of the tile as it is, and "
        f"{share(ever['value'], 1)} of the images {_percents(ever)} have at least one of the seven that differs. The "
        f"largest change of an image's probability is {number(moved['value'])}"
        f"{levelled(moved['low'], moved['high'])} on average."
    )


def _percents(score: Mapping[str, Any]) -> str:
    if score["low"] is None or score["high"] is None:
        return "(no interval)"
    return f"(95\u00a0% interval [{share(score['low'], 1)}, {share(score['high'], 1)}])"


def _site_table(record: Mapping[str, Any]) -> Table | None:
    if record["sites"] is None:
        return None
    sites = record["sites"]["sites"]
    scored = next((row for row in sites if row["scores"] is not None), None)
    names = [name for name, _ in _ordered(scored["scores"])] if scored is not None else []
    rows = []
    for row in sites:
        count = plural(row["images"], "image")
        if row["patients"] is not None:
            count += f", {plural(row['patients'], 'patient')}"
        few = [Cell("too few")] * len(names)
        cells = few if row["scores"] is None else [_value_cell(row["scores"][name]) for name in names]
        rows.append((Cell(clean(row["site"]), count), *cells))
    return Table(
        f"Scores within sites, unchanged tiles, {_intervals(record)}",
        ("site", *(metric_name(name) for name in names)),
        tuple(rows),
    )


def _site_words(record: Mapping[str, Any]) -> str:
    if record["sites"] is None:
        return ""
    worst = record["sites"]["worst"].get("auroc")
    few = record["sites"]["fewest_patients"]
    rule = f"Sites of fewer than {few} patients are not scored." if record["unit"] == "patient" else ""
    if worst is None:
        return f"Fewer than two sites could be scored, so none is the worst. {rule}".rstrip()
    return (
        f"The lowest AUROC is that of {clean(worst['site'])}: {number(worst['value'])}"
        f"{levelled(worst['low'], worst['high'])}. The lowest of {worst['of']} sites is low by chance, too, and its "
        f"interval does not allow for that. {rule}"
    ).rstrip()


def _probe_words(record: Mapping[str, Any]) -> str:
    probe = record["site_probe"]
    if probe is None:
        return ""
    accuracy = probe["balanced_accuracy"]
    floor = max(probe["chance"], probe["label_alone"])
    sentence = (
        f"From the {probe['features']:,} numbers that go into the network's last layer, a logistic regression names "
        f"the site of patients it has not seen with a balanced accuracy of {number(accuracy['value'])}"
        f"{levelled(accuracy['low'], accuracy['high'])}; chance is {number(probe['chance'])}"
    )
    if probe["label_alone"] > probe["chance"] + 0.005:
        sentence += f", and the true label alone would reach {number(probe['label_alone'])}"
    if accuracy["low"] is not None and accuracy["low"] > floor:
        verdict = "The network's features encode the site: what it learned at some sites may not generalise to others."
    else:
        verdict = "No more of the site was found in the features than that."
    left_out = f" Left out for lack of patients: {listed(map(clean, probe['left_out']))}." if probe["left_out"] else ""
    return f"{sentence}. {verdict}{left_out}"


# ------------------------------------------------------------------------------------------------------------- figures


def _curves(record: Mapping[str, Any], folder: Path) -> list[Illustration]:
    if not record["curves"]:
        return []
    names = [name for name, _ in _ordered(record["clean"])]
    decided = names[1:3]
    measured = " and ".join(map(metric_name, decided))
    caption = (
        f"Paired differences on the same images; bands are 95 % intervals over {record['unit']}s, each for its point "
        "alone. At 0 (of JPEG: 100) the tile is unchanged. All panels have one scale."
    )
    figures = (("auroc", ["auroc"], caption), ("decisions", decided, f"The same for {measured} of the decisions."))
    illustrations = []
    for name, measures, below in figures:
        title = f"Change of {' and '.join(map(metric_name, measures))} against the unchanged tiles"
        stamp = clean(record["bundle"]["stamp"])
        draw = partial(curves_figure, record["curves"], measures, title=title, stamp=stamp)
        alt = f"{title}, for each trial at each strength"
        illustrations.append(keep_figure(draw, folder / f"curves_{name}", alt=alt, caption=below))
    return illustrations


def _sites(record: Mapping[str, Any], folder: Path) -> Illustration | None:
    if record["sites"] is None:
        return None
    scored = [row for row in record["sites"]["sites"] if row["scores"] is not None]
    if len(scored) < 2:
        return None
    scores = [(row["site"], row["scores"]["auroc"]) for row in scored]
    rows = [Row(site, score["value"], score["low"], score["high"]) for site, score in scores]
    overall = record["clean"]["auroc"]
    rows.append(Row("all together", overall["value"], overall["low"], overall["high"], strong=False))
    title = "AUROC within each site, unchanged tiles"
    draw = partial(forest_figure, rows, title=title, axis_label="AUROC", stamp=clean(record["bundle"]["stamp"]))
    caption = "Each bar is a 95 % interval over patients."
    return keep_figure(draw, folder / "sites", alt=title, caption=caption, data=forest_data(rows, "site"))

"""How much a model may lose: limits in a YAML file, checked before anything is predicted, and held against the card."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from counterstain.errors import InputError, suggest
from counterstain.evaluation.format import levelled, metric_name, number
from counterstain.robustness.trials import ROTATION, TRIALS, Trial
from counterstain.yaml_files import read_yaml

__all__ = ["Budget", "check_budget", "judge_budget", "read_budget"]

LARGEST_FILE = 100_000
Part = Annotated[float, Field(ge=0, le=1)]


class _Limits(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _limits_something(self) -> "_Limits":
        if not self.limits():
            names = [name for name in type(self).model_fields if name != "at"]
            raise ValueError(f"states no limit; give one of {', '.join(names)}")
        return self

    def limits(self) -> dict[str, float]:
        """Every limit that is set."""
        return {name: value for name, value in self if value is not None and name != "at"}


class Losses(_Limits):
    """What may be lost under one trial at one strength."""

    at: Annotated[float, Field(gt=0)]
    auroc_drop: Part | None = None
    sensitivity_drop: Part | None = None
    specificity_drop: Part | None = None
    balanced_accuracy_drop: Part | None = None
    accuracy_drop: Part | None = None
    flipped: Part | None = None


class Turns(_Limits):
    """How far the symmetries of a tile may change what is said of it."""

    flipped: Part | None = None
    any_flipped: Part | None = None
    moved: Part | None = None
    largest_moved: Part | None = None


class Floors(_Limits):
    """What must be reached on unchanged tiles: by all together, or at every site."""

    auroc: Part | None = None
    sensitivity: Part | None = None
    specificity: Part | None = None
    balanced_accuracy: Part | None = None
    accuracy: Part | None = None


class Probe(_Limits):
    """How well the site may be read off the features, at most."""

    balanced_accuracy: Part


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, Mapping) else value


Curve = Annotated[list[Losses], BeforeValidator(_as_list)]


class Budget(BaseModel):
    """The limits of a file; a trial's may be one mapping, or a list of them for several strengths.

    judge: "interval": the worse end of the 95 % interval must meet the limit; "estimate": the value itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge: Literal["interval", "estimate"] = "interval"
    clean: Floors | None = None
    stain_shift: Curve = []
    brightness: Curve = []
    contrast: Curve = []
    scanner: Curve = []
    blur: Curve = []
    blur_px: Curve = []
    jpeg: Curve = []
    mpp_error: Curve = []
    rotation: Turns | None = None
    worst_site: Floors | None = None
    site_probe: Probe | None = None

    def curves(self) -> Iterator[tuple[str, Losses]]:
        """(trial, its losses at one strength), in the order of the file's sections."""
        for name in TRIALS:
            for losses in getattr(self, name):
                yield name, losses


def read_budget(path: Path) -> Budget:
    """The budget in a YAML file.

    Raises:
        InputError: In one line, naming the key, for whatever is unreadable, unknown or out of range.
    """
    what = "a budget, a short YAML file such as `stain_shift: {auroc_drop: 0.05, at: 0.2}`"
    record = read_yaml(path, what=what, largest=LARGEST_FILE)
    try:
        budget = Budget.model_validate(record)
    except ValidationError as error:
        raise InputError(f"{path}: {_one_line(error)}") from None
    if not budget.model_fields_set - {"judge"}:
        raise InputError(f"{path} sets no limit; write one such as `rotation: {{flipped: 0.02}}`")
    return budget


def _one_line(error: ValidationError) -> str:
    fault = error.errors()[0]
    where = [str(part) for part in fault["loc"] if not isinstance(part, int)]
    if fault["type"] == "extra_forbidden":
        *parents, last = where
        section: type[BaseModel] = Budget
        if parents:
            kinds: dict[str, type[BaseModel]] = {
                "clean": Floors,
                "worst_site": Floors,
                "rotation": Turns,
                "site_probe": Probe,
            }
            section = kinds.get(parents[0], Losses)
        return f"{'.'.join(parents) or 'the budget'} has unknown key '{last}'{suggest(last, section.model_fields)}"
    if fault["type"] == "missing":
        return f"{'.'.join(where)} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    stated = "" if isinstance(fault["input"], dict) else f" is {fault['input']!r}:"
    return f"{'.'.join(where)}{stated} {message[0].lower()}{message[1:]}"


def check_budget(
    budget: Budget, trials: Mapping[str, Trial], *, rotation: bool, sites: int, measures: Sequence[str]
) -> None:
    """Refuse a budget that this card cannot be held against, before the long work.

    Args:
        budget: as read.
        trials: that will be made, by name.
        rotation: whether the symmetries will be tried.
        sites: how many are known.
        measures: that can be reported.

    Raises:
        InputError: If a limit is about a trial, a strength, a measure or sites that will not be there.
    """
    for name, losses in budget.curves():
        if name not in trials:
            tried = ", ".join(trials) or "none"
            raise InputError(f"the budget limits {name}, which is not tried on this cohort; trials: {tried}")
        strengths = trials[name].strengths
        if not any(math.isclose(losses.at, strength) for strength in strengths):
            known = ", ".join(f"{strength:g}" for strength in strengths)
            raise InputError(f"the budget limits {name} at {losses.at:g}; it is tried at {known}")
        for limit in losses.limits():
            _check_measure(limit.removesuffix("_drop"), (*measures, "flipped"), name)
    for section, floors in (("clean", budget.clean), ("worst_site", budget.worst_site)):
        reported = list(measures) if section == "clean" else [*_of_sites(measures)]
        for limit in floors.limits() if floors is not None else ():
            _check_measure(limit, reported, section)
    if budget.rotation is not None and not rotation:
        raise InputError(f"the budget limits rotation, which was not asked for; add --only {ROTATION}")
    for section, limits in (("worst_site", budget.worst_site), ("site_probe", budget.site_probe)):
        if limits is not None and sites < 2:
            raise InputError(f"the budget limits {section}, but this cohort has {sites} known sites; two are needed")


def _of_sites(measures: Sequence[str]) -> Iterator[str]:
    """What is reported of a site, where so much is of all."""
    yield from (name for name in measures if name not in ("balanced_accuracy", "accuracy"))
    yield "accuracy"


def _check_measure(name: str, known: Sequence[str], section: str) -> None:
    if name not in known:
        raise InputError(f"the budget's {section} limits {name}, which this card does not have{suggest(name, known)}")


# ------------------------------------------------------------------------------------------------------------ the gate


def judge_budget(budget: Budget, record: Mapping[str, object]) -> dict[str, object]:
    """Every limit with what was found and whether it is met, and whether all are.

    A limit on a trial with two directions holds for both; one on sites for every site that is scored. Where there is no
    interval, for lack of patients, none is met that is judged by it.
    """
    rows = [*_clean_rows(budget, record), *_curve_rows(budget, record), *_turn_rows(budget, record)]
    rows += [*_site_rows(budget, record), *_probe_rows(budget, record)]
    return {"judge": budget.judge, "met": all(row["met"] for row in rows), "limits": rows}


def _row(
    budget: Budget, measured: str, interval: Mapping[str, Any] | None, bound: float, *, least: bool, say: str = ""
) -> dict[str, Any]:
    """One limit: `interval` has value, low and high; `least`: the bound is a floor, else a ceiling."""
    value, low, high = (math.nan if interval is None or interval[k] is None else float(interval[k])
                        for k in ("value", "low", "high"))  # fmt: skip
    judged = value if budget.judge == "estimate" else low if least else high
    met = bool(judged >= bound if least else judged <= bound)
    sentence = f"{measured} is {number(value)}{levelled(low, high) or ' (no interval)'}"
    if math.isnan(value):
        sentence = f"{measured} is not known"
    elif math.isnan(judged):
        sentence += ": too few patients"
    sentence += f"{say}; {'at least' if least else 'at most'} {bound:g} is needed"
    return {"limit": measured, "bound": bound, "value": value, "low": low, "high": high, "met": met, "words": sentence}


def _clean_rows(budget: Budget, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, bound in budget.clean.limits().items() if budget.clean is not None else ():
        yield _row(budget, f"clean: {metric_name(name)}", record["clean"][name], bound, least=True)


def _curve_rows(budget: Budget, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    curves = {curve["trial"]: curve for curve in record["curves"]}
    for trial, losses in budget.curves():
        for step in curves[trial]["steps"]:
            if not math.isclose(abs(step["at"]), losses.at):
                continue
            where = f"{trial} at {step['shown']}"
            for name, bound in losses.limits().items():
                if name == "flipped":
                    yield _row(budget, f"{where}: share of flipped decisions", step["flipped"], bound, least=False)
                    continue
                loss = step["scores"][name.removesuffix("_drop")]
                drop = {"value": -loss["difference"], "low": -loss["high"], "high": -loss["low"]}
                measured = f"{where}: loss of {metric_name(name.removesuffix('_drop'))}"
                yield _row(budget, measured, drop, bound, least=False)


def _turn_rows(budget: Budget, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    titles = {
        "flipped": "share of flipped decisions",
        "any_flipped": "share of images with a flipped decision",
        "moved": "mean change of probability",
        "largest_moved": "mean of the largest change of probability",
    }
    for name, bound in budget.rotation.limits().items() if budget.rotation is not None else ():
        yield _row(budget, f"rotation: {titles[name]}", record["rotation"][name], bound, least=False)


def _site_rows(budget: Budget, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The site that is judged worst: by its lower limit, or by its value."""
    by = "value" if budget.judge == "estimate" else "low"
    for name, bound in budget.worst_site.limits().items() if budget.worst_site is not None else ():
        sites = [row for row in record["sites"]["sites"] if row["scores"] is not None]
        measured = f"worst site: {metric_name(name)}"
        if not sites:
            few = record["sites"]["fewest_patients"]
            yield _row(budget, measured, None, bound, least=True, say=f" (no site has {few} patients)")
            continue
        # One without a value or an interval is the worst of all: nothing is known of it.
        worst = min(sites, key=lambda row: float("-inf") if _unknown(row["scores"][name][by]) else
                    float(row["scores"][name][by]))  # fmt: skip
        yield _row(budget, measured, worst["scores"][name], bound, least=True, say=f" at {worst['site']}")


def _unknown(value: Any) -> bool:
    return value is None or math.isnan(value)


def _probe_rows(budget: Budget, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if budget.site_probe is not None:
        probe = record["site_probe"]
        interval = None if probe is None else probe["balanced_accuracy"]
        measured = "site probe: balanced accuracy"
        yield _row(budget, measured, interval, budget.site_probe.balanced_accuracy, least=False)

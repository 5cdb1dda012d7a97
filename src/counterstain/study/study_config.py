"""The protocol of a study: one YAML file, validated whole before anything runs; an unknown key is an error."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass as strict_dataclass

from counterstain.errors import InputError, says_arguments, suggest
from counterstain.files import StrPath
from counterstain.images.augmentation import Augmentation
from counterstain.learning.config import TrainingConfig, check_network
from counterstain.learning.mil_networks import is_bag_network
from counterstain.learning.own_network import is_own, read_reference
from counterstain.study.figures_config import FiguresSection
from counterstain.study.section import Section, refuse_booleans
from counterstain.study.study_sections import (
    IMAGE_STAMP,
    LEGACY_STAMP,
    MOST_TRAININGS,
    AuditSection,
    CalibrationSection,
    CohortSection,
    ComparisonSection,
    SearchSection,
    SplitSection,
    StrictAugmentation,
    TilesSection,
)
from counterstain.study.unknown_keys import unknown_key_words
from counterstain.version import __version__
from counterstain.yaml_files import parse_yaml, read_yaml

__all__ = ["Study", "parse_arm", "parse_study", "read_study"]

MOST_SEEDS = 1000


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and value > MOST_SEEDS:
        raise ValueError(f"at most {MOST_SEEDS} seeds can be trained")
    return list(range(value)) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else value


class Study(Section):
    """One study: the whole protocol, every default visible."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    cohort: CohortSection
    split: SplitSection = SplitSection()
    tiles: TilesSection = TilesSection()
    augmentation: StrictAugmentation = StrictAugmentation()  # type: ignore[valid-type]
    training: dict[str, Any] = Field(default_factory=dict)
    arms: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")], dict[str, Any]]
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], BeforeValidator(_seeds), Field(min_length=1)]
    comparison: ComparisonSection = ComparisonSection()
    audit: AuditSection = AuditSection()
    calibration: CalibrationSection = CalibrationSection()
    figures: FiguresSection = FiguresSection()
    ledger: str | None = None
    search: SearchSection | None = None

    @model_validator(mode="after")
    def _arms_can_be_trained(self) -> "Study":
        if not self.arms:
            raise ValueError("arms is empty; name at least one, such as `given: {network: given, batch: 32}`")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds are {self.seeds}; each may appear once")
        for arm in self.arms:
            self.arm(arm)
        # A number that every arm replaces is in no arm, and wrong all the same.
        for key, value in self.training.items():
            if isinstance(value, (int, float)) and all(key in settings for settings in self.arms.values()):
                self.with_arm(next(iter(self.arms)), {key: value})
        self._check_number()
        for pair in self.comparison.pairs or ():
            if pair[0] == pair[1]:
                raise ValueError(f"comparison.pairs compares arm '{pair[0]}' with itself; name two arms")
        if len({frozenset(pair) for pair in self.comparison.pairs or ()}) < len(self.comparison.pairs or ()):
            raise ValueError("comparison.pairs names a pair twice; name each once")
        for arm in (arm for pair in self.comparison.pairs or () for arm in pair):
            if arm not in self.arms:
                raise ValueError(f"comparison.pairs names arm '{arm}'{suggest(arm, self.arms)}")
        if self.comparison.reference is not None and self.comparison.reference not in self.arms:
            reference = self.comparison.reference
            raise ValueError(f"comparison.reference names arm '{reference}'{suggest(reference, self.arms)}")
        self._check_bags()
        self._check_order()
        self._check_findings()
        if self.search is not None:
            self._search_can_be_done(self.search)
        augmentation: Augmentation = self.augmentation
        if self.split.method == "legacy_augment_first" and augmentation.mode != "expand":
            raise ValueError("legacy_augment_first writes one image per transformation: set augmentation.mode: expand")
        return self

    def __repr__(self) -> str:
        return f"Study({self.name[:40]}, {len(self.arms)} arms, {len(self.seeds)} seeds, {self.comparison.primary})"

    @property
    def of_bags(self) -> bool:
        """Whether its arms learn from feature files, one per slide, rather than from images."""
        return any(is_bag_network(self.arm(arm).network) for arm in self.arms)

    def _check_number(self) -> None:
        """Refuse what no machine would ever get done."""
        repeats = {"folds": self.split.repeats, "site_folds": 1}.get(self.split.method)
        divisions = 1 if repeats is None else self.split.folds * repeats
        count = len(self.arms) * len(self.seeds) * divisions
        if count > MOST_TRAININGS:
            raise ValueError(
                f"the study has {len(self.arms)} arms, {len(self.seeds)} seeds and {divisions} divisions: {count:,} "
                f"trainings; at most {MOST_TRAININGS:,} are allowed: reduce repeats, folds or seeds"
            )

    def _check_findings(self) -> None:
        """What is for one label per image is refused where an image may have several findings."""
        if not self.cohort.findings:
            return
        if self.cohort.order is not None or self.cohort.positive is not None:
            refused = "order" if self.cohort.order is not None else "positive"
            raise ValueError(f"cohort.{refused} is for one label per image; with cohort.findings leave it out")
        if self.split.method == "legacy_augment_first":
            raise ValueError("legacy_augment_first is for one label per image; with cohort.findings use another method")
        for name in self.arms:
            settings = self.arm(name)
            one_label = {
                "tune": settings.tune == "frozen", "network": is_bag_network(settings.network),
                "class_weights": settings.class_weights != "none", "sampler": settings.sampler != "shuffled",
                "ordinal": settings.ordinal > 0,
            }  # fmt: skip
            wrong = next((key for key, is_set in one_label.items() if is_set), None)
            if wrong is not None:
                raise ValueError(
                    f"arms.{name}.{wrong} is {getattr(settings, wrong)}, which is for one label per image; several "
                    "findings are learnt by networks trained from tiles, without class_weights, sampler or ordinal"
                )

    def _check_order(self) -> None:
        """What needs grades is refused where the classes have no order."""
        if self.cohort.order is not None:
            return
        if "quadratic_kappa" in (self.comparison.primary, *self.comparison.co_primary):
            raise ValueError("comparison asks for quadratic_kappa, which is of grades; name them in cohort.order")
        graded = next((arm for arm in self.arms if self.arm(arm).ordinal), None)
        if graded is not None:
            raise ValueError(f"arms.{graded}.ordinal is for grades; name them from low to high in cohort.order")

    def _check_bags(self) -> None:
        """One study is of one kind of input; what is said of tiles means nothing for features."""
        tiles = [arm for arm in self.arms if not is_bag_network(self.arm(arm).network)]
        if not self.of_bags:
            return
        if tiles:
            raise InputError(
                f"arms.{tiles[0]} learns from images and others from feature files (mil/…); use two studies"
            )
        if "augmentation" in self.model_fields_set or self.tiles.model_fields_set - {"max_bad"}:
            section = "augmentation" if "augmentation" in self.model_fields_set else "tiles"
            raise InputError(f"{section} applies to images, and mil/… arms learn from feature files; omit it")
        if self.split.method == "legacy_augment_first":
            raise InputError("split.method legacy_augment_first is about images, and mil/… arms learn from features")

    def _search_can_be_done(self, search: SearchSection) -> None:
        if search.arm not in self.arms:
            raise ValueError(f"search.arm is '{search.arm}'{suggest(search.arm, self.arms)}")
        known = [field.name for field in fields(TrainingConfig)]
        known += [f"augmentation.{field.name}" for field in fields(Augmentation)]
        for name, span in search.ranges.items():
            if name not in known:
                raise ValueError(f"search.ranges has unknown setting '{name}'{suggest(name, known)}")
            for value in span.choices or (span.low, span.high):
                if name.startswith("augmentation."):
                    self._check_augmentation(name.removeprefix("augmentation."), value)
                else:
                    self.with_arm(search.arm, {name: value})

    def _check_augmentation(self, name: str, value: Any) -> None:
        settings = {**asdict(self.augmentation), name: value}
        try:
            StrictAugmentation(**settings)
        except ValidationError as error:
            raise ValueError(f"search.ranges.augmentation.{name}: {error.errors()[0]['msg']}") from None

    def with_arm(self, name: str, instead: Mapping[str, object]) -> TrainingConfig:
        """The settings of an arm with some of them replaced."""
        changed = self.model_copy(update={"arms": {**self.arms, name: {**self.arms[name], **instead}}})
        return changed.arm(name)

    def arm(self, name: str) -> TrainingConfig:
        """The training settings of one arm: the study's own, with what the arm says instead."""
        for section, settings in (("training", self.training), (f"arms.{name}", self.arms[name])):
            _refuse_unknown(section, settings)
        return _settings({**self.training, **self.arms[name]}, f"arms.{name}.network")

    @property
    def stamp(self) -> str:
        """What limits every claim of this study, or ""."""
        if self.split.method == "legacy_augment_first":
            return LEGACY_STAMP
        if self.split.unit == "patient":
            return ""
        return IMAGE_STAMP.replace("image", "slide") if self.of_bags else IMAGE_STAMP

    def resolved(self) -> dict[str, Any]:
        """The study with every default and every arm written out, as it goes into the run folder."""
        record: dict[str, Any] = self.model_dump(mode="json")
        record["arms"] = {name: asdict(self.arm(name)) for name in self.arms}
        record.pop("training")
        if self.of_bags:
            record["tiles"] = {"max_bad": self.tiles.max_bad}
            record["augmentation"] = asdict(Augmentation(mode="none"))
        return record | {"schema": "counterstain.study/1", "counterstain": __version__, "stamp": self.stamp}


def parse_arm(named: Mapping[str, object], overrides: Mapping[str, str]) -> TrainingConfig:
    """The settings of one arm by itself.

    Args:
        named: settings by name.
        overrides: others with YAML values.

    Raises:
        InputError: Naming the setting that is unknown or out of range.
    """
    _refuse_unknown("--set", overrides)
    try:
        settings = {**named, **{key: parse_yaml(value, f"--set {key}") for key, value in overrides.items()}}
        if is_own(str(settings.get("network", ""))):
            reference = str(settings["network"])
            settings["network_sha256"] = _source(reference, Path(), settings.get("network_sha256"), "--set")
        return _settings(settings, "--network")
    except ValidationError as error:
        raise InputError(_one_line(error, {})) from None


def _settings(values: Mapping[str, Any], where: str) -> TrainingConfig:
    if isinstance(weights := values.get("class_weights"), Mapping):  # YAML reads class names such as 0 as numbers
        values = {**values, "class_weights": {str(name): value for name, value in weights.items()}}
    strict = strict_dataclass(TrainingConfig, frozen=True, config=ConfigDict(extra="forbid"))
    refuse_booleans(TrainingConfig, values)
    check_network(str(values.get("network", TrainingConfig.network)), where)
    return TrainingConfig(**asdict(strict(**values)))


def _refuse_unknown(section: str, settings: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(TrainingConfig)]
    unknown = next((key for key in settings if key not in known), None)
    if unknown is not None:
        raise InputError(f"{section} has unknown key '{unknown}'{unknown_key_words(section, unknown, _known_keys())}")


@says_arguments
def read_study(path: StrPath, overrides: Mapping[str, str] | None = None, *, base: StrPath | None = None) -> Study:
    """The study in a YAML file.

    Args:
        path: of the file.
        overrides: dotted keys with YAML values that replace those of the file: {"training.epochs": "5"}.
        base: folder that the files of own networks count from; that of the study by default.

    Raises:
        InputError: In one line, naming the key, for whatever is unreadable, unknown, missing or out of range.
    """
    path = Path(path)
    record = _read_record(path)
    for dotted, value in (overrides or {}).items():
        *parents, last = dotted.split(".")
        section = record
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise InputError(f"--set {dotted}: {parent} is not a section")
        section[last] = parse_yaml(value, f"--set {dotted}")
    return parse_study(record, str(path), base=Path(base or path.parent))


def _read_record(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise InputError(
            f"{path} is a folder; write a study for its images first: counterstain init {shlex.quote(str(path))}"
        )
    if path.suffix.lower() in (".csv", ".tsv", ".parquet", ".pq", ".h5", ".npz") and path.is_file():
        raise InputError(f"{path} is a table; write a study for it first: counterstain init {shlex.quote(str(path))}")
    return read_yaml(path, what="a study (`counterstain init FOLDER` writes one for a folder of images)")


def parse_study(record: Mapping[str, object], source: str = "study", *, base: Path = Path()) -> Study:
    """The study that a plain record describes; see read_study."""
    try:
        return Study.model_validate(_with_sources(record, base))
    except ValidationError as error:
        raise InputError(f"{source}: {_one_line(error, record)}") from None


def _with_sources(record: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """The record with the hash of each own network's source in its arm; the sources are loaded, which runs them."""
    training, arms = record.get("training"), record.get("arms")
    shared = training.get("network") if isinstance(training, dict) else None
    if not isinstance(arms, dict):
        return dict(record)
    with_hashes = {}
    for name, arm in arms.items():
        network = isinstance(arm, dict) and arm.get("network", shared)
        with_hashes[name] = arm
        if isinstance(network, str) and is_own(network):
            digest = _source(network, base, arm.get("network_sha256"), f"arms.{name}")
            with_hashes[name] = {**arm, "network_sha256": digest}
    return {**record, "arms": with_hashes}


def _source(reference: str, base: Path, expected: str | None, where: str) -> str:
    sha256 = read_reference(reference, base)
    if expected not in (None, "", sha256):
        raise InputError(
            f"{where}.network_sha256 is {expected}, but the source of {reference} has {sha256}; it was changed since"
        )
    return sha256


def _one_line(error: ValidationError, record: Mapping[str, Any]) -> str:
    """The first fault in words, with the nearest right name for an unknown key."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        *parents, last = (str(part) for part in fault["loc"])
        section = ".".join(parents) or "study"
        return f"{section} has unknown key '{last}'{unknown_key_words(section, last, _known_keys())}"
    if fault["type"] in ("missing", "missing_argument"):
        return f"{where} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if not where:
        return message
    return (
        f"{where} is {fault['input']!r}: {message}" if not isinstance(fault["input"], dict) else f"{where}: {message}"
    )


def _known_keys() -> dict[str, list[str]]:
    """Section -> its keys; "" for the top of the study."""
    sections: dict[str, Any] = {
        "": Study.model_fields,
        "training": [field.name for field in fields(TrainingConfig)],
        "cohort": CohortSection.model_fields,
        "split": SplitSection.model_fields,
        "tiles": TilesSection.model_fields,
        "augmentation": [field.name for field in fields(Augmentation)],
        "comparison": ComparisonSection.model_fields,
        "audit": AuditSection.model_fields,
        "calibration": CalibrationSection.model_fields,
        "search": SearchSection.model_fields,
    }
    return {name: list(keys) for name, keys in sections.items()}

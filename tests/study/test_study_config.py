"""A study is refused whole, in one line that names the key, before anything runs."""

import re
from pathlib import Path
from typing import Any

import pytest

from counterstain.errors import InputError
from counterstain.study.init import study_text
from counterstain.study.study_config import Study, parse_study, read_study
from counterstain.study.study_sections import LEGACY_STAMP

SMALLEST: dict[str, Any] = {
    "name": "a",
    "cohort": {"path": "images"},
    "arms": {"given": {"network": "given"}},
    "seeds": [0],
}


def changed(**changes: Any) -> dict[str, Any]:
    return {**SMALLEST, **changes}


def test_defaults_are_the_users_own_study() -> None:
    study = parse_study(SMALLEST)
    arm = study.arm("given")
    assert (study.tiles.tile_px, study.split.test, study.split.unit) == (257, 0.2, "patient")
    assert (arm.batch, arm.learning_rate, arm.epsilon) == (32, 1e-4, 1e-7)
    assert study.stamp == ""


def test_arms_say_only_what_differs() -> None:
    study = parse_study(changed(training={"epochs": 7}, arms={"a": {"network": "modified", "batch": 200}}))
    assert (study.arm("a").epochs, study.arm("a").batch, study.arm("a").network) == (7, 200, "modified")
    assert study.resolved()["arms"]["a"]["epochs"] == 7


def test_a_number_of_seeds_is_a_list_of_them() -> None:
    assert parse_study(changed(seeds=3)).seeds == [0, 1, 2]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (changed(epoch=3), "study has unknown key 'epoch'"),
        (changed(seed=[0]), "did you mean 'seeds'"),
        (changed(split={"units": "patient"}), "split has unknown key 'units'; did you mean 'unit'"),
        (changed(tiles={"tile_pixels": 9}), "tiles has unknown key 'tile_pixels'; did you mean 'tile_px'"),
        (changed(augmentation={"rotation": 9}), "augmentation has unknown key 'rotation'"),
        (changed(training={"epoch": 3}), "training has unknown key 'epoch'; did you mean 'epochs'"),
        (changed(arms={"a": {"batchsize": 3}}), "arms.a has unknown key 'batchsize'; did you mean 'batch'"),
        (changed(arms={"a": {"network": "givn"}}), "arms.a.network is 'givn'; did you mean 'given'"),
        (changed(arms={}), "arms is empty"),
        (changed(seeds=[]), "seeds"),
        (changed(seeds=[1, 1]), "each may appear once"),
        (changed(split={"test": 1.5}), "split.test is 1.5"),
        (changed(split={"method": "random"}), "split.method is 'random'"),
        (changed(split={"method": "legacy_augment_first"}), "unit: image"),
        (changed(training={"batch": 0}), "training.batch is 0"),
        (changed(training={"batch": 0}, arms={"a": {"batch": 4}, "b": {"batch": 8}}), "batch is 0"),
        (changed(training={"learning_rate": "fast"}), "learning_rate is 'fast'"),
        (changed(name="../up"), "name is '../up'"),
        ({"cohort": {"path": "x"}, "arms": SMALLEST["arms"], "seeds": [0]}, "name is missing"),
        (changed(cohort={}), "cohort.path is missing"),
    ],
)
def test_faults_are_named_in_one_line(record: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_study(record)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds nothing, not settings"),
        ("- a\n- b", "holds a list, not settings"),
        ("a: [", "is not YAML"),
        ("a: 1\nb: 2\na: 3", "line 3: key 'a' appears twice"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("a: !!python/object/apply:os.system ['true']", "is not YAML"),
        ("a: " + "[" * 100_000, "nested deeper than 20 levels"),
    ],
)
def test_yaml_that_is_no_study_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_study(path)
    assert "\n" not in str(caught.value)


def test_numbers_written_as_text_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("name: a\ncohort: {path: x}\narms: {a: {learning_rate: 1e-3}}\nseeds: [0]\n")
    assert read_study(path).arm("a").learning_rate == 1e-3


def test_overrides_replace_keys(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("name: a\ncohort: {path: x}\narms: {a: {}}\nseeds: [0]\n")
    study = read_study(path, {"training.epochs": "3", "seeds": "[4, 5]", "tiles.tile_px": "128"})
    assert (study.arm("a").epochs, study.seeds, study.tiles.tile_px) == (3, [4, 5], 128)
    with pytest.raises(InputError, match="unknown key 'tile'"):
        read_study(path, {"tiles.tile": "128"})


def test_stamps() -> None:
    assert parse_study(changed(split={"unit": "image"})).stamp.startswith("image-level")
    legacy = changed(split={"unit": "image", "method": "legacy_augment_first"}, augmentation={"mode": "expand"})
    assert parse_study(legacy).stamp == LEGACY_STAMP
    with pytest.raises(InputError, match="mode: expand"):
        parse_study(changed(split=legacy["split"]))


def test_the_written_study_is_read_and_shows_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(study_text(name="a", cohort="images"), encoding="utf-8")
    study = read_study(path)
    plain = Study.model_validate({**SMALLEST, "arms": study.arms, "seeds": study.seeds})
    shown, default = study.resolved(), plain.resolved()
    assert {key for key in shown if shown[key] != default[key]} == {"cohort"} - {"cohort"}
    assert list(study.arms) == ["given-32", "modified-200", "given-200", "modified-32"]


def test_a_gate_that_is_off_needs_no_quotes() -> None:
    """YAML 1.1 reads a bare `off` as false."""
    assert parse_study(changed(audit={"gate": False})).audit.gate == "off"
    with pytest.raises(InputError, match=r"audit\.gate"):
        parse_study(changed(audit={"gate": True}))


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        ({"primary": "kappa"}, "'mcc' answers the same question"),
        ({"reference": "b"}, "comparison.reference names arm 'b'"),
        ({"reference": "given", "pairs": [["given", "given"]]}, "already says which pairs matter"),
        ({"co_primary": ["recall"]}, "two or more different measures"),
        ({"co_primary": ["TPR", "sensitivity"]}, "two or more different measures"),
        ({"hypothesis": "equivalence"}, "needs comparison.margin"),
        ({"detect": 0}, "comparison.detect"),
        ({"prior_sd": 0}, "comparison.prior_sd"),
        ({"thresholds": "youden"}, "comparison.thresholds"),
    ],
)
def test_what_a_comparison_asks_is_checked_before_anything_runs(comparison: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        parse_study(changed(comparison=comparison))


def test_measures_go_by_any_of_their_names() -> None:
    section = parse_study(changed(comparison={"primary": "AUC", "co_primary": ["Sensitivity", "TNR"]})).comparison
    assert (section.primary, section.co_primary) == ("auroc", ["recall", "specificity"])
    assert parse_study(changed(comparison={"primary": "negative predictive value"})).comparison.primary == "npv"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (changed(training={"epochs": True}), "epochs is True; a number was needed"),
        (changed(arms={"given": {"network": "given", "learning_rate": False}}), "learning_rate is False; a number"),
        (changed(seeds=[True]), "seeds is [True]; a number was needed"),
        (changed(tiles={"tile_px": True}), "tile_px is True; a number was needed"),
        (changed(split={"test": True}), "test is True; a number was needed"),
        (changed(augmentation={"rotation_deg": True}), "rotation_deg is True; a number was needed"),
        (changed(comparison={"alpha": True}), "alpha is True; a number was needed"),
    ],
)
def test_yes_and_no_are_no_numbers(record: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        parse_study(record)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", [{"folds": 3}, {"repeats": 2}, {"folds": 5, "unit": "image"}])
def test_folds_without_their_method_are_refused(split: dict[str, object]) -> None:
    """`split: {folds: 3}` was one hold-out, without a word."""
    with pytest.raises(InputError, match=r"without a method, and the default, holdout, has none; write `method: "):
        parse_study(changed(split=split))
    for method in ("folds", "holdout"):  # whoever names the method knows
        assert parse_study(changed(split={**split, "method": method})).split.method == method

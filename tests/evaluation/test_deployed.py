"""A deployed model's promises: stated against obtained, from the columns that were acted on, without its weights."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from counterstain.errors import InputError
from counterstain.evaluation.calibration import fit_calibration, training_seen_words
from counterstain.evaluation.conformal import prediction_sets
from counterstain.evaluation.deployed import Deployed, _row, deployed_record, read_deployed
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.thresholds import decide
from counterstain.files import hash_file, write_json


def drawn(make_table: Callable[..., Predictions], seed: int, patients: int = 60, shift: float = 0.0) -> Predictions:
    """Half the patients positive, four images each; `shift` moves what the model says of every image."""
    rng = np.random.default_rng(seed)
    code = np.repeat(np.arange(patients), 4)
    z = np.where(code % 2 == 1, 1.2, -1.2) + rng.normal(size=patients)[code] * 0.6 + rng.normal(size=len(code)) + shift
    return make_table(code % 2, 1 / (1 + np.exp(-1.5 * z)), [f"p{seed}-{c}" for c in code])


def model(make_table: Callable[..., Predictions], **settings: object) -> Deployed:
    fitted = fit_calibration(drawn(make_table, 0, patients=400), method="none", **settings)  # type: ignore[arg-type]
    return Deployed(fitted, "", fitted.classes)


def written(own: Deployed, table: Predictions) -> dict[str, tuple[str, ...]]:
    """The columns that `counterstain predict` writes beside the probabilities."""
    names = np.array(table.classes, dtype=object)
    called = decide(table.prob[:, 1], own.calibration.threshold or 0.0).astype(int)
    sets = prediction_sets(table.prob, own.calibration.quantiles)
    return {"decision": tuple(names[called]), "prediction_set": tuple("|".join(names[row]) for row in sets)}


def words(record: dict) -> dict[str, str]:
    return {row["what"]: row["word"] for row in record["rows"]}


def test_what_is_kept_is_kept(make_table: Callable[..., Predictions]) -> None:
    own, table = model(make_table), drawn(make_table, 1, patients=200)
    found = deployed_record(own, table, written(own, table))
    assert list(words(found)) == ["coverage", "sensitivity", "specificity", "ECE"]
    assert "missed" not in words(found).values()
    assert found["warnings"] == []
    assert found["rows"][0]["stated"] == pytest.approx(0.9)
    assert found["rows"][1]["stated"] == own.calibration.stated["sensitivity"]


def test_a_model_on_another_scanner_misses_what_it_stated(make_table: Callable[..., Predictions]) -> None:
    own, table = model(make_table), drawn(make_table, 2, patients=200, shift=-1.5)
    found = deployed_record(own, table, written(own, table))
    assert words(found) == {"coverage": "missed", "sensitivity": "missed", "specificity": "kept", "ECE": "missed"}
    row = found["rows"][1]
    # The share of positive images whose decision says so, by hand.
    called = np.array(written(own, table)["decision"]) == table.classes[1]
    assert row["value"] == pytest.approx(called[table.label == 1].mean())
    assert row["high"] < row["stated"]


def test_below_but_within_chance_is_not_called_missed(make_table: Callable[..., Predictions]) -> None:
    own, table = model(make_table), drawn(make_table, 6, patients=12, shift=-0.3)
    found = deployed_record(own, table, written(own, table))
    row = next(row for row in found["rows"] if row["what"] == "sensitivity")
    assert row["value"] < row["stated"] < row["high"]
    assert row["word"] == "worse, within chance"


def test_coverage_counts_the_sets_of_the_table(make_table: Callable[..., Predictions]) -> None:
    """Two patients of one and two images: (1 + 1/2) / 2 of the sets hold the true class."""
    own = model(make_table)
    table = make_table([0, 1, 1], [0.02, 0.98, 0.97], ["a", "b", "b"])
    cells = written(own, table) | {"prediction_set": ("benign", "malignant", "benign")}
    with pytest.raises(InputError, match="column prediction_set differs in 1 of 3 rows"):
        deployed_record(own, table, cells)
    many = make_table([0, 1, 1] + [0] * 57, [0.02, 0.98, 0.97] + [0.02] * 57, ["a", "b", "b"] + ["a"] * 57)
    cells = written(own, many)
    cells["prediction_set"] = ("benign", "malignant", "benign", *["benign"] * 57)
    found = deployed_record(own, many, cells)
    assert found["sets"]["covered"]["value"] == pytest.approx(0.75)
    assert any("differs in 1 of 60 rows" in line for line in found["warnings"])


def test_a_few_other_decisions_are_taken_and_said(make_table: Callable[..., Predictions]) -> None:
    own, table = model(make_table), drawn(make_table, 1)
    cells = written(own, table)
    turned = {"benign": "malignant", "malignant": "benign"}
    for changed, refused in ((12, False), (13, True)):  # 5 % of 240
        cells["decision"] = tuple(
            turned[cell] if row < changed else cell for row, cell in enumerate(written(own, table)["decision"])
        )
        if refused:
            with pytest.raises(InputError, match=r"column decision differs in 13 of 240 rows"):
                deployed_record(own, table, cells)
            continue
        found = deployed_record(own, table, cells)
        assert any(line.startswith("column decision differs in 12 of 240 rows from") for line in found["warnings"])
        called = np.array(cells["decision"]) == "malignant"
        assert found["rows"][1]["value"] == pytest.approx(called[table.label == 1].mean())


def test_without_the_columns_they_follow_from_the_probabilities_and_it_is_said(
    make_table: Callable[..., Predictions],
) -> None:
    own, table = model(make_table), drawn(make_table, 1)
    plain, full = deployed_record(own, table, {}), deployed_record(own, table, written(own, table))
    assert plain["rows"] == full["rows"]
    assert len(plain["warnings"]) == 2


def test_another_order_of_classes_is_the_same_model(make_table: Callable[..., Predictions]) -> None:
    own, table = model(make_table), drawn(make_table, 1)
    turned = replace(table, classes=table.classes[::-1], prob=table.prob[:, ::-1], label=1 - table.label)
    assert deployed_record(own, turned, written(own, table))["rows"] == deployed_record(own, table, {})["rows"]


def test_sets_by_class_are_held_to_their_promise_for_each_class(make_table: Callable[..., Predictions]) -> None:
    own, table = model(make_table, conformal="class"), drawn(make_table, 1, patients=200)
    assert list(words(deployed_record(own, table, written(own, table))))[:3] == [
        "coverage", "coverage of 'benign'", "coverage of 'malignant'",
    ]  # fmt: skip


def test_an_earlier_bundle_states_nothing_of_its_threshold(make_table: Callable[..., Predictions]) -> None:
    own = model(make_table)
    own = replace(own, calibration=replace(own.calibration, stated={}))
    found = deployed_record(own, drawn(make_table, 1), {})
    assert words(found)["sensitivity"] == "nothing stated"
    assert any("does not record" in line for line in found["warnings"])


@pytest.mark.parametrize(("patients", "on"), [(1, "1 validation patient"), (1200, "1,200 validation patients")])
def test_promises_say_on_how_many_patients_they_were_made(
    make_table: Callable[..., Predictions], patients: int, on: str
) -> None:
    own = model(make_table)
    own = replace(own, calibration=replace(own.calibration, patients=patients))
    rows = deployed_record(own, drawn(make_table, 1), {})["rows"]
    assert [row["stated_from"] for row in rows] == ["its sets", on, on, on]


@pytest.mark.parametrize(
    ("stated", "found", "below", "word"),
    [
        (None, (0.8, 0.7, 0.9), False, "nothing stated"),
        (0.9, (None, None, None), False, "undefined here"),
        (0.9, (0.9, 0.8, 0.95), False, "kept"),
        (0.9, (0.95, 0.92, 0.97), False, "kept"),
        (0.9, (0.85, 0.8, 0.9), False, "worse, within chance"),
        (0.9, (0.85, 0.8, 0.89), False, "missed"),
        (0.9, (0.85, None, None), False, "worse, within chance"),
        (0.1, (0.1, 0.05, 0.2), True, "kept"),
        (0.1, (0.05, 0.01, 0.09), True, "kept"),
        (0.1, (0.15, 0.1, 0.2), True, "worse, within chance"),
        (0.1, (0.15, 0.11, 0.2), True, "missed"),
        (0.1, (0.15, None, None), True, "worse, within chance"),
    ],
)
def test_a_promise_in_a_word(stated: float | None, found: tuple[float | None, ...], below: bool, word: str) -> None:
    value, low, high = found
    row = _row("ECE", stated, "here", {"value": value, "low": low, "high": high}, below=below)
    assert row == {
        "what": "ECE", "stated": stated, "stated_from": "here", "value": value, "low": low, "high": high, "word": word,
    }  # fmt: skip


def test_promises_of_slides_are_not_said_to_be_made_on_images(make_table: Callable[..., Predictions]) -> None:
    own, table = model(make_table), replace(drawn(make_table, 1), rows_are="slide")
    own = replace(own, calibration=replace(own.calibration, unit="image", patients=8))
    assert [row["stated_from"] for row in deployed_record(own, table, {})["rows"]][1] == "8 validation slides"


def test_an_image_level_bundle_warns(make_table: Callable[..., Predictions]) -> None:
    own = replace(model(make_table), stamp="image-level: patients are unknown or ignored")
    assert (
        training_seen_words("image-level", calibrated=False)
        in deployed_record(own, drawn(make_table, 1), {})["warnings"]
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"decision": "melanoma"}, "column decision has 'melanoma', which is none of benign, malignant"),
        ({"prediction_set": "benign|naevus"}, "column prediction_set names 'naevus'"),
        ({"decision": "turned"}, "column decision differs in 240 of 240 rows"),
    ],
)
def test_a_table_of_another_model_is_refused(
    make_table: Callable[..., Predictions], columns: dict[str, str], message: str
) -> None:
    own, table = model(make_table), drawn(make_table, 1)
    cells = {name: (value,) * len(table) for name, value in columns.items()}
    if columns.get("decision") == "turned":
        other = {"benign": "malignant", "malignant": "benign"}
        cells = {"decision": tuple(other[cell] for cell in written(own, table)["decision"])}
    with pytest.raises(InputError, match=message):
        deployed_record(own, table, cells)


def test_classes_of_another_model_are_refused(make_table: Callable[..., Predictions]) -> None:
    table = make_table([0, 1], [0.2, 0.8], classes=("adenoma", "carcinoma"))
    with pytest.raises(InputError, match="name the model that made this table"):
        deployed_record(model(make_table), table, {})


# ------------------------------------------------------------------------------------------------------- its folder


def bundle(folder: Path, own: Deployed) -> Path:
    folder.mkdir()
    write_json(folder / "calibration.json", own.calibration.to_record())
    write_json(folder / "bundle.json", {"classes": list(own.classes), "stamp": own.stamp})
    names = ("bundle.json", "calibration.json")
    (folder / "SHA256SUMS").write_text("".join(f"{hash_file(folder / name)}  {name}\n" for name in names))
    return folder


def test_a_bundle_is_read_without_torch(make_table: Callable[..., Predictions], tmp_path: Path) -> None:
    own = model(make_table)
    folder = bundle(tmp_path / "bundle", own)
    assert read_deployed(folder) == own
    code = (
        "import sys; from pathlib import Path; from counterstain.evaluation.deployed import read_deployed; "
        f"read_deployed(Path({str(folder)!r})); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_changed_calibration_is_refused(make_table: Callable[..., Predictions], tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle", model(make_table))
    record = json.loads((folder / "calibration.json").read_text())
    write_json(folder / "calibration.json", record | {"threshold": 0.1})
    with pytest.raises(InputError, match="its SHA-256 differs"):
        read_deployed(folder)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a bundle"):
        read_deployed(tmp_path)

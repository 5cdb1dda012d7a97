"""Prediction tables: what is read is what was written, and every fault is named with its row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterstain.errors import InputError
from counterstain.evaluation.pooled_predictions import pool_patients
from counterstain.evaluation.predictions import Predictions, align, check_prob, concatenate
from counterstain.evaluation.predictions_csv import read_predictions, write_predictions

Make = Callable[..., Predictions]
HEADER = "image_path,patient_id,slide_id,site,label,prob_benign,prob_malignant\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "predictions.csv"
    path.write_text(text)
    return path


def test_written_and_read_back_is_the_same_to_the_last_bit(tmp_path: Path, random_table: Make) -> None:
    table = random_table(3, n_classes=4, digits=17)
    write_predictions(table, tmp_path / "a.csv")
    back = read_predictions(tmp_path / "a.csv")
    assert back.image == table.image
    assert back.patient == table.patient
    assert back.classes == table.classes
    assert np.array_equal(back.prob, table.prob)
    assert np.array_equal(back.label, table.label)
    write_predictions(back, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def table_with(**changed: Any) -> Predictions:
    """Two images of two patients, sound but for what is changed."""
    names = ("a", "b")
    plain = {"image": names, "patient": names, "slide": ("", ""), "site": ("", ""), "label": [0, 1],
             "prob": [[0.5, 0.5], [0.2, 0.8]], "classes": ("x", "y")}  # fmt: skip
    return Predictions(**(plain | changed))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"label": [0, 0.7]}, r"label 0\.7 is no whole number"),
        ({"label": np.array([0, np.nan])}, "label nan is no whole number"),
        ({"label": np.array([0, np.inf])}, "label inf is no whole number"),
        ({"label": ["x", "y"]}, "label 'x' is no whole number"),
        ({"label": [0, None]}, "label None is no whole number"),
        ({"label": [[0, 1]]}, "label has shape"),
        ({"patient": ("a", None)}, "patient of row 2 is missing"),
        ({"patient": ("a", float("nan"))}, "patient of row 2 is missing"),
        ({"patient": ("a", np.nan)}, "patient of row 2 is missing"),
        ({"site": (None, "")}, "site of row 1 is missing .*'' where it is unknown"),
        ({"image": ("a", None)}, "image of row 2 is missing"),
        ({"prob": [["x", "y"], ["z", "w"]]}, "prob is no array of numbers"),
        ({"prob": [[0.5, 0.5], [1.0]]}, "prob is no array of numbers"),
    ],
)
def test_values_that_are_none_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        table_with(**changed)


def test_whole_numbers_of_any_kind_are_labels() -> None:
    for label in ([0, 1], np.array([0, 1], np.uint8), np.array([0.0, 1.0]), [False, True], np.array([0, 1], object)):
        assert table_with(label=label).label.tolist() == [0, 1]


def test_unknown_patients_stay_unknown(tmp_path: Path, make_table: Make) -> None:
    table = make_table([0, 1, 1], [0.2, 0.7, 0.4])
    assert table.unit == "image"
    write_predictions(table, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[1].startswith("image-0,,,,benign,")
    back = read_predictions(tmp_path / "a.csv")
    assert back.unit == "image"
    assert "no patients" in back.notes[0]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("filename,case_id,y_true,prob_benign,prob_malignant", "a.png,p1,{},0.25,0.75"),
        ("id,patient,target,probability_benign,probability_malignant", "a.png,p1,{},0.25,0.75"),
        ("path,subject_id,true_label,prob_malignant", "a.png,p1,{},0.75"),
    ],
)
def test_other_tools_names_are_understood(tmp_path: Path, header: str, row: str) -> None:
    text = header + "\n" + row.format("benign") + "\n" + row.replace("a.png", "b.png").format("malignant") + "\n"
    table = read_predictions(written(tmp_path, text))
    assert table.image == ("a.png", "b.png")
    assert table.patient == ("p1", "p1")
    assert table.classes == ("benign", "malignant")
    assert table.label.tolist() == [0, 1]
    assert table.prob[0].tolist() == [0.25, 0.75]


def test_a_lone_score_needs_its_class_named(tmp_path: Path) -> None:
    path = written(tmp_path, "y_true,y_score\n0,0.2\n1,0.9\n1.0,0.4\n")
    with pytest.raises(InputError, match=r"one probability column, 'y_score'.*positive"):
        read_predictions(path)
    table = read_predictions(path, positive="1")
    assert table.classes == ("0", "1")
    assert table.label.tolist() == [0, 1, 1]
    assert table.prob[:, 1].tolist() == [0.2, 0.9, 0.4]
    assert table.image == ("row 2", "row 3", "row 4")


def test_the_positive_class_goes_last(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "a,p,,,benign,0.9,0.1\nb,q,,,malignant,0.3,0.7\n")
    table = read_predictions(path, positive="benign")
    assert table.classes == ("malignant", "benign")
    assert table.label.tolist() == [1, 0]
    assert table.prob[0].tolist() == [0.1, 0.9]
    assert table.positive == "benign"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,p,,,benign,0.9,0.1\nb,p,,,malignant,nan,0.7\n", r"row 3 of .* is nan \(1 of 2 rows\)"),
        ("a,p,,,benign,0.9,inf\n", "row 2 of .* is inf"),
        ("a,p,,,benign,2.1,-1.4\n", "row 2 of .* sum to 0.7, not 1 .*logits, apply softmax"),
        ("a,p,,,benign,1.5,-0.5\n", "row 2 of .* is 1.5; from 0 to 1"),
        ("a,p,,,benign,0.9,0.1\na,p,,,benign,0.9,0.1\n", r"'a' is there twice \(row 2 of .* and row 3 of"),
        ("a,p,,,bening,0.9,0.1\n", "label in row 2 .* is 'bening', .*did you mean 'benign'"),
        ("a,p,,,,0.9,0.1\n", "label in row 2 of .* is empty"),
        ("a,p,,,benign,high,0.1\n", "prob_benign in row 2 of .* is 'high'"),
        ("a,p,,,benign,,0.1\n", "prob_benign in row 2 of .* is empty"),
        ("a,p,,,benign,0.9\n", "line 2 has 6 cells, the header 7"),
        ("a,p,,,benign,0.9,0.1\nb,,,,benign,0.9,0.1\n", "row 3 of .* has no patient"),
        (",p,,,benign,0.9,0.1\nb,p,,,benign,0.9,0.1\n", "row 2 of .* has no image name"),
        ("", "no rows"),
    ],
)
def test_every_fault_is_named_with_its_row(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_predictions(written(tmp_path, HEADER + rows))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("image,prob_a,prob_b\nx,0.5,0.5\n", "no column 'label'"),
        ("image,label\nx,a\n", "no probability columns"),
        ("label,label,prob_a,prob_b\na,a,0.5,0.5\n", "two columns named 'label'"),
        ("label,prob_b\na,0.5\nb,0.2\nc,0.3\n", "2 other labels"),
        ("label,prob_b\na,0.5\n,0.2\nb,0.3\n,0.1\n", r"label in row 3 .* is empty \(2 of 4 rows\)"),
        ("label,prob_a,prob_b\na,0.5,0.5\n,0.2,0.8\n", r"label in row 3 .* is empty \(1 of 2 rows\)"),
        ("label,prediction\na,a\n,b\n", r"label in row 3 .* is empty"),
        ("label,prob_b\nb,0.5\nb,0.2\n", "every label is 'b': the other class has no name"),
        ("label,prob_b\na,3.5\nb,0.2\n", "row 2 .* is 3.5.*sigmoid"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_predictions(written(tmp_path, text))


def test_missing_files_folders_and_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_predictions(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_predictions(tmp_path)
    (tmp_path / "x.csv").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(InputError, match="not a CSV"):
        read_predictions(tmp_path / "x.csv")
    path = written(tmp_path, HEADER + "a,p,,,benign,0.9,0.1\n")
    with pytest.raises(InputError, match=r"'malign' .*did you mean 'malignant'"):
        read_predictions(path, positive="malign")
    with pytest.raises(InputError, match="x, y were needed"):
        read_predictions(path, classes=["x", "y"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((0.5, np.nan), r"probability of row 2 is nan \(2 of 4 rows\); a number from 0 to 1 was needed"),
        ((-np.inf, 0.5), r"probability of row 2 is -inf \(2 of 4 rows\)"),
        ((0.5, 0.5011), r"probabilities of row 2 sum to 1\.0011, not 1 \(2 of 4 rows\)"),
        ((0.5, 0.4989), r"probabilities of row 2 sum to 0\.9989, not 1 \(2 of 4 rows\)"),
        ((1.1, -0.1), r"probability of row 2 is 1\.1; from 0 to 1 was needed"),
        ((-0.0005, 1.0005), r"probability of row 2 is -0\.0005; from 0 to 1 was needed"),
    ],
)
def test_the_first_row_that_is_no_probability_is_named(row: tuple[float, float], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        check_prob(np.array([(0.5, 0.5), (1.0, 0.0), row, row]), lambda k: f"row {k}")


def test_of_a_row_the_value_that_is_none_is_named() -> None:
    with pytest.raises(InputError, match=r"^probability of row 0 is -0\.1; from 0 to 1"):
        check_prob(np.array([(0.5, 0.6, -0.1)]), lambda k: f"row {k}")


def test_what_rounding_leaves_is_a_probability(make_table: Make) -> None:
    rounded = np.array([(0.5, 0.5009), (0.4991, 0.5), (1.0000005, 0.0)])
    assert np.array_equal(make_table([0, 1, 0], rounded).prob, rounded)


def test_wrong_arrays_are_refused(make_table: Make) -> None:
    with pytest.raises(InputError, match="label of image 'image-1' is 2"):
        make_table([0, 2], [0.1, 0.2])
    with pytest.raises(InputError, match="no rows"):
        make_table([], np.zeros((0, 2)))
    with pytest.raises(InputError, match="at least two"):
        make_table([0], np.ones((1, 1)), classes=("a",))
    with pytest.raises(InputError, match="patient has 1 entries"):
        make_table([0, 1], [0.1, 0.2], ["p"])
    with pytest.raises(ValueError, match="read-only"):
        make_table([0, 1], [0.1, 0.2]).prob[0, 0] = 1.0


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_align_undoes_any_order_of_rows_and_columns(seed: int, random_table: Make) -> None:
    a = random_table(seed, images=30, patients=6, n_classes=3)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(30), rng.permutation(3)
    b = Predictions(
        image=tuple(a.image[k] for k in rows), patient=tuple(a.patient[k] for k in rows), slide=("",) * 30,
        site=("",) * 30, label=np.argsort(columns)[a.label[rows]], prob=a.prob[rows][:, columns],
        classes=tuple(a.classes[k] for k in columns),
    )  # fmt: skip
    _, back = align(a, b)
    assert back.image == a.image
    assert back.classes == a.classes
    assert np.array_equal(back.prob, a.prob)
    assert np.array_equal(back.label, a.label)


def test_align_refuses_and_names_what_differs(make_table: Make) -> None:
    a = make_table([0, 1, 1], [0.1, 0.8, 0.7], ["p", "q", "q"])
    with pytest.raises(InputError, match=r"share 2 images, but 1 are in the first only.*'image-2' is in the first"):
        align(a, make_table([0, 1], [0.1, 0.8], ["p", "q"]))
    with pytest.raises(InputError, match=r"true label of 1 of 3 images: 'image-1' is malignant .*, benign"):
        align(a, make_table([0, 0, 1], [0.1, 0.8, 0.7], ["p", "q", "q"]))
    with pytest.raises(InputError, match="patient of 'image-2': 'q' and 'r'"):
        align(a, make_table([0, 1, 1], [0.1, 0.8, 0.7], ["p", "q", "r"]))
    with pytest.raises(InputError, match="same task"):
        align(a, make_table([0, 1, 1], [0.1, 0.8, 0.7], ["p", "q", "q"], classes=("x", "y")))
    first, second = align(make_table([0, 1, 1], [0.1, 0.8, 0.7]), a)
    assert first.patient == second.patient == ("p", "q", "q")


def test_pooling_takes_the_mean_and_leaves_out_patients_of_two_classes(make_table: Make) -> None:
    table = make_table([1, 0, 1, 0, 1], [0.9, 0.2, 0.5, 0.4, 0.6], ["z", "a", "z", "m", "m"])
    pooled = pool_patients(table)
    assert pooled.image == ("z", "a")
    assert pooled.label.tolist() == [1, 0]
    assert pooled.prob[:, 1] == pytest.approx([0.7, 0.2])  # (0.9 + 0.5) / 2; 0.2
    assert "1 of 3 patients" in pooled.notes[0]
    with pytest.raises(InputError, match="more than one class"):
        pool_patients(make_table([0, 1], [0.1, 0.2], ["p", "p"]))


def test_folds_are_put_together_once(make_table: Make) -> None:
    table = make_table([0, 1], [0.1, 0.2], ["p", "q"])
    with pytest.raises(InputError, match="'image-0' is there twice"):
        concatenate([table, table])
    with pytest.raises(InputError, match="at least one"):
        concatenate([])
    assert concatenate([table]).image == table.image


def test_twenty_thousand_rows_are_read(tmp_path: Path, random_table: Make) -> None:
    write_predictions(random_table(0, images=20_000, patients=200, digits=17), tmp_path / "a.csv")
    assert len(read_predictions(tmp_path / "a.csv")) == 20_000

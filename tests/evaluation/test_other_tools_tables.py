"""A small table of each tool's layout, made here as the tool's own writer makes it, and what is read from it.

docs/tables.md names the repository and the file of each writer.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written_table import HARD, read

from counterstain.errors import InputError
from counterstain.evaluation.predictions import Predictions
from counterstain.evaluation.predictions_csv import read_predictions, write_predictions
from counterstain.evaluation.probability_columns import same_class

Make = Callable[..., Predictions]


# tool: (its table, classes, labels, probabilities of the last class)
LAYOUTS: dict[str, tuple[str, tuple[str, ...], list[int], list[float]]] = {
    "CLAM": ("slide_id,Y,Y_hat,p_0,p_1\nS1,0.0,0.0,0.9,0.1\nS2,1.0,0.0,0.6,0.4\n", ("0", "1"), [0, 1], [0.1, 0.4]),
    "slideflow": (
        "slide,cohort-y_true,cohort-y_pred0,cohort-y_pred1\nS1,0,0.9,0.1\nS2,1,0.6,0.4\n",
        ("0", "1"), [0, 1], [0.1, 0.4],
    ),
    "slideflow, parquet-like names": (
        "slide,out0-y_true,out0-y_pred0,out0-y_pred1\nS1,1,0.25,0.75\nS2,0,0.5,0.5\n", ("0", "1"), [1, 0], [0.75, 0.5],
    ),
    "STAMP": (
        "PATIENT,isMSIH,pred,isMSIH_MSIH,isMSIH_nonMSIH,loss\nP1,MSIH,MSIH,0.9,0.1,0.11\nP2,nonMSIH,MSIH,0.6,0.4,0.92\n",
        ("MSIH", "nonMSIH"), [0, 1], [0.1, 0.4],
    ),
    "WSInfer, with a column of truth": (
        "minx,miny,width,height,prob_notumor,prob_tumor,label\n0,0,350,350,0.9,0.1,tumor\n350,0,350,350,0.3,0.7,notumor\n",
        ("notumor", "tumor"), [1, 0], [0.1, 0.7],
    ),
    "TIAToolbox, its dict as a table": (
        'probabilities,predictions,labels\n"[0.9, 0.1]",0,0\n"[0.25, 0.75]",1,1\n', ("0", "1"), [0, 1], [0.1, 0.75],
    ),
    "AutoGluon": (
        ",image,label,benign,malignant\n0,a,benign,0.9,0.1\n1,b,malignant,0.2,0.8\n",
        ("benign", "malignant"), [0, 1], [0.1, 0.8],
    ),
    "AutoGluon, numbered classes": ("image,label,0,1\na,0,0.9,0.1\nb,1,0.2,0.8\n", ("0", "1"), [0, 1], [0.1, 0.8]),
    "fastai, a class of its vocabulary without an image": (
        "fname,label,ADI,BACK,TUM\na,ADI,.9,.05,.05\nb,TUM,.2,.1,.7\n", ("ADI", "BACK", "TUM"), [0, 2], [0.05, 0.7],
    ),
    "MONAI, with the header that it leaves out": (
        "filename,prob_0,prob_1,label\na.nii.gz,0.9,0.1,0\nb.nii.gz,0.2,0.8,1\n", ("0", "1"), [0, 1], [0.1, 0.8],
    ),
    "Keras, with probabilities": (
        "Filename,true_label,prob_benign,prob_malignant\nb/1.png,benign,0.9,0.1\nm/2.png,malignant,0.2,0.8\n",
        ("benign", "malignant"), [0, 1], [0.1, 0.8],
    ),
    "timm, --topk 0 --results-separate-col": (
        "filename,prob_0,prob_1,y_true\na.png,0.9,0.1,0\nb.png,0.2,0.8,1\n", ("0", "1"), [0, 1], [0.1, 0.8],
    ),
    "scikit-learn": ("y_true,y_pred,proba_0,proba_1\n0,0,0.9,0.1\n1,0,0.6,0.4\n", ("0", "1"), [0, 1], [0.1, 0.4]),
}  # fmt: skip


@pytest.mark.parametrize("tool", LAYOUTS)
def test_each_tool_is_read(tmp_path: Path, tool: str) -> None:
    text, classes, label, last = LAYOUTS[tool]
    table = read(tmp_path, text)
    assert table.classes == classes
    assert table.label.tolist() == label
    assert table.prob[:, -1].tolist() == last
    assert not table.hard
    semicolons = read(tmp_path, text.replace(",", ";").replace("; ", ", "))
    assert np.array_equal(semicolons.prob, table.prob)


@pytest.mark.parametrize(
    "header",
    [
        "prob_benign,prob_malignant",
        "Prob_Benign,Prob_Malignant",
        "PROB-BENIGN,PROB-MALIGNANT",
        "proba_benign,proba_malignant",
        "probability_benign,probability_malignant",
        "Probability of benign,Probability of malignant",
        "p_benign,p_malignant",
        "P(benign),P(malignant)",
        "y_prob_benign,y_prob_malignant",
        "benign_prob,malignant_prob",
        "Benign score,Malignant score",
        "benign_probability,malignant_probability",
        "score_benign,score_malignant",
        "probBenign,probMalignant",
        "softmax_benign,softmax_malignant",
        "pred_benign,pred_malignant",
        "class_prob_benign,class_prob_malignant",
        "Benign,MALIGNANT",
        "prob_benign (%),prob_malignant (%)",
        "yproba_benign,yproba_malignant",
        "yprob_benign,yprob_malignant",
        "y_proba_benign,y_proba_malignant",
        "prob.benign,prob.malignant",
        "prob: benign,prob: malignant",
        "prob[benign],prob[malignant]",
        "softmax for benign,softmax for malignant",
        "benign-softmax,malignant-softmax",
    ],
)  # fmt: skip
def test_probability_columns_by_any_name(tmp_path: Path, header: str) -> None:
    rows = [("a", "benign", 0.75, 0.25), ("b", "malignant", 0.5, 0.5)]
    scale = 100 if "%" in header else 1
    text = f"image,label,{header}\n" + "".join(f"{i},{c},{p * scale},{q * scale}\n" for i, c, p, q in rows)
    table = read(tmp_path, text)
    assert table.classes == ("benign", "malignant")
    assert table.prob.tolist() == [[0.75, 0.25], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Malignant", "malignant", True),
        ("1", "1.0", True),
        ("1.0", "1", True),
        ("1.0", "1.0", True),
        ("", "", True),
        ("-", "+", False),
        ("in situ", "In_Situ", True),
        ("1", "10", False),
        (".0", "", False),
        ("0.01", "1", False),
    ],
)
def test_two_spellings_of_a_class(one: str, other: str, same: bool) -> None:
    assert same_class(one, other) is same and same_class(other, one) is same


@pytest.mark.parametrize("name", ["prob", "proba", "probability", "yprob", "y_proba"])
def test_a_lone_column_by_a_clear_name_needs_no_label_in_it(tmp_path: Path, name: str) -> None:
    """A class that no row is of: the name alone says that it is a probability."""
    table = read(tmp_path, f"image,label,{name}_malignant\na,benign,0.25\nb,benign,0.5\n")
    assert table.classes == ("benign", "malignant") and table.prob[:, 1].tolist() == [0.25, 0.5]


@pytest.mark.parametrize("name", ["y_prob", "y_score", "y_proba", "pred_prob", "predicted_probability", "risk_score"])
def test_a_lone_column_by_a_tools_name_is_of_no_class_of_that_name(tmp_path: Path, name: str) -> None:
    """scikit-learn's y_prob is asked about, and not taken for the probability of a class "y"."""
    text = f"image,y_true,{name}\na,0,0.25\nb,1,0.5\n"
    with pytest.raises(InputError, match=f"one probability column, '{name}', .*--positive 1"):
        read(tmp_path, text)
    assert read(tmp_path, text, positive="1").prob[:, 1].tolist() == [0.25, 0.5]
    yes = read(tmp_path, "image,label,y_prob,n_prob\na,n,0.25,0.75\nb,y,0.5,0.5\n")
    assert yes.classes == ("y", "n")


@pytest.mark.parametrize("name", ["prob_malignant", "malignant_prob", "Prob_Malignant", "P(Malignant)"])
def test_a_lone_column_names_its_class(tmp_path: Path, name: str) -> None:
    table = read(tmp_path, f"image,label,{name}\na,benign,0.25\nb,malignant,0.5\n")
    assert table.classes == ("benign", "malignant")
    assert table.prob[:, 1].tolist() == [0.25, 0.5]
    assert table.positive_from == "only probability column"


@pytest.mark.parametrize(
    ("header", "rows", "classes"),
    [
        # Columns named as the classes alone, with numbers on either side that the sum decides about.
        ("fname,label,A,B,C", ["a,A,.9,.05,.05", "b,C,.2,.1,.7"], ("A", "B", "C")),
        ("fname,label,C,A,B", ["a,A,.9,.05,.05", "b,B,.2,.1,.7"], ("C", "A", "B")),
        ("fname,label,A,C,B", ["a,A,.9,.05,.05", "b,B,.2,.1,.7"], ("A", "C", "B")),
        ("fname,label,A,B,age", ["a,A,.9,.1,60", "b,B,.2,.8,70"], ("A", "B")),
        ("fname,age,label,A,B", ["a,60,A,.9,.1", "b,70,B,.2,.8"], ("A", "B")),
        ("fname,label,scanner,A,B,note", ["a,A,x,.9,.1,n", "b,B,y,.2,.8,m"], ("A", "B")),
        ("fname,label,A,B,note,C", ["a,A,90,10,n,1", "b,B,20,80,m,2"], ("A", "B")),
        ("fname,label,Z,A,B,Y", ["a,A,.1,.5,.3,.1", "b,B,0,.2,.8,0"], ("Z", "A", "B", "Y")),
    ],
)
def test_columns_named_as_the_classes_are_those_that_sum_to_one(
    tmp_path: Path, header: str, rows: list[str], classes: tuple[str, ...]
) -> None:
    table = read(tmp_path, "\n".join([header, *rows]) + "\n")
    assert table.classes == classes
    assert table.prob.sum(axis=1) == pytest.approx(np.ones(2))
    assert [table.classes[k] for k in table.label] == [row.split(",")[header.split(",").index("label")] for row in rows]


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("fname,label,A,B", ["a,A,.9,.2", "b,B,.2,.8"]),  # don't sum to 1
        ("fname,label,A", ["a,A,.9", "b,B,.2"]),  # a class without a column
        ("fname,label,A,B,x", ["a,A,.9,.05,word", "b,B,.2,.7,word"]),
    ],
)
def test_other_columns_that_are_named_so_are_no_probabilities(tmp_path: Path, header: str, rows: list[str]) -> None:
    with pytest.raises(InputError, match="has no probability columns"):
        read(tmp_path, "\n".join([header, *rows]) + "\n")


# ------------------------------------------------------------------------------------------------- what is asked about


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("minx,miny,width,height,prob_a,prob_b\n0,0,9,9,0.9,0.1\n", "no column 'label'.*truth.*columns={'label'"),
        ("Filename,Predictions\na,x\nb,y\n", "no column 'label'.*without the truth"),
        ("x.nii.gz,0.9,0.1\ny.nii.gz,0.2,0.8\n", "no header line"),  # MONAI's CSVSaver writes none
        ("filename,label,prob\na,x,0.9\nb,y,0.8\nc,x,0.6\n", "never below 0.5.*own call.*{'label': 'label'}"),
        ("filename,index_0,index_1,prob_0,prob_1,y_true\na,1,0,0.9,0.1,1\n", "in order of size.*--topk 0"),  # timm
        ("image,label,y_true,prob_a,prob_b\na,a,a,0.9,0.1\nb,b,a,0.1,0.9\n", "'label' and 'y_true', which differ in 1"),
        ("image,label,gt,prob_a,prob_b\na,a,b,0.9,0.1\nb,b,a,0.1,0.9\n", "'label' and 'gt', which differ in 2 of 2"),
        ("slide,a-y_true,a-y_pred0,a-y_pred1,b-y_true,b-y_pred0,b-y_pred1\nS,0,1,0,1,0,1\n", "truth of 2 outcomes"),
        ("image,label,prob_0,prob_1\na,benign,0.9,0.1\n", "is 'benign', which has no .*columns={'prob_benign'"),
        ("image,label,malignant_prob\na,0,0.9\nb,1,0.2\n", "but 2 other.*columns={'prob_1': 'malignant_prob'}"),
        ("image,label,value\na,0,0.9\nb,1,0.2\n", "no probability columns.*columns={'prob_malignant': .*'predicted'"),
        ("image,label,case,subject,prob_a,prob_b\na,a,1,1,1,0\n", "t.csv has 2 columns that could be patient_id"),
        ('probabilities,labels\n"[0.9, 0.1]",0\n"[0.9]",1\n', "row 3 .* has 1 probabilities"),
        ('probabilities,labels\n"[0.9, x]",0\n', "row 2 .* a list of probabilities was needed"),
    ],
)  # fmt: skip
def test_what_can_not_be_told_is_asked(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_the_user_may_say_that_label_is_the_truth(tmp_path: Path) -> None:
    text = "filename,label,prob\na,x,0.9\nb,y,0.8\nc,x,0.6\n"
    table = read(tmp_path, text, columns={"label": "label"}, positive="x")
    assert table.label.tolist() == [1, 0, 1]


def test_two_codings_of_one_truth_are_no_doubt(tmp_path: Path) -> None:
    text = "image,label,gt,prob_a,prob_b\na,a,0,0.9,0.1\nb,b,1,0.1,0.9\nc,a,0,0.2,0.8\n"
    assert read(tmp_path, text).label.tolist() == [0, 1, 0]


def test_columns_that_the_user_names(tmp_path: Path) -> None:
    text = "Bild;GT;Score (%);Case\na;benign;12,5;P1\nb;malignant;80;P2\n"
    named = {"label": "GT", "prob_malignant": "Score (%)", "patient_id": "Case", "image_path": "Bild"}
    table = read(tmp_path, text, columns=named)
    assert table.image == ("a", "b")
    assert table.patient == ("P1", "P2")
    assert table.prob[:, 1].tolist() == [0.125, 0.8]
    with pytest.raises(InputError, match="no column 'lable' to say; did you mean 'label'"):
        read(tmp_path, text, columns={"lable": "GT"})
    with pytest.raises(InputError, match="no such column; did you mean 'GT'"):
        read(tmp_path, text, columns={"label": "GTX"})


@pytest.mark.parametrize("name", ["PatientID", "patient_id", "Patient ID", "PATIENT-ID", "caseId", "subject"])
def test_patients_are_found_however_they_are_spelled(tmp_path: Path, name: str) -> None:
    table = read(tmp_path, f"image,{name},label,prob_a,prob_b\na,P,a,0.9,0.1\nb,P,b,0.1,0.9\n")
    assert table.unit == "patient"
    assert table.patient == ("P", "P")


def test_a_column_that_looks_like_ids_and_is_not_used_is_said(tmp_path: Path) -> None:
    table = read(tmp_path, "image,Patient Nr old,label,prob_a,prob_b\na,P,a,0.9,0.1\nb,P,b,0.1,0.9\n")
    assert any("Patient Nr old" in note and "not used" in note for note in table.notes)
    two = read(tmp_path, "image,Patient Nr old,Case Nr,label,prob_a,prob_b\na,P,C,a,0.9,0.1\nb,P,C,b,0.1,0.9\n")
    assert (
        "columns of t.csv that look like ids and were not used: Patient Nr old, Case Nr; "
        "say what they are with --columns, such as patient_id=Patient Nr old"
    ) in two.notes
    assert not any("not used" in note for note in read(tmp_path, HARD).notes)


def test_what_is_missing_is_no_id(tmp_path: Path) -> None:
    """NA is a site of TCGA, and no slide; a composed letter is the same as its parts."""
    header = "image,patient,slide,site,label,prob_a,prob_b\n"
    table = read(tmp_path, header + "x,M\u0075\u0308ller,NA,NA,a,0.9,0.1\ny,M\u00fcller,nan,nan,b,0.1,0.9\n")
    assert table.patient == ("M\u00fcller", "M\u00fcller")
    assert table.slide == ("", "") and table.site == ("NA", "")
    for blank in ("", "nan", "NA", "None"):
        with pytest.raises(InputError, match=r"row 3 of .* has no patient; name one in every row"):
            read(tmp_path, f"{header}x,P1,,,a,0.9,0.1\ny,{blank},,,b,0.1,0.9\n")
    nobody = read(tmp_path, f"{header}x,NA,,,a,0.9,0.1\ny,nan,,,b,0.1,0.9\n")
    assert nobody.unit == "image" and "t.csv names no patients; say which column does with --columns" in nobody.notes[0]


@pytest.mark.parametrize(("lowest", "asked"), [("0.5", True), ("0.51", True), ("0.49", False)])
def test_scores_that_are_never_below_one_half_are_of_the_models_own_call(
    tmp_path: Path, lowest: str, asked: bool
) -> None:
    text = f"filename,label,prob\na,x,0.9\nb,y,{lowest}\nc,x,0.6\n"
    if asked:
        with pytest.raises(
            InputError, match=r"'prob' in .* is never below 0\.5, so 'label' looks like the model's own"
        ):
            read(tmp_path, text, positive="x")
    else:
        assert read(tmp_path, text, positive="x").label.tolist() == [1, 0, 1]


def test_the_clearest_of_two_sets_of_columns_is_taken(tmp_path: Path) -> None:
    """Those whose names say probability first, then those that cover every label, whichever stands first."""
    rows = ["x,a,0.9,0.1,0.75,0.25", "y,b,0.2,0.8,0.5,0.5"]
    for header, chosen in (
        ("score_a,score_b,prob_a,prob_b", [0.75, 0.5]),
        ("prob_a,prob_b,score_a,score_b", [0.9, 0.2]),
        ("a_score,b_score,score_a,score_b", [0.75, 0.5]),
        ("score_a,score_b,a_score,b_score", [0.9, 0.2]),
        ("p_a,p_b,prob_a,prob_b", [0.75, 0.5]),
        ("prob_a,prob_c,score_a,score_b", [0.75, 0.5]),
    ):
        table = read(tmp_path, f"image,label,{header}\n" + "\n".join(rows) + "\n")
        assert table.prob[:, 0].tolist() == chosen, header


def test_patients_whose_ids_differ_in_spelling_alone_are_named(tmp_path: Path) -> None:
    rows = "a,P-1,a,0.9,0.1\nb,p 1,b,0.1,0.9\nc,P2,b,0.1,0.9\n"
    (note,) = [note for note in read(tmp_path, "image,patient,label,prob_a,prob_b\n" + rows).notes if "alike" in note]
    assert note == (
        "t.csv has patient ids that differ in case, spaces or separators alone, such as 'P-1' and 'p 1'; "
        "each counts as a patient of its own: if they are one, write them alike"
    )


# ------------------------------------------------------------------------------------------------ percent and rounding


def test_percent_is_said(tmp_path: Path) -> None:
    table = read(tmp_path, "image,label,prob_a,prob_b\na,a,90,10\nb,b,20.5,79.5\n")
    assert table.prob.tolist() == [[0.9, 0.1], [0.205, 0.795]]
    assert any("percent" in note for note in table.notes)
    assert read(tmp_path, "image,label,prob_b\na,a,9.5 %\nb,b,79.5 %\n").prob[:, 1].tolist() == [0.095, 0.795]
    assert read(tmp_path, "image,label,prob_b\na,a,1\nb,b,97\n").prob[:, 1].tolist() == [0.01, 0.97]
    with pytest.raises(InputError, match=r"is 3.5; from 0 to 1.*sigmoid"):  # small numbers above 1 are logits
        read(tmp_path, "image,label,prob_b\na,a,3.5\nb,b,0.2\n")


@pytest.mark.parametrize(
    ("cells", "percent"),
    [
        (("0.5", "19.9"), False),
        (("0.5", "20"), True),
        (("0", "100"), True),
        (("0", "100.5"), True),
        (("0", "100.6"), False),
        (("-0.1", "50"), False),
        (("0.5 %", "0.7 %"), True),
    ],
)
def test_when_one_column_is_percent(tmp_path: Path, cells: tuple[str, str], percent: bool) -> None:
    """Numbers up to 100 of which one is 20 or more, or a sign that says so; what is neither is refused."""
    text = f"image,label,prob_b\na,a,{cells[0]}\nb,b,{cells[1]}\n"
    values = [float(cell.removesuffix(" %")) / 100 for cell in cells]
    if percent and max(values) <= 1:
        assert read(tmp_path, text).prob[:, 1].tolist() == pytest.approx(values)
        return
    with pytest.raises(InputError, match="from 0 to 1"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("cells", "percent"), [("90,10", True), ("90,9", True), ("90,8.8", False), ("90,11.2", False), ("190,-90", False)]
)
def test_when_several_columns_are_percent(tmp_path: Path, cells: str, percent: bool) -> None:
    """Every row sums to 100 within what rounding leaves, and none is negative."""
    text = f"image,label,prob_a,prob_b\na,a,{cells}\nb,b,50,50\n"
    if not percent:
        with pytest.raises(InputError, match="of row 2 of"):
            read(tmp_path, text)
        return
    own = np.array([float(cell) for cell in cells.split(",")])
    table = read(tmp_path, text)
    assert table.prob[0].tolist() == pytest.approx((own / own.sum()).tolist())
    assert "t.csv gives probabilities in percent; they were divided by 100" in table.notes


def test_a_table_without_a_number_is_no_percent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 2 of .* is nan \(1 of 1 rows\)"):
        read(tmp_path, "image,label,prob_a,prob_b (%)\na,a,nan,nan\n")


@pytest.mark.parametrize(
    ("cells", "fits"),
    [("0.33,0.33,0.33", True), ("0.34,0.34,0.33", True), ("0.33,0.33,0.32", False), ("0.5,0.5,0.5", False)],
)
def test_rounded_rows_are_divided_by_their_sum_and_that_is_said(tmp_path: Path, cells: str, fits: bool) -> None:
    text = f"image,label,prob_a,prob_b,prob_c\nx,a,0.7,0.2,0.1\ny,b,{cells}\n"
    if not fits:
        with pytest.raises(InputError, match=r"of row 3 of .* not 1 \(1 of 2 rows\)"):
            read(tmp_path, text)
        return
    table = read(tmp_path, text)
    own = np.array([float(cell) for cell in cells.split(",")])
    assert table.prob[0].tolist() == [0.7, 0.2, 0.1]  # a row that sums to 1 stays as it is, to the last bit
    assert table.prob[1].tolist() == (own / own.sum()).tolist()
    assert any("of 1 of 2 rows" in note and "divided by their sum" in note for note in table.notes)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 9))
def test_two_decimals_are_always_read(tmp_path_factory: pytest.TempPathFactory, seed: int, classes: int) -> None:
    prob = np.random.default_rng(seed).dirichlet(np.ones(classes), size=20)
    names = [f"c{k}" for k in range(classes)]
    rows = [f"i{row},c{row % classes}," + ",".join(f"{p:.2f}" for p in own) for row, own in enumerate(prob)]
    text = "image,label," + ",".join(f"prob_{name}" for name in names) + "\n" + "\n".join(rows) + "\n"
    table = read(tmp_path_factory.mktemp("rounded"), text)
    assert np.abs(table.prob - prob).max() < 0.006 + 0.005 * classes
    assert np.abs(table.prob.sum(axis=1) - 1).max() <= 1e-3


# ----------------------------------------------------------------------------------------------------------- dialects


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000), classes=st.integers(2, 5), separator=st.sampled_from(",;\t|"),
    coding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "parquet"]), comma=st.booleans(),
)  # fmt: skip
def test_any_dialect_gives_equal_predictions(
    tmp_path_factory: pytest.TempPathFactory, random_table: Make, seed: int, classes: int, separator: str, coding: str,
    comma: bool,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("dialect")
    table = random_table(seed, n_classes=classes, digits=17)
    write_predictions(table, folder / "plain.csv")
    text = (folder / "plain.csv").read_text(encoding="utf-8")
    if coding == "parquet":
        path = folder / "t.parquet"
        pq.write_table(arrow_csv.read_csv(folder / "plain.csv"), path)
    else:
        path = folder / "t.csv"
        path.write_bytes(dialect(text, separator, comma=comma and separator != ",").encode(coding))
    back = read_predictions(path)
    assert (back.image, back.patient, back.classes) == (table.image, table.patient, table.classes)
    assert np.array_equal(back.prob, table.prob)
    assert np.array_equal(back.label, table.label)


def dialect(text: str, separator: str, *, comma: bool) -> str:
    """A table without quotes in another dialect: its separator, and decimal commas."""
    rows = [line.split(",") for line in text.splitlines()]
    changed = [
        [cell.replace(".", ",") if comma and cell.replace(".", "", 1).isdigit() else cell for cell in row]
        for row in rows
    ]
    return "".join(separator.join(row) + "\n" for row in changed)


@pytest.mark.parametrize("other", ["p1", "p 1", "P-1", "P_1"])
def test_patient_ids_that_differ_in_spelling_alone_are_named(tmp_path: Path, other: str) -> None:
    """They count as two patients, which makes intervals too narrow where they are one; nothing is merged by a guess."""
    path = tmp_path / "t.csv"
    rows = [
        f"i0,P1,a,0.8,0.2\ni1,{other},b,0.3,0.7\ni2,P2,b,0.1,0.9\n",
        "i0,P1,a,0.8,0.2\ni1,P1_1,b,0.3,0.7\ni2,P11,b,0.1,0.9\n",
    ]
    for text, expected in zip(rows, (1, 0), strict=True):
        path.write_text(f"image,patient_id,label,prob_a,prob_b\n{text}")
        found = read_predictions(path)
        assert sum("differ in case, spaces or separators alone" in note for note in found.notes) == expected
    assert len(set(found.patient)) == 3

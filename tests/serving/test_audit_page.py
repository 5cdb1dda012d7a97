"""Decisions of the Audit page: one line each, undone by one more, and turned into the cohort and split that follow."""

import csv
from pathlib import Path

import numpy as np
import pytest
from small_server import PORT, TOKEN
from small_studies import audited_home, texture
from starlette.testclient import TestClient

from counterstain.audit.decisions import (
    DECISIONS,
    Decision,
    append_decision,
    in_force,
    read_decisions,
    read_pairs,
)
from counterstain.audit.duplicates import TURNS
from counterstain.errors import InputError
from counterstain.images.decode import decode
from counterstain.serving.aligned import align
from counterstain.serving.app import make_app, served_of
from counterstain.serving.security import Access
from counterstain.serving.server import ServeOptions
from counterstain.study.audit_stage import audit_images


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort with copies, and its audit as a run."""
    return audited_home(tmp_path_factory.mktemp("audited"))


@pytest.fixture
def page(audited: Path, access: Access) -> TestClient:
    (audited / "runs" / "r" / DECISIONS).unlink(missing_ok=True)
    app = make_app(served_of(audited / "runs", ServeOptions()), access)
    return TestClient(app, base_url=f"http://127.0.0.1:{PORT}", headers={"Authorization": f"Bearer {TOKEN}"})


def decide(page: TestClient, pair: int, decision: str, **more: str) -> dict[str, object]:
    answer = page.post("/api/decisions", json={"run": "r", "pair": pair, "decision": decision, **more})
    assert answer.status_code == 201, answer.text
    made: dict[str, object] = answer.json()
    return made


def test_the_pairs_are_all_there(page: TestClient, audited: Path) -> None:
    data = page.get("/api/runs/r/audit").json()
    assert len(data["pairs"]) == len(read_pairs(audited / "audit" / "pairs.csv")) >= 3
    assert data["pairs"][0]["image"]["patient_id"].startswith("P")
    assert page.get("/runs/r/audit").status_code == 200
    for number in range(len(data["pairs"])):
        assert page.get(f"/runs/r/pairs/{number}.jpg").headers["content-type"] == "image/jpeg"
    assert page.get("/runs/r/pairs/999.jpg").status_code == 404
    assert page.get("/runs/r/pairs/-1.jpg").status_code == 404


def test_each_decision_is_one_line_and_undo_is_one_more(page: TestClient, audited: Path) -> None:
    path = audited / "runs" / "r" / DECISIONS
    decide(page, 0, "drop", side="other", who="Dr. A", reason='=cmd|"x"')
    decide(page, 1, "keep")
    assert len(path.read_text().splitlines()) == 3
    assert "'=cmd" in path.read_text()  # a spreadsheet takes it for text
    assert read_decisions(path)[0].reason == '=cmd|"x"'
    assert page.get("/api/runs/r/audit").json()["decided"]["0"]["who"] == "Dr. A"
    assert decide(page, 0, "same")["decided"]["decision"] == "same"  # type: ignore[index]
    assert decide(page, 0, "undo")["decided"]["decision"] == "drop"  # type: ignore[index]
    assert decide(page, 0, "undo")["decided"] is None
    assert decide(page, 0, "undo")["decided"] is None
    assert len(path.read_text().splitlines()) == 7
    assert [one.decision for one in in_force(read_decisions(path))] == ["keep"]


@pytest.mark.parametrize(
    "record",
    [
        {"run": "r", "pair": 0, "decision": "burn"},
        {"run": "r", "pair": -1, "decision": "drop"},
        {"run": "r", "pair": 10**6, "decision": "drop"},
        {"run": "r", "pair": 0, "decision": "relabel"},
        {"run": "r", "pair": 0, "decision": "relabel", "label": "no such class"},
        {"run": "r", "pair": 0, "decision": "drop", "label": "a"},
        {"run": "../r", "pair": 0, "decision": "drop"},
        {"run": "r", "pair": 0, "decision": "drop", "more": 1},
        {"run": "r", "pair": 0, "decision": "drop", "reason": "x" * 2001},
        [],
    ],
)
def test_what_is_no_decision_writes_nothing(page: TestClient, audited: Path, record: object) -> None:
    assert page.post("/api/decisions", json=record).status_code in (404, 422)
    assert not (audited / "runs" / "r" / DECISIONS).exists()


def test_applied_decisions_make_the_cohort_and_split_that_follow(
    page: TestClient, audited: Path, tmp_path: Path
) -> None:
    data = page.get("/api/runs/r/audit").json()
    pairs = data["pairs"]
    across = next(k for k, pair in enumerate(pairs) if pair["image"]["split"] != pair["other"]["split"])
    for number, pair in enumerate(pairs):
        if number == across:
            decide(page, number, "drop", side="other", who="Dr. A")
        elif pair["image"]["split"] != pair["other"]["split"]:
            decide(page, number, "keep")
        else:
            decide(page, number, "same")
    dropped = pairs[across]["other"]["name"]
    record, lines = audit_images(
        audited / "images" / "cohort.csv", None, tmp_path / "out", apply=audited / "runs" / "r" / DECISIONS
    )
    with (tmp_path / "out" / "cohort.csv").open(newline="") as stream:
        names = [row["image_path"] for row in csv.DictReader(stream)]
    assert len(names) == 23 and not any(name.endswith(dropped) for name in names)
    with (tmp_path / "out" / "splits.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 23
    note = next(one for one in record["findings"] if one["tier"] == "decision")
    assert "Dr. A" in note["words"] and "1 images dropped" in note["words"]
    assert any("Decided by eye" in line for line in lines)
    assert record["verdict"] == "clean"
    again, _ = audit_images(tmp_path / "out" / "cohort.csv", tmp_path / "out" / "splits.csv", tmp_path / "again")
    assert again["images"] == 23


def test_a_new_label_is_in_the_new_manifest(page: TestClient, audited: Path, tmp_path: Path) -> None:
    pair = page.get("/api/runs/r/audit").json()["pairs"][0]
    other = "b" if pair["image"]["label"] == "a" else "a"
    decide(page, 0, "relabel", side="image", label=other)
    audit_images(audited / "images" / "cohort.csv", None, tmp_path / "out", apply=audited / "runs" / "r" / DECISIONS)
    with (tmp_path / "out" / "cohort.csv").open(newline="") as stream:
        label = {Path(row["image_path"]).name: row["label"] for row in csv.DictReader(stream)}
    assert label[Path(pair["image"]["name"]).name] == other


def test_decisions_of_another_cohort_are_refused(audited: Path, tmp_path: Path) -> None:
    append_decision(tmp_path / "d.csv", Decision("now", "", "elsewhere.png", "x.png", "drop"))
    with pytest.raises(InputError, match="not in this cohort"):
        audit_images(audited / "images" / "cohort.csv", None, tmp_path / "out", apply=tmp_path / "d.csv")
    with pytest.raises(InputError, match="is not there"):
        audit_images(audited / "images" / "cohort.csv", None, tmp_path / "out", apply=tmp_path / "none.csv")
    (tmp_path / "d.csv").write_text("when,who\n1,2\n")
    with pytest.raises(InputError, match="has no column"):
        read_decisions(tmp_path / "d.csv")


def test_a_copy_is_drawn_where_it_lies(audited: Path) -> None:
    """Of every flip and quarter-turn the drawn picture is the other one."""
    start = texture(3, 256)
    whole = [np.rot90(one, k) for one in (start, start[:, ::-1]) for k in range(4)]
    for turn, picture in zip(TURNS, whole, strict=True):
        drawn, value = align(start, np.ascontiguousarray(picture), turn)
        assert value > 0.99, turn
        assert np.abs(drawn[2:-2, 2:-2].astype(int) - picture[2:-2, 2:-2]).mean() < 3, turn
    for pair in read_pairs(audited / "audit" / "pairs.csv"):
        a, b = (decode(name, root=audited / "images").pixels for name in (pair.image, pair.other))
        assert align(a, b, pair.turn)[1] > 0.95, pair


@pytest.mark.parametrize(("degrees", "zoom", "mirrored"), [(34, 1.25, False), (-120, 1.4, False), (75, 1.2, True)])
def test_a_turned_crop_is_drawn_where_it_lies(degrees: float, zoom: float, mirrored: bool) -> None:
    import cv2

    a = texture(5, 256)
    start = a[::-1] if mirrored else a
    matrix = cv2.getRotationMatrix2D((127.5, 127.5), -degrees, zoom)
    b = cv2.warpAffine(np.ascontiguousarray(start), matrix, (256, 256), borderMode=cv2.BORDER_REFLECT_101)
    words = f"{'flipped, ' if mirrored else ''}turned by about {degrees}°, enlarged {zoom:g} times"
    assert align(a, b, words)[1] > 0.9
    assert align(b, a, words)[1] > 0.9

"""The page on which pairs are looked at and decided; a decision is one line appended to the run's decisions.csv."""

import time
from pathlib import Path
from typing import Annotated, Literal

from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from counterstain.audit.decisions import (
    DECISIONS,
    PAIRS,
    Decision,
    append_decision,
    in_force,
    read_decisions,
    read_pairs,
)
from counterstain.images.decode import decode
from counterstain.images.source import BadImage
from counterstain.run_folder import optional_record, record_path
from counterstain.serving.aligned import align
from counterstain.serving.pictures import DECODING, check_inside, image_id, jpeg, read_tiles
from counterstain.serving.problems import ServingError
from counterstain.serving.runs import RunsFolder

__all__ = ["DecisionMade", "add_audit", "aligned_picture", "audit_data", "decide"]

Text = Annotated[str, Field(max_length=2000)]


class DecisionMade(BaseModel):
    """A decision as the page sends it: the run, the pair by its number, and which of its two images it is about."""

    model_config = ConfigDict(extra="forbid")
    run: Text
    pair: Annotated[int, Field(ge=0)]
    side: Literal["image", "other"] = "image"
    decision: Literal["keep", "drop", "same", "relabel", "undo"]
    label: Text = ""
    reason: Text = ""
    who: Text = ""


def add_audit(app: FastAPI, runs: RunsFolder) -> None:
    """Add the routes."""

    @app.get("/api/runs/{run}/audit", tags=["audit"])
    def audit(run: str) -> dict[str, object]:
        """Pairs, findings, and the decisions in force."""
        return audit_data(runs.find(run))

    @app.post("/api/decisions", tags=["audit"], status_code=201)
    def make(decision: DecisionMade) -> dict[str, object]:
        """Append one decision; the answer says what is in force for the pair."""
        return decide(runs.find(decision.run), decision)

    @app.get("/runs/{run}/pairs/{number}.jpg", include_in_schema=False)
    def aligned(run: str, number: int) -> Response:
        return Response(aligned_picture(runs.find(run), number), media_type="image/jpeg")


def audit_data(run: Path) -> dict[str, object]:
    """What the page draws.

    Returns:
        pairs: ids, names, tier, similarity, turn and what the cohort says of both; decided: pair number -> the decision
        in force; findings; classes; words: the verdict.
    """
    table = read_tiles(run)
    place = {name: row for row, name in enumerate(table.image)}

    def shown(name: str) -> dict[str, object]:
        row = place.get(name)
        columns = {key: table.column[key][row] for key in ("label", "patient_id", "split")} if row is not None else {}
        return {"id": image_id(name), "name": name, "there": row is not None, **columns}

    pairs = read_pairs(record_path(run, PAIRS))
    record = optional_record(run, "audit.json")
    number = {tuple(sorted((pair.image, pair.other))): at for at, pair in enumerate(pairs)}
    decisions = in_force(read_decisions(run / DECISIONS))
    decided = {number[decision.pair]: decision for decision in decisions if decision.pair in number}
    return {
        "words": record.get("words", "This run was not audited."), "findings": record.get("findings", []),
        "classes": list(table.column["label"].values),
        "pairs": [
            {"image": shown(pair.image), "other": shown(pair.other), "tier": pair.tier, "turn": pair.turn,
             "similarity": pair.similarity}
            for pair in pairs
        ],
        "decided": {str(at): _decision_row(decision) for at, decision in decided.items()},
    }  # fmt: skip


def decide(run: Path, request: DecisionMade) -> dict[str, object]:
    """Append a decision, and say what is in force for its pair.

    Raises:
        ServingError: 404 if there is no such pair.
        InputError: If it is no decision, such as a new label without one.
    """
    pairs = read_pairs(record_path(run, PAIRS))
    if request.pair >= len(pairs):
        raise ServingError(404, f"there is no pair {request.pair}; this run's audit found {len(pairs)}")
    pair = pairs[request.pair]
    image, other = (pair.image, pair.other) if request.side == "image" else (pair.other, pair.image)
    classes = read_tiles(run).column["label"].values
    if request.decision == "relabel" and request.label not in classes:
        raise ServingError(422, f"there is no class '{request.label[:100]}'; there are: {', '.join(classes)}")
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    decision = Decision(when, request.who, image, other, request.decision, request.label, request.reason)
    append_decision(run / DECISIONS, decision)
    now = [entry for entry in in_force(read_decisions(run / DECISIONS)) if entry.pair == decision.pair]
    return {"pair": request.pair, "decided": _decision_row(now[0]) if now else None}


def aligned_picture(run: Path, number: int) -> bytes:
    """The first image of a pair, drawn as it lies on the second, as JPEG.

    Raises:
        ServingError: 404 if there is no such pair, 422 if an image of it cannot be read.
    """
    pairs = read_pairs(record_path(run, PAIRS))
    if not 0 <= number < len(pairs):
        raise ServingError(404, f"there is no pair {number}; this run's audit found {len(pairs)}")
    pair, root = pairs[number], read_tiles(run).root
    try:
        for name in (pair.image, pair.other):
            check_inside(root, name)
        with DECODING:
            pixels = [decode(name, root=root).pixels for name in (pair.image, pair.other)]
            return jpeg(align(pixels[0], pixels[1], pair.turn)[0])
    except BadImage as error:
        raise ServingError(422, f"this pair cannot be drawn: {error.reason}") from None


def _decision_row(decision: Decision) -> dict[str, str]:
    return {"decision": decision.decision, "image": image_id(decision.image), "label": decision.label,
            "reason": decision.reason, "who": decision.who, "when": decision.when}  # fmt: skip

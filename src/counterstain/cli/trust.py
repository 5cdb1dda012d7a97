"""The verb that asks how far a model can be trusted when tiles are not as it knew them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counterstain.cli.common import (
    Arm,
    Columns,
    Fold,
    Images,
    Json,
    Model,
    NetworkFile,
    Out,
    Seed,
    app,
    chosen_model,
    columns_given,
    verb,
)

if TYPE_CHECKING:
    from counterstain.cohort.manifest import Cohort
    from counterstain.robustness.card import Sight


@app.command()
@verb
def robustness(
    model: Model,
    images: Images,
    out: Out = Path("robustness"),
    splits: Annotated[Path | None, typer.Option(help="Try only a part of this splits.csv …")] = None,
    part: Annotated[str, typer.Option(help="… this one.")] = "test",
    budget: Annotated[Path | None, typer.Option(help="YAML file of limits; ends with 3 if one is not met.")] = None,
    sample: Annotated[
        int | None, typer.Option("--images", help="At most so many images, evenly over the patients.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="One trial, such as blur or rotation; may stand several times.")
    ] = None,
    arm: Arm = None,
    seed: Seed = None,
    fold: Fold = None,
    network_file: NetworkFile = None,
    runtime: Annotated[str, typer.Option(help="auto, torch, onnxruntime or openvino.")] = "auto",
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cpu",
    columns: Columns = None,
    as_json: Json = False,
) -> None:
    """What a model loses under other stains, blur, JPEG, exposure, scanners, a wrong µm/px, and turned tiles.

    Writes robustness.json, robustness.csv and robustness.html; differences are paired, intervals over patients.

    Example: counterstain robustness model/ cohort.csv --splits splits.csv --budget budget.yaml --out card
    """
    import json

    from counterstain.errors import GateError
    from counterstain.files import read_json
    from counterstain.learning.bundle import read_bundle
    from counterstain.robustness.card import robustness_card
    from counterstain.study.inputs import read_images

    bundle = chosen_model(model, arm, seed, fold, network_file)
    classes = read_bundle(bundle).classes
    two = classes[-1] if len(classes) == 2 else None
    cohort = read_images(images, positive=two, columns=columns_given(columns))
    shut: GateError | None = None
    try:
        with _watching() as sight:
            robustness_card(
                bundle, cohort, out, splits=splits, part=part, budget=budget, images=sample, only=tuple(only or ()),
                runtime=runtime, precision=precision, device=device, seen=partial(_seen_before, bundle), sight=sight,
            )  # fmt: skip
    except GateError as error:  # the card is whole: it is shown before the gate says no
        shut = error
    record = read_json(out / "robustness.json")
    if as_json:
        print(json.dumps(record, indent=2))
    else:
        _print_card(record, out)
    if shut is not None:
        raise shut


def _seen_before(bundle: Path, cohort: "Cohort") -> list[str]:
    """What of these images the model was trained on, in words; by patient and by name of the image."""
    from counterstain.audit.membership import MEMBERS, overlap, read_members

    if not (bundle / MEMBERS).is_file():
        return []
    table = cohort.table
    found = overlap(read_members(bundle), patient=tuple(table["patient_id"]), image=tuple(table["image_path"]))
    return [f"seen before: {line}" for line in found.words]


def _print_card(record: dict[str, Any], out: Path) -> None:
    """The losses as a table, the notes, and where the card is."""
    from counterstain.judging.tables import shown_interval
    from counterstain.reporting.robustness import headline, loss_rows
    from counterstain.terminal import print_table

    print(headline(record))
    rows = []
    for title, worse, first, turned in loss_rows(record):
        cells = []
        for step in (worse[1], worse[2], worse[4]):
            found = step["scores"]["auroc"]
            cells.append(f"{shown_interval(found['difference'], found['low'], found['high'])} at {step['shown']}")
        rows.append([title, *cells, "none found" if first is None else first["shown"], f"{100 * turned:.1f} %"])
    if rows:
        title = f"Change of AUROC and its 95 % interval, unit {record['unit']}"
        print_table(title, ["trial", "mild", "moderate", "severe", "first sure loss", "turned at moderate"], rows)
    for note in record["notes"]:
        print(f"Note: {note}")
    print(f"Card:  {out / 'robustness.html'}")


@contextmanager
def _watching() -> "Iterator[Sight]":
    """Bars with time left where stderr is a terminal, and a line at every tenth where it is not."""
    from counterstain.robustness.card import Sight
    from counterstain.terminal import progress_bars, say

    if not sys.stderr.isatty():
        yield Sight(say=say, predicted=_sparse())
        return
    with progress_bars() as (bars, tell):
        tasks: dict[str, Any] = {}

        def shown(name: str) -> Callable[[int, int], None]:
            def update(done: int, total: int) -> None:
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=total)
                bars.update(tasks[name], completed=done, total=total)

            return update

        yield Sight(say=tell, stored=shown("reading images"), predicted=shown("predicting"))


def _sparse() -> Callable[[int, int], None]:
    """Predictions made so far and the time left, at every tenth part."""
    import time

    from counterstain.terminal import say

    began: list[float] = []
    last = [0]

    def predicted(done: int, total: int) -> None:
        began[:] = began or [time.perf_counter()]  # reading comes before, and has another pace
        tenth = 10 * done // max(total, 1)
        if tenth > last[0] and done < total:
            left = (time.perf_counter() - began[0]) * (total - done) / done
            shown = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
            say(f"  {done:,} of {total:,} predictions, about {shown} left")
        last[0] = tenth

    return predicted

"""Verbs about finished runs: list them, hand them to a tracker, free what is no longer needed."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from counterstain.cli.options import Json, app, verb


@app.command()
@verb
def runs(
    folder: Annotated[Path, typer.Argument(help="Folder of runs, or one above; or one run.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List all runs, newest first: verdicts, and each arm's primary measure with its interval.

    Example: counterstain runs runs/
    """
    from counterstain.api.finished_runs import runs as list_runs
    from counterstain.terminal import print_table, print_wrapped

    listed = list_runs(folder)
    if as_json:
        print(listed.to_json())
        return
    if listed.rows:
        print_table("", *listed.table())
        print()
    for line in listed.summary().splitlines():
        print_wrapped(line)


@app.command()
@verb
def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    to: Annotated[str, typer.Option("--to", help="Tracker to write for: tensorboard, mlflow or wandb.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the tracker's files; by default tracking/ beside runs/.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a finished run to the files of TensorBoard, MLflow or Weights & Biases; nothing is sent anywhere.

    Example: counterstain publish runs/demo --to mlflow
    """
    import json

    from counterstain.api.finished_runs import publish as write

    place = write(run, to=to, out=out)
    print(json.dumps({"out": str(place)}) if as_json else place)


@app.command()
@verb
def clean(
    folder: Annotated[Path, typer.Argument(help="Folder of a study, with runs/ and store/, or one above.")] = Path(),
    stores: Annotated[bool, typer.Option(help="Remove decoded tiles; the next run creates them again.")] = True,
    runs: Annotated[
        bool, typer.Option(help="Remove finished runs that a newer run of the same study replaces.")
    ] = True,
    keep: Annotated[int, typer.Option(help="Number of finished runs of each study to keep.")] = 1,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking again.")] = False,
    as_json: Json = False,
) -> None:
    """Remove tile stores and old runs after listing them; unfinished runs are never touched.

    Example: counterstain clean . --no-runs
    """
    from counterstain.api.finished_runs import clean as clean_folder
    from counterstain.terminal import print_wrapped
    from counterstain.terminal_progress import say

    cleanup = clean_folder(folder, stores=stores, runs=runs, keep=keep)
    if not as_json:
        for line in cleanup.summary().splitlines():
            print_wrapped(line)
    asked = not yes and not as_json and cleanup.found and sys.stdin.isatty()
    if cleanup.found and (yes or (asked and typer.confirm("Remove them?"))):
        cleanup = clean_folder(folder, stores=stores, runs=runs, keep=keep, yes=True)
        say("removed")
    elif cleanup.found and not as_json:
        say("nothing was removed; add --yes to remove them")
    if as_json:
        print(cleanup.to_json())

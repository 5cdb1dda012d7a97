"""The verb that looks at the machine."""

import json
from pathlib import Path
from typing import Annotated

import typer

from counterstain.cli.common import Json, app, verb


@app.command()
@verb
def doctor(
    folder: Annotated[Path, typer.Argument(help="Where studies are to lie: its disk is looked at.")] = Path(),
    as_json: Json = False,
) -> None:
    """Check this machine: processor, memory, disk, versions, readers, and pixels that are known.

    Ends with exit code 3 where something will fail or be wrong. Put its output into a bug report.

    Example: counterstain doctor
    """
    from counterstain.study.doctor import doctor as look
    from counterstain.terminal import print_table

    health = look(folder)
    if as_json:
        print(json.dumps(health.record(), indent=2))
    else:
        marks = {"ok": "ok", "note": "note", "problem": "PROBLEM"}
        rows = [(check.name, marks[check.state], check.found) for check in health.checks]
        print_table("", ("check", "", "found"), rows, head=False)
        for check in health.checks:
            if check.advice and check.state != "ok":
                print(f"{check.name}: {check.advice}")
        print(health.summary())
    if not health:
        raise typer.Exit(3)

"""The verb that searches settings."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from counterstain.cli.common import Json, Set, app, assignment, verb


@app.command()
@verb
def search(
    study: Annotated[Path, typer.Argument(help="The study's YAML file, with a section `search`.")],
    trials: Annotated[int | None, typer.Option(help="How many in all; by default what the study says.")] = None,
    set_: Set = None,
    folder: Annotated[Path | None, typer.Option(help="Where runs/ and store/ are made.")] = None,
    as_json: Json = False,
) -> None:
    """Search settings of one arm on validation patients; writes the study with the best of them, to be run once.

    Goes on where an earlier search was stopped. The test part is not looked at.

    Example: counterstain search study.yaml --trials 20
    """
    from counterstain.study.search import search_settings
    from counterstain.terminal import talking

    with talking() as talk:
        found = search_settings(
            study, trials=trials, overrides=dict(assignment(text) for text in set_ or []), folder=folder, talk=talk
        )
    if as_json:
        print(json.dumps({**asdict(found), "study": str(found.study)}, indent=2))
        return
    print(f"{found.study}; run it once: counterstain run {found.study}")

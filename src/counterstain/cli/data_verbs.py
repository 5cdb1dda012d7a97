"""Public cohorts: which there are, fetching one, and checking one that was fetched."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counterstain.cli.options import Json, app, show, verb

if TYPE_CHECKING:
    from counterstain.datasets.catalogue import PublicCohort

data_app = typer.Typer(no_args_is_help=True, help="Public cohorts: list, fetch and check them.")
app.add_typer(data_app, name="data")


@data_app.command("list")
@verb
def data_list(
    name: Annotated[str | None, typer.Argument(help="Show only this cohort, with all its details.")] = None,
    as_json: Json = False,
) -> None:
    """Public cohorts with their size, licence, patient rule, and known defects.

    Example: counterstain data list breakhis
    """
    from counterstain.datasets.catalogue import COHORTS, public_cohort

    rows = list(COHORTS) if name is None else [public_cohort(name)]
    if as_json:
        show(json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False))
    elif name is None:
        for row in rows:
            show(f"{row.name:17} {row.title}")
            show(f"{'':17} licence: {row.licence}{'; fetched by hand' if row.by_hand else ''}")
        show("\npatient rule, defects and addresses of one: counterstain data list NAME")
    else:
        _print_row(rows[0])


def _print_row(row: "PublicCohort") -> None:
    from counterstain.terminal import print_table

    cells = [("page", row.page), ("paper", row.paper), ("licence", row.licence), ("patients", row.patients)]
    cells += [("split", row.split or "none is published")]
    cells += [("defect", words) for words in row.defects]
    cells += [("suspicious", row.alarm)] if row.alarm else []
    for file in row.files:
        cells.append(("file", f"{file.name} {file.checksum or 'no published checksum'}"))
        cells.append(("from", file.url or "by hand, then --from FOLDER"))
    if row.read_as:
        cells.append(("read by", f"counterstain cohort {row.name}/images {row.read_as}"))
    print_table(row.title, ("", ""), cells, head=False)


@data_app.command("fetch")
@verb
def data_fetch(
    name: Annotated[str, typer.Argument(help="Name, as in `data list`.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; by default named after the cohort.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder of files downloaded elsewhere; nothing is downloaded.")
    ] = None,
    manifest: Annotated[Path | None, typer.Option(help="For tcga: the manifest of the GDC portal.")] = None,
    unpack: Annotated[bool, typer.Option(help="Unpack archives into its folder images/.")] = True,
    as_json: Json = False,
) -> None:
    """Fetch a public cohort, check it against the published checksums, and unpack it; the same command resumes.

    Example: counterstain data fetch pathmnist --out pathmnist
    """
    from counterstain.datasets.catalogue import public_cohort
    from counterstain.datasets.fetch import fetch_cohort
    from counterstain.terminal_progress import say, talking

    row = public_cohort(name)
    for line in (row.title, f"licence: {row.licence}", f"patients: {row.patients}"):
        say(line)
    for words in row.defects:
        say(f"defect: {words}")
    with talking() as talk:
        fetched = fetch_cohort(name, out or Path(name), source=source, manifest=manifest, unpacked=unpack, talk=talk)
    say(fetched.summary())
    show(json.dumps(fetched.record(), indent=2) if as_json else fetched.folder)
    if row.read_as:
        images = fetched.folder / "images" if fetched.images else fetched.folder
        say(f"then: counterstain cohort {images} {row.read_as} --out {fetched.folder / 'cohort.csv'}")


@data_app.command("verify")
@verb
def data_verify(
    folder: Annotated[Path, typer.Argument(help="Folder written by `data fetch`.")],
    as_json: Json = False,
) -> None:
    """Check every file of a fetched cohort; exits with code 3 if one has changed or is missing.

    Example: counterstain data verify pathmnist
    """
    from counterstain.datasets.fetch import verify_cohort

    fetched = verify_cohort(folder)
    show(json.dumps(fetched.record(), indent=2) if as_json else fetched.summary())
    if not fetched:
        raise typer.Exit(3)

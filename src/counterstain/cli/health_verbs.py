"""Verbs that check: the machine, the bytes of a run or a model, and whether a run repeats."""

import json
from pathlib import Path
from typing import Annotated

import typer

from counterstain.cli.options import Arm, Json, app, show, verb

MOST_NAMED = 50  # of what could name a patient, without --json


@app.command()
@verb
def doctor(
    folder: Annotated[Path, typer.Argument(help="Folder for studies; its disk is checked.")] = Path(),
    as_json: Json = False,
) -> None:
    """Check this machine: processor, memory, disk, versions, image readers, and pixels against known values.

    Exits with code 3 if something would fail or give wrong results. Include its output in a bug report.

    Example: counterstain doctor
    """
    from counterstain.study.doctor import doctor as look
    from counterstain.terminal import print_table

    health = look(folder)
    if as_json:
        show(json.dumps(health.record(), indent=2))
    else:
        marks = {"ok": "ok", "note": "note", "problem": "PROBLEM"}
        rows = [(check.name, marks[check.state], check.found) for check in health.checks]
        print_table("", ("check", "", "found"), rows, head=False)
        for check in health.checks:
            if check.advice and check.state != "ok":
                show(f"{check.name}: {check.advice}")
        show(health.summary())
    if not health:
        raise typer.Exit(3)


@app.command()
@verb
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run, a model or an export.")],
    key: Annotated[
        str | None, typer.Option("--key", help="Public key, or file of them, one of which must have signed the list.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check the hash of every file of a run, a model or an export against its own list.

    Exits with code 3 if a file has changed or is missing, or no given key has signed the list.

    Example: counterstain verify runs/mystudy
    """
    from counterstain.study.verify import verify as check_files

    verification = check_files(folder, key)
    show(json.dumps(verification.record(), indent=2) if as_json else verification.summary())
    if not verification:
        raise typer.Exit(3)


@app.command()
@verb
def sign(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run, a model or an export.")],
    key: Annotated[Path, typer.Option("--key", help="Private Ed25519 key of OpenSSH, such as ~/.ssh/id_ed25519.")],
    as_json: Json = False,
) -> None:
    """Sign the hashes of a run, a model or an export, so that others can check where it comes from.

    The signature lies beside the list of hashes and is OpenSSH's: `verify --key` and ssh-keygen check it.

    Example: counterstain sign model/ --key id_ed25519
    """
    from counterstain.study.verify import sign as sign_files

    path = sign_files(folder, key)
    show(json.dumps({"signature": str(path)}, indent=2) if as_json else path)


@app.command()
@verb
def reproduce(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    data: Annotated[Path | None, typer.Option(help="Where the images or their table are now.")] = None,
    arm: Arm = None,
    evaluation: Annotated[
        bool, typer.Option("--evaluation", help="Repeat the evaluation only; this needs no images.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the repetition; it must not exist yet."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Repeat a finished run, and report whether it is bit-identical, within the spread, or different.

    Checks the run's files, lists differences between versions, repeats the run, and names the first difference.
    Exits with code 3 if the result is different.

    Example: counterstain reproduce runs/mystudy --evaluation
    """
    from counterstain.study.reproduce import reproduce as repeat
    from counterstain.terminal_progress import talking

    with talking() as talk:
        reproduction = repeat(run, data=data, arm=arm, evaluation=evaluation, out=out, talk=talk)
    show(json.dumps(reproduction.record(), indent=2) if as_json else reproduction.summary())
    if not reproduction:
        raise typer.Exit(3)


@app.command()
@verb
def privacy(
    path: Annotated[Path, typer.Argument(help="A folder (a cohort, an export, a run) or a file.")],
    as_json: Json = False,
) -> None:
    """Find what could identify a patient: dates, names and case numbers in file names, texts and image tags.

    Exits with code 3 if something looks like one. Finding nothing proves nothing.

    Example: counterstain privacy model/
    """
    from counterstain.audit.privacy import find_identifiers

    report = find_identifiers(path)
    if as_json:
        show(json.dumps(report.record(), indent=2, ensure_ascii=False))
    else:
        for identifier in report.found[:MOST_NAMED]:
            show(f"{identifier.kind:14} {identifier.text}  ({identifier.where} of {identifier.file})")
        if len(report.found) > MOST_NAMED:
            show(f"… and {len(report.found) - MOST_NAMED} more; --json has all")
        show(report.summary())
    if not report:
        raise typer.Exit(3)


@app.command()
@verb
def sbom(
    model: Annotated[Path | None, typer.Argument(help="Model or export to list with its hashes.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="File to write instead of printing.")] = None,
) -> None:
    """Software bill of materials (CycloneDX): every installed package with version and licence, and a model's files.

    Example: counterstain sbom model/ --out sbom.cdx.json
    """
    from counterstain.bill_of_materials import bill_of_materials
    from counterstain.files import write_json

    bill = bill_of_materials(model)
    if out is None:
        show(json.dumps(bill, indent=2, ensure_ascii=False))
    else:
        write_json(out, bill)
        show(out)

"""Verbs that check: the machine, a run, whether it repeats; and public cohorts."""

from pathlib import Path

from counterstain.audit.privacy import PrivacyReport, find_identifiers
from counterstain.bill_of_materials import bill_of_materials
from counterstain.datasets.catalogue import COHORTS, PublicCohort, public_cohort
from counterstain.datasets.fetch import FetchedCohort, fetch_cohort, verify_cohort
from counterstain.errors import says_arguments
from counterstain.files import StrPath, write_json
from counterstain.study.doctor import Health
from counterstain.study.doctor import doctor as look_at_machine
from counterstain.study.verify import Verification
from counterstain.study.verify import sign as sign_files
from counterstain.study.verify import verify as check_files

__all__ = ["data_fetch", "data_list", "data_verify", "doctor", "privacy", "sbom", "sign", "verify"]


@says_arguments
def doctor(folder: StrPath = ".") -> Health:
    """What this machine is ready for: processor, memory, disk, versions, readers, and pixels that are known.

    Args:
        folder: where studies are to lie.

    Returns:
        The checks; false where something will fail or be wrong.

    Example:
        >>> doctor().checks[0].name
        'Python'
    """
    return look_at_machine(folder)


@says_arguments
def sign(folder: StrPath, key: Path | str) -> Path:
    """Sign the hashes of a run, a model or an export, so that others can check where it comes from.

    Args:
        folder: a run, a model or an export, or its folder; it must be whole.
        key: private Ed25519 key of OpenSSH, without a passphrase.

    Returns:
        The signature's path, beside the list of hashes. ssh-keygen reads it, too.

    Raises:
        InputError: If files have changed, or it is no such key.
    """
    return sign_files(folder, key)


@says_arguments
def verify(folder: StrPath, key: Path | str | None = None) -> Verification:
    """Whether every file of a run, a model or an export has the hash that its own list says.

    Args:
        folder: a run, a model or an export, or its folder.
        key: public key, or file of them: one of them must have signed the list.

    Returns:
        Which files are whole, changed, missing or not listed, and who signed; false where one has changed or is
        missing, or no given key signed.

    Raises:
        InputError: If the folder has no list.
    """
    return check_files(folder, key)


@says_arguments
def data_list(name: str | None = None) -> tuple[PublicCohort, ...]:
    """The public cohorts: addresses, checksums, licence, patient rule, known defects.

    Args:
        name: only this one.

    Raises:
        InputError: If there is none of that name.

    Example:
        >>> [row.name for row in data_list()][:2]
        ['breakhis', 'pcam']
    """
    return COHORTS if name is None else (public_cohort(name),)


@says_arguments
def data_fetch(
    name: str,
    *,
    out: Path | str | None = None,
    source: StrPath | None = None,
    manifest: StrPath | None = None,
    unpack: bool = True,
    verbose: bool = False,
) -> FetchedCohort:
    """Fetch a public cohort, check it against the published checksums, and unpack it.

    Args:
        name: of the list.
        out: folder for it; by default one of its name.
        source: folder of files fetched elsewhere (--from on the command line); no address is asked.
        manifest: for tcga, the manifest of the GDC portal.
        unpack: unpack archives into the folder images/.
        verbose: show progress on stderr.

    Returns:
        The files with their SHA-256.

    Raises:
        InputError: If a file cannot be fetched, or is not the published one.
    """
    places = (None if source is None else Path(source), None if manifest is None else Path(manifest))
    folder = Path(name if out is None else out)
    if not verbose:
        return fetch_cohort(name, folder, source=places[0], manifest=places[1], unpacked=unpack)
    from counterstain.terminal_progress import talking

    with talking() as talk:
        return fetch_cohort(name, folder, source=places[0], manifest=places[1], unpacked=unpack, talk=talk)


@says_arguments
def data_verify(folder: StrPath) -> FetchedCohort:
    """Whether every file of a fetched cohort is still what it was; false where one has changed or is missing.

    Args:
        folder: that `data_fetch` wrote.

    Raises:
        InputError: If it holds no fetched cohort.
    """
    return verify_cohort(Path(folder))


@says_arguments
def privacy(path: StrPath) -> PrivacyReport:
    """What could name a patient in a folder or a file; true where nothing has the form of an identifier.

    Args:
        path: a folder (a cohort, an export, a run), one file, or a result that stands for one.

    Raises:
        InputError: If there is nothing.
    """
    return find_identifiers(path)


@says_arguments
def sbom(model: StrPath | None = None, *, out: Path | str | None = None) -> dict[str, object]:
    """Software bill of materials (CycloneDX 1.6) of this installation, and of a model.

    Args:
        model: a model or an export, or its folder, to be listed with its hashes.
        out: writes it there.

    Raises:
        InputError: If the folder holds no model.
    """
    bill = bill_of_materials(None if model is None else Path(model))
    if out is not None:
        write_json(Path(out), bill)
    return bill

"""Are the files of a finished run, a model or an export still those that were written?"""

from dataclasses import dataclass
from pathlib import Path

from counterstain.cohort.image_paths import LOCATION
from counterstain.errors import InputError
from counterstain.files import StrPath, hash_file, read_sums, refusal
from counterstain.run_folder import LOG, MANIFEST, RECORDS, listed_hashes, record_path
from counterstain.signatures import SUFFIX, check_signature, read_private_key, read_signers, sign_file

__all__ = ["Verification", "sign", "verify"]

SUMS = "SHA256SUMS"
SHOWN = 5  # names in a summary
NOT_LISTED = (LOG, LOCATION, SUMS, MANIFEST, SUMS + SUFFIX, MANIFEST + SUFFIX)


@dataclass(frozen=True)
class Verification:
    """What `verify` found; true where every listed file is whole, and the list is signed where that was asked for.

    place: the folder
    intact: how many files are as their list says
    changed, missing: files whose bytes differ from the list, or that are gone
    added: files that no list names; they are told, and are no fault
    signature: who signed the list, or why that is not known; "" where nobody asked and it is not signed
    signed: whether one of the given keys signed the list; None where none was given

    Example:
        >>> result = Verification("run", 12, ("scores.json",), (), ())
        >>> bool(result), result.summary()
        (False, 'run: 12 files are intact, 1 has changed (scores.json)')
    """

    place: str
    intact: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    signature: str = ""
    signed: bool | None = None

    def __bool__(self) -> bool:
        return not self.changed and not self.missing and self.signed is not False

    def __repr__(self) -> str:
        state = "whole" if self else f"{len(self.changed)} changed, {len(self.missing)} missing"
        return f"Verification({self.intact} intact; {state})"

    def summary(self) -> str:
        """One sentence with the counts, and the first names of what is wrong."""
        words = [f"{self.intact} {'file is' if self.intact == 1 else 'files are'} intact"]
        for names, singular, plural in (
            (self.changed, "has changed", "have changed"),
            (self.missing, "is missing", "are missing"),
            (self.added, "is not listed", "are not listed"),
        ):
            if names:
                words.append(f"{len(names)} {singular if len(names) == 1 else plural} ({_first(names)})")
        return f"{self.place}: {', '.join(words)}{f'; {self.signature}' if self.signature else ''}"

    def record(self) -> dict[str, object]:
        """The same as a record."""
        return {
            "schema": "counterstain.verification/1",
            "place": self.place,
            "whole": bool(self),
            "intact": self.intact,
            "changed": list(self.changed),
            "missing": list(self.missing),
            "added": list(self.added),
            "signature": self.signature,
            "signed": self.signed,
        }


def _first(names: tuple[str, ...]) -> str:
    more = "" if len(names) <= SHOWN else f" and {len(names) - SHOWN} more"
    return ", ".join(names[:SHOWN]) + more


def sign(folder: StrPath, key: Path | str) -> Path:
    """Sign the list of hashes of a finished run, a model or an export, and with it every file; returns the signature.

    Args:
        folder: of a run, a bundle or an export. It must be whole: nobody vouches for files that have changed.
        key: private Ed25519 key of OpenSSH.

    Raises:
        InputError: If the folder has no list, files have changed, or it is no such key.
    """
    private = read_private_key(Path(key).expanduser())
    verification = verify(folder)
    if not verification:
        raise InputError(f"{verification.summary()}; sign what is whole")
    return sign_file(_list_of(Path(folder)), private)


def verify(folder: StrPath, key: Path | str | None = None) -> Verification:
    """Hash every file of a finished run (records/run.json) or of a model or export (SHA256SUMS) against its list.

    Args:
        folder: of a run, a bundle or an export.
        key: public keys of those whose signature counts, or a file of them: the list must be signed by one.

    Raises:
        InputError: If the folder has neither list: it is none of the three, or it was not finished.
    """
    folder = Path(folder)
    place = _list_of(folder)
    listed = listed_hashes(folder) if place.name == MANIFEST else read_sums(place)
    states = {name: _whole(folder, name, digest) for name, digest in listed.items()}
    changed = tuple(name for name, state in states.items() if state is False)
    missing = tuple(name for name, state in states.items() if state is None)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    added = sorted(name for name in present - set(listed) if not _is_ours(name))
    signature, signed = _signature(place, key)
    intact = len(listed) - len(changed) - len(missing)
    return Verification(str(folder), intact, changed, missing, tuple(added), signature, signed)


def _list_of(folder: Path) -> Path:
    """The list of a folder's hashes."""
    for place in (record_path(folder, MANIFEST), folder / SUMS):
        if place.is_file():
            return place
    raise InputError(
        f"{folder} has neither {RECORDS}/{MANIFEST} nor {SUMS}; name the folder of a finished run, a model or an export"
    )


def _signature(place: Path, key: Path | str | None) -> tuple[str, bool | None]:
    """In words, and whether one of the keys made it; None where no key is given."""
    has_signature = place.with_name(place.name + SUFFIX).is_file()
    if key is None:
        return ("a signature is there: --key checks it" if has_signature else "", None)
    if not has_signature:
        return ("it is not signed", False)
    signer = check_signature(place, read_signers(key))
    if signer is None:
        return ("none of these keys made its signature", False)
    return (f"signed by {signer.name or 'a key without a name'} ({signer.fingerprint})", True)


def _is_ours(name: str) -> bool:
    """Whether a file that no list names is one that we leave out of it: logs, locks and the lists themselves."""
    last = name.rpartition("/")[2]
    return last in NOT_LISTED or last.startswith(".")


def _whole(folder: Path, name: str, digest: str) -> bool | None:
    """Whether a file's bytes are those listed; None where there is none."""
    path = folder / name
    try:
        return hash_file(path) == digest if path.is_file() else None
    except OSError as error:
        raise InputError(refusal(error, path)) from None

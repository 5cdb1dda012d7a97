"""Signatures of a file by an Ed25519 key, in OpenSSH's form: `ssh-keygen -Y` reads and writes the same."""

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from counterstain.errors import InputError
from counterstain.files import read_text, write_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["NAMESPACE", "SUFFIX", "Signer", "check_signature", "read_private_key", "read_signers", "sign_file"]

NAMESPACE = "counterstain"  # a signature for another purpose (git's, a letter's) is none of a model
SUFFIX = ".sig"
_MAGIC, _KIND, _LINE = b"SSHSIG", b"ssh-ed25519", 70
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_LARGEST = 1 << 16


@dataclass(frozen=True)
class Signer:
    """A public key and whose it is.

    blob: the key as OpenSSH sends it; name: the comment behind it, "" where there is none
    """

    blob: bytes
    name: str

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


def read_signers(key: Path | str) -> tuple[Signer, ...]:
    """The Ed25519 keys in a public key, or in a file of them: one per line, as in id_ed25519.pub or authorized_keys.

    Raises:
        InputError: If there is none.
    """
    text = str(key) if str(key).startswith("ssh-") else read_text(Path(key), what="public key", largest=_LARGEST)
    signers = []
    for line in text.splitlines():
        words = line.split()
        if "ssh-ed25519" not in words[:-1] or line.startswith("#"):
            continue
        at = words.index("ssh-ed25519")
        try:
            blob = base64.b64decode(words[at + 1], validate=True)
            kind, raw = _strings(blob, 2)
        except (binascii.Error, struct.error):
            continue
        if kind == _KIND and len(raw) == 32:
            name = " ".join(words[at + 2 :]) or " ".join(words[:at])  # behind it; in allowed_signers before it
            signers.append(Signer(blob, name))
    if not signers:
        raise InputError(
            f"there is no Ed25519 public key in {str(key)[:80]}; give a file such as ~/.ssh/id_ed25519.pub, or its "
            "text (ssh-ed25519 AAAA…); ssh-keygen -t ed25519 makes a pair"
        )
    return tuple(signers)


def read_private_key(key: Path) -> "Ed25519PrivateKey":
    """A private key of OpenSSH.

    Raises:
        InputError: If it is none, is of another kind, or has a passphrase.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    reason = "it is of another kind"
    try:
        private = load_ssh_private_key(key.read_bytes(), password=None)
        if isinstance(private, Ed25519PrivateKey):
            return private
    except OSError as error:
        raise InputError(f"{key} cannot be read ({error.strerror}); name a private key of OpenSSH") from None
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        reason = str(error).partition("\n")[0][:100]
    raise InputError(
        f"{key} cannot sign here ({reason}); take an Ed25519 key without a passphrase, or sign the list of hashes with "
        f"ssh-keygen -Y sign -n {NAMESPACE} -f {key}"
    )


def sign_file(path: Path, private: "Ed25519PrivateKey") -> Path:
    """Sign a file; returns PATH.sig, the same each time.

    Source:
        OpenSSH, PROTOCOL.sshsig; RFC 8032 (Ed25519).
    """
    blob = _packed(_KIND, private.public_key().public_bytes_raw())
    signature = _packed(_KIND, private.sign(_signed(path, b"sha512")))
    content = _MAGIC + struct.pack(">I", 1) + _packed(blob, NAMESPACE.encode(), b"", b"sha512", signature)
    text = base64.b64encode(content).decode()
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    out = path.with_name(path.name + SUFFIX)
    write_bytes(out, "\n".join([_BEGIN, *lines, _END]) + "\n")
    return out


def check_signature(path: Path, signers: tuple[Signer, ...]) -> Signer | None:
    """Who of the signers signed a file as it is, by PATH.sig; None where none of them did, or there is no signature.

    Raises:
        InputError: If the signature is damaged or for another purpose.
    """
    from cryptography.exceptions import InvalidSignature

    place = path.with_name(path.name + SUFFIX)
    if not place.is_file():
        return None
    blob, hashed, signature = _read_signature(place)
    signer = next((candidate for candidate in signers if candidate.blob == blob), None)
    if signer is None:
        return None
    try:
        _public(blob).verify(signature, _signed(path, hashed))
    except InvalidSignature:
        return None
    return signer


def _public(blob: bytes) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(_strings(blob, 2)[1])


def _read_signature(place: Path) -> tuple[bytes, bytes, bytes]:
    """The key, the name of the hash, and the signature itself."""
    text = read_text(place, what="signature", largest=_LARGEST)
    try:
        if not text.startswith(_BEGIN) or _END not in text:
            raise ValueError("it does not begin as one")
        content = base64.b64decode("".join(text[len(_BEGIN) : text.index(_END)].split()), validate=True)
        if content[:10] != _MAGIC + struct.pack(">I", 1):
            raise ValueError("it is of another version")
        blob, namespace, _, hashed, outer = _strings(content[10:], 5)
        kind, signature = _strings(outer, 2)
        if kind != _KIND or hashed not in _HASHES:
            raise ValueError(f"it is by {kind.decode('ascii', 'replace')}, and Ed25519 is needed")
    except (binascii.Error, struct.error, ValueError) as error:
        raise InputError(
            f"{place} is no signature that can be checked ({error}); have the folder signed again"
        ) from None
    if namespace != NAMESPACE.encode():
        raise InputError(
            f"{place} was made for '{namespace.decode('ascii', 'replace')}', not for {NAMESPACE}; sign with "
            f"counterstain sign, or ssh-keygen -Y sign -n {NAMESPACE}"
        )
    return blob, hashed, signature


def _signed(path: Path, hashed: bytes) -> bytes:
    """The bytes that are signed: the purpose and the hash of the file."""
    return _MAGIC + _packed(NAMESPACE.encode(), b"", hashed, _HASHES[hashed](path.read_bytes()).digest())


def _packed(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _strings(data: bytes, count: int) -> tuple[bytes, ...]:
    """So many length-prefixed strings, and nothing after them."""
    return tuple(_each_string(data, count))


def _each_string(data: bytes, count: int) -> Iterator[bytes]:
    at = 0
    for _ in range(count):
        (length,) = struct.unpack_from(">I", data, at)
        at += 4 + length
        if at > len(data):
            raise struct.error("it is cut off")
        yield data[at - length : at]
    if at != len(data):
        raise struct.error("something stands behind it")

"""Signed hashes: OpenSSH's own program signs what we check, and checks what we sign."""

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ssh_keys import pair

pytest.importorskip("cryptography", reason="the extra sign is not installed")

import counterstain
from counterstain.cli import app
from counterstain.errors import InputError
from counterstain.files import hash_file, write_json
from counterstain.signatures import check_signature, read_private_key, read_signers, sign_file

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a list of hashes, which is all that is signed."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    (folder / "SHA256SUMS").write_text(f"{hash_file(folder / 'weights.bin')}  weights.bin\n")
    return folder


def test_who_signed_is_said_and_who_did_not_is_no(model: Path, tmp_path: Path) -> None:
    anna, ben = pair(tmp_path, "anna"), pair(tmp_path, "ben")
    assert counterstain.verify(model).signature == ""
    unsigned = counterstain.verify(model, f"{anna}.pub")
    assert not unsigned and "is not signed" in unsigned.summary()
    assert counterstain.sign(model, anna) == model / "SHA256SUMS.sig"
    signed = counterstain.verify(model, f"{anna}.pub")
    assert signed and signed.signed and signed.added == () and "signed by anna@lab (SHA256:" in signed.summary()
    other = counterstain.verify(model, f"{ben}.pub")
    assert not other and "none of these keys" in other.summary()
    both = (tmp_path / "ben.pub").read_text() + (tmp_path / "anna.pub").read_text()
    (tmp_path / "trusted").write_text("# of our lab\n" + both)
    assert counterstain.verify(model, tmp_path / "trusted")
    assert counterstain.verify(model, (tmp_path / "anna.pub").read_text())  # the key itself, as on a web page
    unasked = counterstain.verify(model)
    assert unasked and unasked.signed is None and "--key checks it" in unasked.summary()


def test_a_changed_file_and_a_changed_list_are_both_found(model: Path, tmp_path: Path) -> None:
    anna = pair(tmp_path, "anna")
    counterstain.sign(model, anna)
    (model / "weights.bin").write_bytes(b"other weights")
    changed = counterstain.verify(model, f"{anna}.pub")
    assert not changed and changed.changed == ("weights.bin",) and changed.signed
    # Who changes the list along with the file passes without a key, and is found by it.
    (model / "SHA256SUMS").write_text(f"{hash_file(model / 'weights.bin')}  weights.bin\n")
    assert counterstain.verify(model) and not counterstain.verify(model, f"{anna}.pub")


def test_nobody_signs_what_has_changed(model: Path, tmp_path: Path) -> None:
    (model / "weights.bin").write_bytes(b"")
    with pytest.raises(InputError, match="has changed"):
        counterstain.sign(model, pair(tmp_path, "anna"))
    assert not (model / "SHA256SUMS.sig").exists()


def test_a_run_is_signed_at_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "run" / "records").mkdir(parents=True)
    (tmp_path / "run" / "scores.json").write_text("{}")
    digest = hash_file(tmp_path / "run" / "scores.json")
    write_json(tmp_path / "run" / "records" / "run.json", {"files": {"scores.json": digest}})
    anna = pair(tmp_path, "anna")
    assert counterstain.sign(tmp_path / "run", anna).name == "run.json.sig"
    found = counterstain.verify(tmp_path / "run", f"{anna}.pub")
    assert found and found.signed and found.added == ()


@needs_ssh
def test_openssh_accepts_our_signature(model: Path, tmp_path: Path) -> None:
    anna = pair(tmp_path, "anna")
    path = counterstain.sign(model, anna)
    (tmp_path / "allowed").write_text(f"anna@lab {(tmp_path / 'anna.pub').read_text()}")
    command = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        tmp_path / "allowed",
        "-I",
        "anna@lab",
        "-n",
        "counterstain",
        "-s",
        path,
    ]
    with (model / "SHA256SUMS").open("rb") as stream:
        found = subprocess.run(command, stdin=stream, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert 'Good "counterstain" signature for anna@lab' in found.stdout
    [signer] = read_signers(tmp_path / "anna.pub")
    assert signer.fingerprint in found.stdout  # as it shows it
    assert read_signers(tmp_path / "allowed") == (signer,)


@needs_ssh
@pytest.mark.parametrize("hashed", ["sha256", "sha512"])
def test_we_accept_the_signature_of_openssh(model: Path, tmp_path: Path, hashed: str) -> None:
    """With a key of its own making, by both of its hashes."""
    key = tmp_path / "id"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ben@lab", "-f", key]
    subprocess.run(make, check=True)
    command = [
        "ssh-keygen",
        "-Y",
        "sign",
        "-n",
        "counterstain",
        "-O",
        f"hashalg={hashed}",
        "-f",
        key,
        model / "SHA256SUMS",
    ]
    subprocess.run(command, check=True, capture_output=True)
    found = counterstain.verify(model, f"{key}.pub")
    assert found and "signed by ben@lab" in found.summary()


@needs_ssh
def test_a_signature_for_another_purpose_is_none(model: Path, tmp_path: Path) -> None:
    anna = pair(tmp_path, "anna")
    command = ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", anna, model / "SHA256SUMS"]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(InputError, match="made for 'git'"):
        counterstain.verify(model, f"{anna}.pub")


@needs_ssh
@pytest.mark.parametrize("options", [("-t", "ed25519", "-N", "secret"), ("-t", "ecdsa", "-N", "")])
def test_a_key_that_cannot_sign_here_is_told_what_can(model: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    subprocess.run(["ssh-keygen", "-q", *options, "-f", tmp_path / "id"], check=True)
    with pytest.raises(InputError, match="ssh-keygen -Y sign -n counterstain"):
        counterstain.sign(model, tmp_path / "id")


@pytest.mark.parametrize("where", ["key", "namespace", "hash", "signature", "cut", "tail", "no armour", "empty"])
def test_a_damaged_signature_is_never_a_good_one(model: Path, tmp_path: Path, where: str) -> None:
    """A bit is flipped in each part, or the text is cut: an error or no signer, never a traceback."""
    anna = pair(tmp_path, "anna")
    path = counterstain.sign(model, anna)
    lines = path.read_text().splitlines()
    content = bytearray(base64.b64decode("".join(lines[1:-1])))
    at = {"key": 40, "namespace": 68, "hash": 82, "signature": 130}.get(where)
    if at is not None:
        content[at] ^= 1
    elif where == "cut":
        del content[-5:]
    elif where == "tail":
        content += b"\0"
    text = "\n".join([lines[0], base64.b64encode(content).decode(), lines[-1]])
    path.write_text({"no armour": "".join(lines[1:-1]), "empty": ""}.get(where, text))
    try:
        assert not counterstain.verify(model, f"{anna}.pub")
    except InputError as error:
        assert "SHA256SUMS.sig" in str(error)


@pytest.mark.parametrize(
    "text", ["", "ssh-rsa AAAA anna", "ssh-ed25519 AAAA anna", "ssh-ed25519 !!! anna", "ssh-ed25519"]
)
def test_what_is_no_public_key(model: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    (model / "SHA256SUMS.sig").write_text("")
    with pytest.raises(InputError, match="no Ed25519 public key"):
        counterstain.verify(model, tmp_path / "keys")


def test_the_same_key_signs_to_the_same_bytes(model: Path, tmp_path: Path) -> None:
    private = read_private_key(pair(tmp_path, "anna"))
    first = sign_file(model / "SHA256SUMS", private).read_bytes()
    assert sign_file(model / "SHA256SUMS", private).read_bytes() == first
    assert check_signature(model / "SHA256SUMS", read_signers(tmp_path / "anna.pub")) is not None


def test_the_commands_end_with_3_where_the_key_is_anothers(model: Path, tmp_path: Path) -> None:
    run, anna, ben = CliRunner(), pair(tmp_path, "anna"), pair(tmp_path, "ben")
    assert run.invoke(app, ["sign", str(model), "--key", str(anna)]).exit_code == 0
    assert run.invoke(app, ["verify", str(model), "--key", f"{anna}.pub"]).exit_code == 0
    done = run.invoke(app, ["verify", str(model), "--key", f"{ben}.pub", "--json"])
    assert done.exit_code == 3 and '"signed": false' in done.stdout

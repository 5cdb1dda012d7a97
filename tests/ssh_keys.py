"""Keys to sign with."""

from pathlib import Path


def pair(folder: Path, name: str) -> Path:
    """A private key of OpenSSH with its public one beside it, made by another library than ssh-keygen."""
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    path = folder / name
    path.write_bytes(private.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.OpenSSH, forms.NoEncryption()))
    path.chmod(0o600)
    public = private.public_key().public_bytes(forms.Encoding.OpenSSH, forms.PublicFormat.OpenSSH)
    path.with_name(f"{name}.pub").write_text(f"{public.decode()} {name}@lab\n")
    return path

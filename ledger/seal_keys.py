"""The keys that blocks are signed with: Ed25519, outside the database, so that whoever can change facts cannot seal them again.

The private key is SEAL_KEY or `seal.key` in the data folder; public keys of all times are in `seal-keys/`, one file each.
"""

import base64
import binascii
import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from ledger.errors import SealRefused

SEED_BYTES = 32
KEY_ID_DIGITS = 32
KEY_FILE = "seal.key"
PUBLIC_FOLDER = "seal-keys"

PublicKeys = Mapping[str, bytes]
"""Raw public keys, 32 bytes each, by key id."""


class SealKey:
    """A private key, and the names by which its signatures are known."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self.id = id_of(self.public)

    def sign(self, data: bytes) -> bytes:
        return self._private.sign(data)


def id_of(public: bytes) -> str:
    """The id of a public key: the first 32 hex digits of its SHA-256."""
    return sha256(public).hexdigest()[:KEY_ID_DIGITS]


def is_signed(public: bytes, signature: bytes, data: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def key_from(text: str) -> SealKey:
    """A key as SEAL_KEY or its file has it: PEM (PKCS 8), or the 32 bytes of its seed in base64. Raises SealRefused."""
    text = text.strip().replace("\\n", "\n")
    try:
        if text.startswith("-----BEGIN"):
            private = load_pem_private_key(text.encode(), password=None)
            if isinstance(private, Ed25519PrivateKey):
                return SealKey(private)
        else:
            seed = base64.b64decode(text, validate=True)
            if len(seed) == SEED_BYTES:
                return SealKey(Ed25519PrivateKey.from_private_bytes(seed))
    except (ValueError, TypeError, binascii.Error):
        pass
    raise SealRefused(
        "the seal key is none: expected an Ed25519 private key as PEM, or the 32 bytes of its seed in base64"
    )


def seal_key(folder: Path, secret: str = "", *, new: bool = False, kept: bool = True) -> SealKey:
    """The key to seal with: `secret` (SEAL_KEY), else `folder/seal.key`, which is made (0600) when it is not there and `new`.

    `kept`: its public key goes to `folder/seal-keys`, so that what it signs can be checked when another key has taken its place.
    Raises SealRefused when there is none, or it cannot be read.
    """
    key = key_from(secret) if secret else _key_of_file(folder, new=new)
    if kept:
        remember(folder, key.public)
    return key


def make_key(folder: Path) -> SealKey:
    """A new key in the place of the one that is there, whose public key stays in `seal-keys`."""
    path = folder / KEY_FILE
    if path.exists():
        with suppress(SealRefused):  # one that cannot be read has signed nothing that could be checked
            remember(folder, key_from(path.read_text()).public)
    _written(folder, KEY_FILE, _fresh_pem()).replace(path)
    return seal_key(folder)


def _key_of_file(folder: Path, *, new: bool) -> SealKey:
    path = folder / KEY_FILE
    if new and not path.exists():
        _keep(folder, KEY_FILE, _fresh_pem())
    try:
        text = path.read_text()
    except OSError as error:
        raise SealRefused(
            f"{path} is missing, and SEAL_KEY is not set: restore it from your back-up, or begin a new key "
            "with `veloera ledger seal-key --new`"
        ) from error
    return key_from(text)


def _fresh_pem() -> bytes:
    private = Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def remember(folder: Path, public: bytes) -> None:
    """Trust a public key here from now on."""
    keys = folder / PUBLIC_FOLDER
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (keys / f"{id_of(public)}.pub").exists():
        _keep(keys, f"{id_of(public)}.pub", pem_of(public).encode())


def pem_of(public: bytes) -> str:
    """A public key as PEM, for `--trust` and for other tools."""
    key = Ed25519PublicKey.from_public_bytes(public)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def public_from(text: str) -> bytes:
    """A public key from its PEM. Raises SealRefused."""
    try:
        key = load_pem_public_key(text.encode())
    except ValueError as error:
        raise SealRefused("not a public key: expected PEM, as `veloera ledger seal-key` prints it") from error
    if not isinstance(key, Ed25519PublicKey):
        raise SealRefused("not an Ed25519 public key")
    return key.public_bytes_raw()


def trusted(folder: Path | None, files: Iterable[Path] = ()) -> dict[str, bytes]:
    """The public keys whose signatures count: those in `folder/seal-keys`, and those in `files`. Raises SealRefused."""
    kept = sorted((folder / PUBLIC_FOLDER).glob("*.pub")) if folder is not None else []
    keys: dict[str, bytes] = {}
    for path in [*kept, *files]:
        try:
            public = public_from(path.read_text())
        except (OSError, UnicodeDecodeError, SealRefused) as error:
            raise SealRefused(f"{path}: {error}") from error
        keys[id_of(public)] = public
    return keys


def _keep(folder: Path, name: str, content: bytes) -> None:
    """A file that appears whole, and once: who comes second finds the first one's."""
    made = _written(folder, name, content)
    try:
        with suppress(FileExistsError):
            os.link(made, folder / name)
    finally:
        made.unlink()


def _written(folder: Path, name: str, content: bytes) -> Path:
    """A private file with a name that nobody reads yet, on the disk. The data folder of a ledger on a server may not be there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = folder / f"{name}.{secrets.token_hex(8)}"
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return made

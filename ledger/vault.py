"""What is secret or personal: sealed beside the ledger, named by reference in its facts. Erasing an entry leaves the log whole.

Two random keys are made once for a ledger, the data key (AES-256-GCM over entries) and the id key (HMAC names of usernames and
API keys), and stored wrapped by a key from the operator's secret: rotating the secret re-wraps two keys, nothing else.
"""

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.commands import VaultPut
from ledger.errors import StoreRefused
from ledger.store import LedgerStore

NONCE_BYTES = 12
KEY_BYTES = 32
HMAC_BLOCK_BYTES = 64
DATA_KEY = "data_key"
ID_KEY = "id_key"


class Vault:
    """Seals and opens entries, and names what must not be named."""

    def __init__(self, store: LedgerStore, data_key: bytes, id_key: bytes) -> None:
        self._store = store
        self._cipher = AESGCM(data_key)
        self._id_key = id_key
        padded = id_key.ljust(HMAC_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def put(self, secret: bytes | str) -> VaultPut:
        """Seal a secret under a new reference, to go with the command whose fact names it."""
        ref = secrets.token_hex(16)
        return VaultPut(ref, _seal(self._cipher, ref, secret.encode() if isinstance(secret, str) else secret))

    def get(self, ref: str) -> bytes | None:
        """The secret under a reference; None when it was erased. Raises StoreRefused for a damaged entry."""
        sealed = self._store.secret(ref) if ref else None
        return None if sealed is None else _open(self._cipher, ref, sealed)

    def text(self, ref: str) -> str:
        """The secret as text; "" when it was erased."""
        return (self.get(ref) or b"").decode()

    def digest(self, purpose: str, value: str) -> str:
        """The name of a secret: HMAC-SHA256 under the id key, hex. `purpose` keeps usernames and keys apart.

        Asked for on every call: from the two half-done hashes, which (unlike hmac.digest) keep the interpreter to themselves.
        """
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(f"{purpose}:{value}".encode())
        outer.update(inner.digest())
        return outer.hexdigest()

    def session_key(self) -> bytes:
        """A key for signing sessions, the same in every process of this ledger."""
        return hmac.digest(self._id_key, b"session", "sha256")


def open_vault(store: LedgerStore, folder: Path, secret: str = "") -> Vault:
    """Open the vault of a ledger, making its keys on first use.

    `secret` is CRYPTO_SECRET; without it `folder/secret.key` is used, and made (0600) for a new ledger.
    Raises StoreRefused when the secret is not the one that the keys were wrapped with.
    """
    material = secret.encode() if secret else secret_file(folder, new=not store.keyring())
    wrapping = AESGCM(hashlib.scrypt(material, salt=b"veloera vault", n=2**12, r=8, p=1, dklen=KEY_BYTES))
    if not store.keyring():
        fresh = {name: _seal(wrapping, name, secrets.token_bytes(KEY_BYTES)) for name in (DATA_KEY, ID_KEY)}
        store.add_to_keyring(fresh)
    ring = store.keyring()
    try:
        return Vault(store, _open(wrapping, DATA_KEY, ring[DATA_KEY]), _open(wrapping, ID_KEY, ring[ID_KEY]))
    except StoreRefused as error:
        raise StoreRefused(
            "this ledger was made with another secret: set CRYPTO_SECRET (or data/secret.key) to the one it was made with"
        ) from error


def secret_file(folder: Path, *, new: bool) -> bytes:
    """The secret kept beside an embedded ledger. Raises StoreRefused when it should be there and is not."""
    path = folder / "secret.key"
    if new and not path.exists():
        # Written whole under another name first: who comes second must never read a file that is still empty.
        made = folder / f"secret.key.{secrets.token_hex(8)}"
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_hex(KEY_BYTES).encode())
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(made, path)
        finally:
            made.unlink()
    return _read_secret(path)


def _read_secret(path: Path) -> bytes:
    try:
        text = path.read_bytes().strip()
    except OSError as error:
        raise StoreRefused(f"{path} is missing, and CRYPTO_SECRET is not set: the vault cannot be opened") from error
    if not text:
        raise StoreRefused(f"{path} is empty: restore it from your back-up")
    return text


def _seal(cipher: AESGCM, ref: str, secret: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, secret, ref.encode())


def _open(cipher: AESGCM, ref: str, sealed: bytes) -> bytes:
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], ref.encode())
    except (InvalidTag, ValueError) as error:
        raise StoreRefused(f"vault entry {ref} does not open with this ledger's key") from error

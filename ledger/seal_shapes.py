"""Facts and seals in JSON, for archives and proofs: one way to write each, so that two texts that differ are not the same thing.

Hashes, keys and signatures are lower-case hex; stored bytes are text where they are UTF-8, else base64.
"""

import base64
import binascii

import msgspec

from ledger.merkle import HASH_BYTES
from ledger.store import Seal

SIGNATURE_BYTES = 64
PUBLIC_BYTES = 32


class BlockShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A seal."""

    number: int
    first: int
    last: int
    facts: int
    at_ms: int
    root: str
    previous: str
    key_id: str
    signature: str


def shape_of(seal: Seal) -> BlockShape:
    return BlockShape(
        number=seal.number,
        first=seal.first,
        last=seal.last,
        facts=seal.facts,
        at_ms=seal.at,
        root=seal.root.hex(),
        previous=seal.previous.hex(),
        key_id=seal.key_id,
        signature=seal.signature.hex(),
    )


def seal_of(block: BlockShape) -> Seal:
    """Raises ValueError."""
    return Seal(
        number=whole(block.number),
        first=whole(block.first),
        last=whole(block.last),
        facts=whole(block.facts),
        root=unhex(block.root, HASH_BYTES),
        previous=unhex(block.previous, HASH_BYTES),
        key_id=block.key_id,
        signature=unhex(block.signature, SIGNATURE_BYTES),
        at=whole(block.at_ms),
    )


def whole(number: int) -> int:
    """A number that a database can hold. Raises ValueError."""
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{number} has more than 64 bits")
    return number


def unhex(text: str, size: int) -> bytes:
    """Raises ValueError for anything but the one way to write these bytes."""
    data = bytes.fromhex(text)
    if len(data) != size or data.hex() != text:
        raise ValueError(f"expected {size} bytes as {2 * size} lower-case hex digits")
    return data


def texts_of(data: bytes) -> tuple[str, str]:
    """Bytes as text, or else as base64: one of the two is empty."""
    try:
        return data.decode(), ""
    except UnicodeDecodeError:
        return "", base64.b64encode(data).decode()


def bytes_of(text: str, coded: str) -> bytes:
    """Raises ValueError for anything that `texts_of` does not write."""
    try:
        data = base64.b64decode(coded, validate=True) if coded else text.encode()
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
    if texts_of(data) != (text, coded):
        raise ValueError("stored bytes are text where they are UTF-8, else base64, in the usual way")
    return data

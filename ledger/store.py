"""What the rest of the house may ask of a store, whichever database is behind it.

`commit` is atomic: every command of the batch is decided on the balances and streams as they are, and facts, balances,
holds and vault entries are written together or not at all.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from domain.books import Guard, Result
from domain.commands import Command
from domain.streams import StreamId
from ledger.mapper import Recorded


class OpenHold(NamedTuple):
    """A charge that has not ended: what the reaper needs to end it."""

    charge: StreamId
    user: int
    key: int
    capped: bool
    amount: int
    """Mills, extensions included."""
    extensions: int
    node: str
    epoch: str
    deadline: int
    """ms, by the ledger's clock."""


class StoredFact(NamedTuple):
    """A fact as it is stored, bytes and all: what `verify` reads."""

    position: int
    stream: StreamId
    version: int
    topic: str
    state: bytes


class Seal(NamedTuple):
    """A block of consecutive facts that can no longer change unseen: positions after the last block's up to `last`."""

    number: int
    """1 for the first block."""
    first: int
    last: int
    """Positions of its first and last fact."""
    facts: int
    root: bytes
    """Merkle root over the stored bytes of its facts, 32 bytes."""
    previous: bytes
    """Hash of the block before it, 32 bytes; zeros before the first."""
    key_id: str
    signature: bytes
    """Ed25519, 64 bytes, by a key that the database does not hold."""
    at: int
    """ms"""


class Session(NamedTuple):
    """Somebody who is logged in to the console. Not a fact: it may be forgotten, and is no money."""

    digest: str
    """HMAC of the session's secret, hex."""
    user: int
    began_at_ms: int
    expires_at_ms: int


class Lead(Protocol):
    """One process of all that share a ledger has it. It is lost with the process, and with the connection to a server."""

    def is_held(self) -> bool: ...

    def close(self) -> None: ...


class LedgerReader(Protocol):
    """What can be read of a ledger. Methods block and may be called by any thread."""

    def head(self) -> int:
        """The position of the last fact; 0 when there is none."""
        ...

    def read_stream(self, stream: StreamId) -> list[Recorded]: ...

    def read_log(self, after: int, limit: int, *, without_charges: bool = False) -> list[Recorded]:
        """Facts after a position, oldest first. `without_charges` leaves the `charge.*` facts out, by an index."""
        ...

    def read_stored(self, after: int, limit: int) -> list[StoredFact]:
        """Facts after a position as they are stored; after -2^63 - 1 there is nothing that it does not show."""
        ...

    def balance(self, account: str) -> Guard | None: ...

    def balances(self) -> Iterator[tuple[str, Guard]]:
        """All guarded accounts, by name."""
        ...

    def open_holds(self, *, limit: int = 1000, after: StreamId = "") -> list[OpenHold]: ...

    def secret(self, ref: str) -> bytes | None:
        """A sealed vault entry; None when it was erased or never was."""
        ...

    def secrets(self, after: str, limit: int) -> list[tuple[str, bytes]]:
        """Sealed vault entries with a reference above `after`, in order."""
        ...

    def keyring(self) -> dict[str, bytes]:
        """The wrapped keys of the vault, by name."""
        ...

    def broken_streams(self) -> list[StreamId]:
        """Streams whose versions are not 1, 2, 3 ...: at most a hundred of them."""
        ...

    def read_seals(self, after: int, limit: int) -> list[Seal]:
        """Seals with a number above `after`, in order; above -2^63 - 1 are all of them."""
        ...

    def last_seal(self) -> Seal | None: ...


class LedgerStore(LedgerReader, Protocol):
    """An append-only ledger. `commit` is called by one thread at a time."""

    def commit(self, batch: Sequence[Command]) -> list[Result]:
        """Decide and write a batch in one transaction. Raises LedgerUnavailable when the database cannot be written."""
        ...

    def add_to_keyring(self, entries: dict[str, bytes]) -> None:
        """Store wrapped keys that are not there yet; those that are stay as they are."""
        ...

    def snapshot(self) -> AbstractContextManager[LedgerReader]:
        """The ledger as it is at one moment, for reads that take long."""
        ...

    def version_of_data(self) -> int:
        """A number that changes when another connection has committed. Cheap enough to ask a hundred times a second."""
        ...

    def append_seal(self, seal: Seal) -> bool:
        """False, and nothing written, when a block of that number is there. Seals are never changed or deleted."""
        ...

    def lead(self, name: str) -> Lead | None:
        """Take the lead in something that one process of all does; None while another has it."""
        ...

    def put_session(self, session: Session) -> None: ...

    def session(self, digest: str) -> Session | None:
        """A session that was not ended, whether it has expired or not."""
        ...

    def end_session(self, digest: str) -> bool:
        """False when there was none."""
        ...

    def end_sessions_of(self, user_id: int) -> int:
        """End all sessions of a user; how many there were."""
        ...

    def forget_sessions(self, before_ms: int, limit: int = 1000) -> int:
        """Remove at most `limit` sessions that expired before a moment; how many were removed."""
        ...

    def close(self) -> None: ...

"""What may go wrong in the store. None of these changed anything that was acknowledged.

LedgerError
    LedgerUnavailable      the database cannot be written now (disk full, locked, gone); try again later
        QueueFull          more commands wait than the writer's bound
    LedgerClosed           the writer is shutting down
    StoreRefused           this place cannot hold a ledger (network file system, newer schema, wrong secret)
    UnknownFact            a stored topic that this version does not know: stop, never skip
"""


class LedgerError(Exception):
    """The root of this folder's errors."""


class LedgerUnavailable(LedgerError):
    """The database cannot be written now."""


class QueueFull(LedgerUnavailable):
    """More commands wait than the writer's bound."""


class LedgerClosed(LedgerError):
    """The writer is shutting down and takes no more commands."""


class StoreRefused(LedgerError):
    """This place cannot hold a ledger, or not with these settings."""


class UnknownFact(LedgerError):
    """A topic that this version does not know."""

"""What may go wrong in the store. None of these changed anything that was acknowledged.

LedgerError
    LedgerUnavailable      the database cannot be written now (disk full, locked, gone); try again later
        QueueFull          more commands wait than the writer's bound
        SpoolFull          the spool's bound or its disk is reached: the end of a call could not be kept
    LedgerClosed           the writer is shutting down
    StoreRefused           this place cannot hold a ledger (network file system, newer schema, wrong secret)
        NotEmpty           an archive is read into an empty ledger only
    UnknownFact            a stored topic that this version does not know: stop, never skip
    SealRefused            there is no key to seal with, or the blocks are not those that were sealed here
    ArchiveBroken          a file is not the archive that was written, or not whole
    ProofBroken            a proof does not prove what it states
"""


class LedgerError(Exception):
    """The root of this folder's errors."""


class LedgerUnavailable(LedgerError):
    """The database cannot be written now."""


class QueueFull(LedgerUnavailable):
    """More commands wait than the writer's bound."""


class SpoolFull(LedgerUnavailable):
    """The spool cannot keep more: its bound is reached, or its disk cannot be written."""


class LedgerClosed(LedgerError):
    """The writer is shutting down and takes no more commands."""


class StoreRefused(LedgerError):
    """This place cannot hold a ledger, or not with these settings."""


class UnknownFact(LedgerError):
    """A topic that this version does not know."""


class NotEmpty(StoreRefused):
    """An archive is read into an empty ledger only."""


class SealRefused(LedgerError):
    """There is no key to seal with, or the blocks are not those that were sealed here."""


class ArchiveBroken(LedgerError):
    """A file is not the archive that was written, or not whole."""


class ProofBroken(LedgerError):
    """A proof does not prove what it states."""

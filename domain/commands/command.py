"""What every command has: the streams and guarded accounts that its decision reads, and secrets to store in its commit."""

import msgspec

from domain.streams import StreamId


class VaultPut(msgspec.Struct, frozen=True):
    """A secret, sealed by the vault, to be stored in the commit of the fact that names it."""

    ref: str
    sealed: bytes


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Something asked of the ledger."""

    vault: tuple[VaultPut, ...] = ()
    vault_delete: tuple[str, ...] = ()

    def streams(self) -> tuple[StreamId, ...]:
        """The streams whose history the decision reads."""
        raise AssertionError("every command names its streams")

    def accounts(self) -> tuple[str, ...]:
        """The guarded accounts whose balance the decision reads."""
        return ()

    @property
    def weight_bytes(self) -> int:
        """About how much it adds to a commit."""
        return 512 + sum([len(put.sealed) for put in self.vault]) if self.vault else 512

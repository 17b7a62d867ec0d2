"""How a ledger stands: the balance and floor of every guarded account, and the open holds, folded from facts alone."""

from collections.abc import Iterable
from hashlib import sha256

from domain.accounts import is_guarded
from domain.books import EMPTY, Guard
from domain.events import ChargeExpired, ChargeExtended, ChargeHeld, ChargeReleased, ChargeSettled, Fact
from domain.streams import StreamId
from ledger.errors import ArchiveBroken
from ledger.store import LedgerReader, OpenHold

_MODULUS = 1 << 256


class Standing:
    """What facts leave, one after the other in their order. Memory: a row for each account and each open hold."""

    def __init__(self) -> None:
        self.balances: dict[str, Guard] = {}
        self.holds: dict[StreamId, OpenHold] = {}

    def fold(self, stream: StreamId, fact: Fact) -> None:
        """Raises ArchiveBroken where a hold grows that is not open."""
        for account, delta in fact.postings:
            if is_guarded(account):
                balance, floor = self.balances.get(account, EMPTY)
                self.balances[account] = Guard(balance + delta, floor)
        for account, floor in fact.floors:
            self.balances[account] = Guard(self.balances.get(account, EMPTY).balance, floor)
        if isinstance(fact, ChargeHeld):
            self.holds[stream] = OpenHold(
                stream, fact.user, fact.key, fact.capped, fact.amount, 0, fact.node, fact.epoch, fact.deadline
            )
        elif isinstance(fact, ChargeExtended):
            self._extend(fact)
        elif isinstance(fact, ChargeSettled | ChargeReleased | ChargeExpired):
            self.holds.pop(stream, None)

    def _extend(self, fact: ChargeExtended) -> None:
        hold = self.holds.get(fact.charge)
        if hold is None:
            raise ArchiveBroken(f"charge {fact.charge} was extended without an open hold")
        self.holds[fact.charge] = hold._replace(amount=hold.amount + fact.amount, extensions=fact.n)


def digest_of(balances: Iterable[tuple[str, Guard]], holds: Iterable[OpenHold]) -> str:
    """One number for all rows, in whatever order they come: the sum of their SHA-256 modulo 2^256, in hex.

    It tells copies that differ by mistake; a forger is the seals' business. An account with nothing on it is as one that is not there.
    """
    total = sum(_row("account", account, *guard) for account, guard in balances if guard != EMPTY)
    total += sum(_row("hold", *hold) for hold in holds)
    return f"{total % _MODULUS:064x}"


def digest_in(reader: LedgerReader) -> str:
    """The digest of a ledger as it is stored."""
    return digest_of(reader.balances(), _open_holds(reader))


def _open_holds(reader: LedgerReader) -> Iterable[OpenHold]:
    after = ""
    while holds := reader.open_holds(after=after):
        yield from holds
        after = holds[-1].charge


def _row(*values: object) -> int:
    return int.from_bytes(sha256("\n".join(map(str, values)).encode()).digest())

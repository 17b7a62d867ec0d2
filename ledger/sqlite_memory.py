"""What a process of the embedded store wrote last, kept in memory."""

from domain.books import Decision, Guard
from domain.commands import Command, Expire, Extend, Hold, OnCharge, Refund, Release, Settle
from domain.events import ChargeExpired, ChargeExtended, ChargeHeld, ChargeReleased, ChargeSettled, Fact
from domain.streams import StreamId

ENDINGS = frozenset({ChargeSettled, ChargeReleased, ChargeExpired})
OF_ONE_CHARGE = frozenset[type[Command]]({Hold, Extend, Settle, Release, Expire, Refund})
"""Commands that read nothing but a charge and its extensions; those on a task read the task as well."""
MAX_REMEMBERED = 50_000


class Memory:
    """What this process wrote last and nobody has changed since: guards, and the streams of open charges with their extensions.

    The file's data version tells whether another connection has committed; then everything is forgotten. It is read inside the
    transaction, when no other process can write.
    """

    def __init__(self) -> None:
        self.guards: dict[str, Guard] = {}
        self._open: dict[StreamId, list[Fact]] = {}
        self._extended: dict[StreamId, dict[StreamId, list[Fact]]] = {}
        """By charge: its extensions. Most charges have none, and are not in it."""
        self._data_version = -1

    def check(self, data_version: int) -> bool:
        """False when another connection has committed: then everything is forgotten."""
        if data_version == self._data_version:
            return True
        self.forget()
        self._data_version = data_version
        return False

    def forget(self) -> None:
        self.guards.clear()
        self._open.clear()
        self._extended.clear()

    def recall(self, command: Command, history: dict[StreamId, list[Fact]]) -> bool:
        """Put what the command reads into `history`; False when it is not all of it known here.

        Nobody else has written since an open charge was held: what is remembered of it is all there is.
        """
        if type(command) not in OF_ONE_CHARGE or not isinstance(command, OnCharge):
            return False
        held = self._open.get(command.charge)
        if held is None:
            return False
        history[command.charge] = held
        extensions = self._extended.get(command.charge)
        if extensions is not None:
            history.update(extensions)
        return True

    def keep(self, decision: Decision) -> None:
        """After the commit: what it left."""
        if len(self.guards) > MAX_REMEMBERED or len(self._open) > MAX_REMEMBERED:
            self.forget()
        self.guards.update(decision.balances)
        for stream, _, fact in decision.entries:
            kind = type(fact)
            if kind is ChargeHeld:
                self._open[stream] = [fact]
            elif kind in ENDINGS:
                self._open.pop(stream, None)
                self._extended.pop(stream, None)
            elif isinstance(fact, ChargeExtended) and fact.charge in self._open:
                self._extended.setdefault(fact.charge, {})[stream] = [fact]

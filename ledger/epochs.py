"""Who holds: each process that may open holds has an epoch, and an open lock file that dies with it.

A starting process ends the holds of epochs that are dead: their users get everything back, at once and not after a deadline.
Where other machines hold in the same ledger, only what this machine knows to be dead is: theirs end at their deadlines.
"""

import fcntl
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import time_ns

import msgspec

from domain.commands import Expire
from ledger.store import LedgerStore, OpenHold
from ledger.writer import Writer


class Epoch:
    """The life of one process, as the other processes see it."""

    def __init__(self, folder: Path, node: str, *, alone: bool = True) -> None:
        """`alone`: no other machine holds in this ledger, so that an epoch nobody here knows is dead."""
        self.node = node
        self._alone = alone
        self.name = f"{time_ns() // 1_000_000:x}-{secrets.token_hex(4)}"
        self._folder = folder / "epochs"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._path = self._folder / self.name
        # Locked before it has its name: whoever finds the name finds it locked.
        unnamed = self._folder / f".{self.name}"
        self._fd = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        unnamed.rename(self._path)

    def is_alive(self, epoch: str) -> bool:
        """True while the process that began an epoch runs on this machine, or may run on another."""
        if epoch == self.name:
            return True
        try:
            descriptor = os.open(self._folder / epoch, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return not self._alone
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that look do not see each other
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def forget_the_dead(self) -> None:
        """Remove the lock files of processes that are gone. Only after their holds were ended."""
        for path in self._folder.iterdir():
            # One whose name is not there yet is being made, and locked in the next moment.
            if not path.name.startswith(".") and not self.is_alive(path.name):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._fd)


def end_dead_holds(store: LedgerStore, writer: Writer, epoch: Epoch) -> int:
    """Expire every open hold whose process is dead, or whose deadline has passed by the ledger's clock; how many were ended.

    `not_yet` and `stale` are left to the next round: the hold is alive, or grew while it was looked at.
    """
    ended = 0
    alive: dict[str, bool] = {}
    while True:
        now, after = _last_moment(store), ""
        first: OpenHold | None = None
        while holds := store.open_holds(after=after):
            for hold in holds:
                if hold.epoch not in alive:
                    alive[hold.epoch] = epoch.is_alive(hold.epoch)
            over = [hold for hold in holds if not alive[hold.epoch] or hold.deadline <= now]
            running = [hold for hold in holds if alive[hold.epoch] and hold.deadline > now]
            ended += _end(over, writer, epoch.node, alive)
            for hold in running:
                first = hold if first is None or hold.deadline < first.deadline else first
            after = holds[-1].charge
        # The newest fact may be old. What ends first is tried: when it is over, that fact says how late it is.
        if first is None or not _end([first], writer, epoch.node, alive):
            return ended
        ended += 1


def _end(holds: Sequence[OpenHold], writer: Writer, node: str, alive: Mapping[str, bool]) -> int:
    """A page at a time: one commit for each would hold up a start by milliseconds a hold."""
    expiries = [expiry(hold, node, dead=not alive[hold.epoch]) for hold in holds]
    return sum(result.status == "created" for result in writer.submit_all_blocking(expiries))


def _last_moment(store: LedgerStore) -> int:
    """When the newest fact was recorded, by the ledger's clock; the machine's may be an hour off. 0 in an empty log."""
    newest = store.read_stored(store.head() - 1, 1)
    return msgspec.json.decode(newest[0].state, type=_Moment).at if newest else 0


class _Moment(msgspec.Struct):
    """The part of any fact that is asked for here, also of one that a newer version wrote."""

    at: int = 0


def expiry(hold: OpenHold, node: str, *, dead: bool) -> Expire:
    return Expire(
        charge=hold.charge,
        user=hold.user,
        key=hold.key,
        capped=hold.capped,
        extensions=hold.extensions,
        node=node,
        dead_epoch=dead,
    )

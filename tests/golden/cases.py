"""A case: the settings of a site, one request, what the upstream does, and what must have been charged.

The table of our own facts and the recordings of the released products are both read into this one type, so both are
played on the real gateway in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.harness.behaviours import Behaviour

RICH_QUOTA = 100_000_000


@dataclass(frozen=True)
class KeyTerms:
    """What the key may spend, and the group it names ("" for its owner's)."""

    unlimited: bool = False
    remain_quota: int = RICH_QUOTA
    group: str = ""


@dataclass(frozen=True)
class ChannelTerms:
    """One channel of the family's type `kind`; `slot` is where its upstream lives, `more` its further fields."""

    slot: str
    models: str
    group: str = "default"
    kind: int = 1
    unreachable: bool = False
    more: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True)
class Site:
    """What an operator set up before the call. Options that are not named have their defaults."""

    options: Mapping[str, object]
    channels: tuple[ChannelTerms, ...]


@dataclass(frozen=True)
class Expected:
    """The charge in whole quota, a range where timing decides, and the status; a status of `None` is a client that left.

    With `status_class` any status of the same hundred will do.
    """

    charge: tuple[int, int]
    status: int | None
    status_class: bool = True

    def mismatch(self, seen: Outcome) -> str | None:
        """What is wrong with this outcome, in words; nothing when it is as expected."""
        low, high = self.charge
        if not low <= seen.charge <= high:
            return f"charged {seen.charge} ({seen.charge_mills} mills), expected {low if low == high else self.charge}"
        if self.status is None or seen.status is None:
            return None if self.status is seen.status else f"status {seen.status}, expected {self.status}"
        unit = 100 if self.status_class else 1
        if self.status // unit != seen.status // unit:
            return f"status {seen.status} {seen.text}, expected {self.status}"
        return None


@dataclass(frozen=True)
class Outcome:
    """What happened: the status the client saw and the mills that left the user's balance."""

    status: int | None
    charge_mills: int
    text: str = ""

    @property
    def charge(self) -> int:
        """Whole quota, rounded half up, as the family's logs show it."""
        return (self.charge_mills + 500) // 1000


@dataclass(frozen=True)
class Case:
    """One call; `leaves_after` so many events the client hangs up, `at_once` so many are made in parallel."""

    id: str
    site: Site
    path: str
    body: Mapping[str, object]
    answers: Mapping[str, tuple[Behaviour, ...]]
    expected: Expected
    quota: int = RICH_QUOTA
    group: str = "default"
    key: KeyTerms = field(default_factory=KeyTerms)
    leaves_after: int | None = None
    at_once: int = 1

"""What a read model is: tables, and a fold of facts into them that gives the same rows however the facts were paged.

A projection says of every fact of the catalogue that it handles or ignores it; a fact it was not told about stops it before it
begins. Its name carries its version: changed rows are a new name, with tables of its own, built beside the old ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from domain import events
from domain.events import TOPICS, Fact
from ledger.mapper import Recorded
from projections.database import Cursor
from projections.errors import ProjectionError

Facts = frozenset[type[Fact]]


def facts(*found: type[Fact]) -> Facts:
    return frozenset(found)


CHARGE_FACTS: Facts = facts(
    events.ChargeHeld,
    events.ChargeExtended,
    events.ChargeSettled,
    events.ChargeReleased,
    events.ChargeExpired,
    events.ChargeSettledLate,
    events.ChargeRefunded,
)
QUOTA_FACTS: Facts = facts(
    events.QuotaAdjusted,
    events.QuotaGranted,
    events.QuotaOpened,
    events.CheckedIn,
    events.InviteRewarded,
    events.InviteTransferred,
    events.RebateGranted,
)
CODE_FACTS: Facts = facts(
    events.CodeIssued,
    events.CodeChanged,
    events.CodeStatusChanged,
    events.CodeDeleted,
    events.CodeRedeemed,
)
TOPUP_FACTS: Facts = facts(
    events.TopUpInitiated,
    events.TopUpSettled,
    events.TopUpFailed,
    events.TopUpFlagged,
    events.TopUpReversed,
)
TASK_FACTS: Facts = facts(events.TaskAccepted, events.TaskSucceeded, events.TaskFailed)
SALES_FACTS: Facts = CODE_FACTS | TOPUP_FACTS
"""How users come by quota for money or by a code."""
USER_FACTS: Facts = facts(
    events.UserCreated,
    events.UserProfileChanged,
    events.UserPasswordChanged,
    events.UserStandingChanged,
    events.UserDeleted,
    events.UserCreditLimitChanged,
    events.UserFrozen,
    events.UserUnfrozen,
    events.InviteCodeMade,
    events.AccessTokenMade,
)
NAMING_FACTS: Facts = facts(
    events.Registered,
    events.UsernameClaimed,
    events.UsernameReleased,
    events.InviteCodeClaimed,
    events.CodeTextClaimed,
)
KEY_FACTS: Facts = facts(
    events.KeyCreated,
    events.KeyTermsChanged,
    events.KeyLimitChanged,
    events.KeyStatusChanged,
    events.KeyDeleted,
)
CHANNEL_FACTS: Facts = facts(
    events.ChannelCreated,
    events.ChannelChanged,
    events.ChannelStatusChanged,
    events.ChannelKeyShown,
    events.ChannelDeleted,
)
SETTING_FACTS: Facts = facts(events.SettingChanged)

PAID_FACTS = (events.ChargeSettled, events.ChargeSettledLate)
"""The ends of a charge that somebody pays for."""
UNPAID_FACTS: Facts = CHARGE_FACTS - frozenset(PAID_FACTS)


class Projection(Protocol):
    """One read model."""

    @property
    def name(self) -> str:
        """With its version, such as `usage_log_v1`. Its place in the log is kept under this name."""
        ...

    @property
    def handles(self) -> Facts: ...

    @property
    def ignores(self) -> Facts: ...

    @property
    def ddl(self) -> Sequence[str]:
        """Portable statements that make its tables and indexes where they are missing."""
        ...

    @property
    def tables(self) -> Mapping[str, str]:
        """The tables it owns, each with the columns, as in ORDER BY, that order its rows in one way only."""
        ...

    def fold(self, cursor: Cursor, page: Sequence[Recorded]) -> None:
        """Fold facts that it handles, oldest first. Inside the transaction that also moves its position."""
        ...


class NotUnderstood(ProjectionError):
    """A projection was not told about a fact of the catalogue."""


def check_understood(projections: Iterable[Projection]) -> None:
    """Raises NotUnderstood for a projection that neither handles nor ignores some fact of the catalogue."""
    for projection in projections:
        understood = projection.handles | projection.ignores
        for topic, fact in TOPICS.items():
            if fact not in understood:
                raise NotUnderstood(f"{projection.name} neither handles nor ignores {topic}: say which")

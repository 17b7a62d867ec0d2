"""Every fact Veloera can record, stream by stream. Append only: a published fact never changes its meaning.

A fact is stored under its topic (`charge.settled/1`), free of module paths. New fields have defaults; a changed meaning is a
new topic. Amounts are integer mills, moments integer milliseconds since the epoch by the ledger's clock. Secrets and
personal data are in the vault; facts name them by reference.
"""

from domain.events.channels import (
    ChannelChanged,
    ChannelCreated,
    ChannelDeleted,
    ChannelKeyShown,
    ChannelStatusChanged,
    ChannelTerms,
)
from domain.events.charges import (
    ChargeExpired,
    ChargeExtended,
    ChargeHeld,
    ChargeRefunded,
    ChargeReleased,
    ChargeSettled,
    ChargeSettledLate,
)
from domain.events.codes import (
    CodeChanged,
    CodeDeleted,
    CodeIssued,
    CodeRedeemed,
    CodeStatusChanged,
    CodeTerms,
    CodeTextClaimed,
)
from domain.events.fact import Fact
from domain.events.keys import KeyCreated, KeyDeleted, KeyLimitChanged, KeyStatusChanged, KeyTerms, KeyTermsChanged
from domain.events.options import SettingChanged
from domain.events.quota import (
    CheckedIn,
    InviteCodeClaimed,
    InviteRewarded,
    InviteTransferred,
    QuotaAdjusted,
    QuotaGranted,
    QuotaOpened,
    RebateGranted,
)
from domain.events.tasks import TaskAccepted, TaskFailed, TaskSucceeded
from domain.events.topups import TopUpFailed, TopUpFlagged, TopUpInitiated, TopUpReversed, TopUpSettled
from domain.events.users import (
    AccessTokenMade,
    InviteCodeMade,
    Registered,
    UserCreated,
    UserCreditLimitChanged,
    UserDeleted,
    UserFrozen,
    UsernameClaimed,
    UsernameReleased,
    UserPasswordChanged,
    UserProfileChanged,
    UserStandingChanged,
    UserUnfrozen,
)

__all__ = [
    "TOPICS",
    "AccessTokenMade",
    "ChannelChanged",
    "ChannelCreated",
    "ChannelDeleted",
    "ChannelKeyShown",
    "ChannelStatusChanged",
    "ChannelTerms",
    "ChargeExpired",
    "ChargeExtended",
    "ChargeHeld",
    "ChargeRefunded",
    "ChargeReleased",
    "ChargeSettled",
    "ChargeSettledLate",
    "CheckedIn",
    "CodeChanged",
    "CodeDeleted",
    "CodeIssued",
    "CodeRedeemed",
    "CodeStatusChanged",
    "CodeTerms",
    "CodeTextClaimed",
    "Fact",
    "InviteCodeClaimed",
    "InviteCodeMade",
    "InviteRewarded",
    "InviteTransferred",
    "KeyCreated",
    "KeyDeleted",
    "KeyLimitChanged",
    "KeyStatusChanged",
    "KeyTerms",
    "KeyTermsChanged",
    "QuotaAdjusted",
    "QuotaGranted",
    "QuotaOpened",
    "RebateGranted",
    "Registered",
    "SettingChanged",
    "TaskAccepted",
    "TaskFailed",
    "TaskSucceeded",
    "TopUpFailed",
    "TopUpFlagged",
    "TopUpInitiated",
    "TopUpReversed",
    "TopUpSettled",
    "UserCreated",
    "UserCreditLimitChanged",
    "UserDeleted",
    "UserFrozen",
    "UserPasswordChanged",
    "UserProfileChanged",
    "UserStandingChanged",
    "UserUnfrozen",
    "UsernameClaimed",
    "UsernameReleased",
]

TOPICS: dict[str, type[Fact]] = {fact.TOPIC: fact for fact in Fact.__subclasses__()}
"""Every fact by the name it is stored under."""
assert len(TOPICS) == len(Fact.__subclasses__()), "two facts are stored under one name"

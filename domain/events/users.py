"""Facts of a user: one stream each, and one for every username ever claimed."""

from typing import ClassVar

from domain.events.fact import Fact


class UserCreated(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "user.created/1"

    id: int = 0
    profile: str
    """Vault reference: {"username", "display_name", "email"}."""
    password: str
    """Vault reference: the password's hash."""
    role: int = 1
    status: int = 1
    group: str = "default"
    claim: str
    """The HMAC of the username."""
    inviter: int = 0
    actor: int = 0


class UserProfileChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "user.profile_changed/1"

    id: int
    profile: str
    claim: str
    actor: int = 0


class UserPasswordChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "user.password_changed/1"

    id: int
    password: str
    actor: int = 0


class UserStandingChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Role (1 user, 10 admin, 100 root), status (1 enabled, 2 disabled) and group, as they are from now on."""

    TOPIC: ClassVar[str] = "user.standing_changed/1"

    id: int
    role: int
    status: int
    group: str
    actor: int = 0


class UserDeleted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "user.deleted/1"

    id: int
    actor: int = 0


class UserCreditLimitChanged(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """How far below nothing the user may spend; the new floor is the fact's, unless the user is frozen."""

    TOPIC: ClassVar[str] = "user.credit_limit_changed/1"

    id: int
    limit: int
    """Mills, not negative."""
    reason: str = ""
    actor: int = 0


class UserFrozen(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing new is held; what is open settles."""

    TOPIC: ClassVar[str] = "user.frozen/1"

    id: int
    reason: str = ""
    actor: int = 0


class UserUnfrozen(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "user.unfrozen/1"

    id: int
    reason: str = ""
    actor: int = 0


class InviteCodeMade(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The text of the user's invite link: public, and no name."""

    TOPIC: ClassVar[str] = "user.invite_code_made/1"

    id: int
    code: str


class AccessTokenMade(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A token for the JSON API; the newest one counts. `digest` is its HMAC."""

    TOPIC: ClassVar[str] = "user.access_token_made/1"

    id: int
    digest: str


class Registered(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A registration that carried a token was carried out, and gave this id. Its own stream: sent again, it is found."""

    TOPIC: ClassVar[str] = "id.registered/1"

    kind: str
    id: int


class UsernameClaimed(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "username.claimed/1"

    user: int


class UsernameReleased(Fact, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = "username.released/1"

    user: int

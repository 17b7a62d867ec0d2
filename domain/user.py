"""A user: who may log in and spend. The name and password are in the vault; here is only what the rules need."""

from collections.abc import Iterable
from enum import IntEnum

import msgspec

from domain import events, streams
from domain.commands import Append, Part, Register, VaultPut
from domain.events import Fact


class Role(IntEnum):
    GUEST = 0
    USER = 1
    ADMIN = 10
    ROOT = 100


class Status(IntEnum):
    ENABLED = 1
    DISABLED = 2


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A user as the facts so far have left it. `profile` and `password` are vault references, `claim` the name's HMAC."""

    id: int
    role: int = Role.USER
    status: int = Status.ENABLED
    group: str = "default"
    profile: str = ""
    password: str = ""
    claim: str = ""
    access_digest: str = ""
    inviter: int = 0
    invite_code: str = ""
    credit_limit: int = 0
    """Mills that may be spent below nothing."""
    frozen: bool = False
    """Nothing new is held; the ledger refuses it by the account's floor."""
    created_at: int = 0
    deleted: bool = False

    @property
    def is_enabled(self) -> bool:
        return self.status == Status.ENABLED and not self.deleted


def after(user: User | None, fact: Fact) -> User | None:
    """The user once `fact` has happened; unchanged by facts that are not about users."""
    match fact:
        case events.UserCreated():
            return User(
                id=fact.id,
                role=fact.role,
                status=fact.status,
                group=fact.group,
                profile=fact.profile,
                password=fact.password,
                claim=fact.claim,
                inviter=fact.inviter,
                created_at=fact.at,
            )
        case events.UserProfileChanged() if user:
            return msgspec.structs.replace(user, profile=fact.profile, claim=fact.claim)
        case events.UserPasswordChanged() if user:
            return msgspec.structs.replace(user, password=fact.password)
        case events.UserStandingChanged() if user:
            return msgspec.structs.replace(user, role=fact.role, status=fact.status, group=fact.group)
        case events.UserCreditLimitChanged() if user:
            return msgspec.structs.replace(user, credit_limit=fact.limit)
        case events.UserFrozen() | events.UserUnfrozen() if user:
            return msgspec.structs.replace(user, frozen=isinstance(fact, events.UserFrozen))
        case events.InviteCodeMade() if user:
            return msgspec.structs.replace(user, invite_code=fact.code)
        case events.AccessTokenMade() if user:
            return msgspec.structs.replace(user, access_digest=fact.digest)
        case events.UserDeleted() if user:
            return msgspec.structs.replace(user, deleted=True)
    return user


def from_facts(facts: Iterable[Fact]) -> User | None:
    user: User | None = None
    for fact in facts:
        user = after(user, fact)
    return user


def creation(
    *,
    claim: str,
    profile: VaultPut,
    password: VaultPut,
    role: int = Role.USER,
    group: str = "default",
    grant_mills: int = 0,
    grant_why: str = "signup",
    inviter: int = 0,
    invited_bonus_mills: int = 0,
    inviter_bonus_mills: int = 0,
    actor: int = 0,
    token: str = "",
) -> Register:
    """Register a user. `claim` is the HMAC of the username (see ledger.vault), which must be free."""
    fact = events.UserCreated(
        profile=profile.ref,
        password=password.ref,
        role=role,
        group=group,
        claim=claim,
        inviter=inviter,
        actor=actor,
    )
    return Register(
        kind="user",
        created=fact,
        claim=streams.username(claim),
        grant=grant_mills,
        grant_why=grant_why,
        invited_bonus=invited_bonus_mills,
        inviter_bonus=inviter_bonus_mills,
        vault=(profile, password),
        token=token,
    )


def profile_change(user: User, *, claim: str, profile: VaultPut, actor: int = 0) -> Append:
    """A new profile; with another `claim` the old username is given up and the new one taken, in one step."""
    changed = events.UserProfileChanged(id=user.id, profile=profile.ref, claim=claim, actor=actor)
    parts = [Part(streams.user(user.id), None, (changed,))]
    if claim != user.claim:
        parts.append(Part(streams.username(claim), None, (events.UsernameClaimed(user=user.id),)))
        if user.claim:
            parts.append(Part(streams.username(user.claim), None, (events.UsernameReleased(user=user.id),)))
    return Append(
        parts=tuple(parts),
        claim=streams.username(claim),
        user=user.id,
        vault=(profile,),
        vault_delete=(user.profile,) if user.profile else (),
    )


def password_change(user: User, *, password: VaultPut, actor: int = 0) -> Append:
    fact = events.UserPasswordChanged(id=user.id, password=password.ref, actor=actor)
    part = Part(streams.user(user.id), None, (fact,))
    return Append(parts=(part,), vault=(password,), vault_delete=(user.password,) if user.password else ())


def standing_change(
    user: User,
    version: int,
    *,
    role: int | None = None,
    status: int | None = None,
    group: str | None = None,
    actor: int = 0,
) -> Append:
    """Role, status or group from now on. `version` is the user stream's version that `user` was read at."""
    fact = events.UserStandingChanged(
        id=user.id,
        role=user.role if role is None else role,
        status=user.status if status is None else status,
        group=user.group if group is None else group,
        actor=actor,
    )
    return Append(parts=(Part(streams.user(user.id), version, (fact,)),))


def invite_code_making(user: User, code: str) -> Append:
    """Give a user the text of an invite link, which nobody has or had: `conflict` where somebody did."""
    parts = (
        Part(streams.invite_code(code), 0, (events.InviteCodeClaimed(user=user.id),)),
        Part(streams.user(user.id), None, (events.InviteCodeMade(id=user.id, code=code),)),
    )
    return Append(parts=parts)


def deletion(user: User, *, actor: int = 0) -> Append:
    """The user may neither log in nor spend, the username is free again, and the person's data leaves the vault."""
    parts = [Part(streams.user(user.id), None, (events.UserDeleted(id=user.id, actor=actor),))]
    if user.claim:
        parts.append(Part(streams.username(user.claim), None, (events.UsernameReleased(user=user.id),)))
    erased = tuple(ref for ref in (user.profile, user.password) if ref)
    return Append(parts=tuple(parts), vault_delete=erased)

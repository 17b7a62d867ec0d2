"""Users, for administrators: nobody touches the root account, and nobody an equal or a superior; root may touch everybody else.

The standing of the target is read at the version that is then changed, so a promotion in between is seen.
"""

from typing import Annotated, Literal

from fastapi import Path, Request
from pydantic import Field

from api.admin import passwords
from api.admin.amounts import MAX_REASON_CHARS, Body, Id, QuotaChange
from api.admin.callers import AsAdmin, Caller
from api.admin.changes import carry_out, once, together
from api.admin.envelope import Envelope, Page
from api.admin.invites import welcome
from api.admin.names import check_display_name, check_group, check_username, claim, renamed, sealed
from api.admin.paging import FromOne, Words
from api.admin.people import Profile, UserShape, balance_mills, living, of_rows, profile_of, shown
from api.admin.readable import Readable
from api.admin.refusals import Conflict, Forbidden, Invalid
from api.admin.routing import Routes
from api.admin.services import Services, Site, caught_up
from api.admin.sessions import LiveSessions
from domain import accounts, streams, user
from domain.accounts import MAX_ACCOUNT_MILLS
from domain.commands import Adjust, Append
from domain.events import QuotaAdjusted
from domain.units import mills
from domain.user import Role, Status, User

routes = Routes("users")

UserId = Annotated[int, Path(ge=1, le=2**53)]


class NewUser(Body):
    """A user to be made."""

    username: str
    password: str
    display_name: str = ""
    role: int = 0
    aff_code: str = Field(default="", max_length=64, description="of the invite link that brought them")


class UserEdit(QuotaChange):
    """What shall be different. Fields that are left out or empty stay as they are; `role` is changed by `manage` only."""

    id: Id
    username: str = ""
    display_name: str = ""
    password: str = ""
    group: str = ""
    role: int = 0
    reason: Annotated[str, Field(max_length=MAX_REASON_CHARS)] = ""


ENDS_SESSIONS = frozenset({"disable", "enable", "delete"})
"""`enable` too: no session outlives a ban, even when the process died between the ban and the end of the sessions."""
Action = Literal["disable", "enable", "delete", "promote", "demote", "quota", "group"]


class UserAction(QuotaChange):
    """One thing to be done to a user: `quota` takes the fields of an edit, `group` takes `group`."""

    id: Id
    action: Action
    group: str = ""
    reason: Annotated[str, Field(max_length=MAX_REASON_CHARS)] = ""


@routes.get("/api/user/", summary="Users, the newest first, deleted ones too")
def list_users(site: Site, _: AsAdmin, at: FromOne) -> Envelope[Page[UserShape]]:
    return _page(site, at.page, at.size)


@routes.get("/api/user/search", summary="Users by part of a name or address, by id, by group")
def search_users(
    site: Site, _: AsAdmin, at: FromOne, keyword: Words = "", group: Words = ""
) -> Envelope[Page[UserShape]]:
    return _page(site, at.page, at.size, keyword=keyword, group=group)


@routes.post("/api/user/", summary="Make a user, with the quota that new users get")
def create_user(site: Site, who: AsAdmin, request: Request, new: NewUser) -> Envelope[UserShape]:
    username = check_username(new.username)
    profile = Profile(username, check_display_name(new.display_name or username))
    welcomed = welcome(site.books, site.directory.settings, new.aff_code)
    command = user.creation(
        claim=claim(site, username),
        profile=sealed(site, profile),
        password=site.books.vault.put(passwords.hashed(passwords.check(new.password))),
        role=_role_of_new(new.role, who),
        grant_mills=mills(Readable(site.directory.settings).whole("QuotaForNewUser")),
        inviter=welcomed.inviter,
        invited_bonus_mills=welcomed.invited_mills,
        inviter_bonus_mills=welcomed.inviter_mills,
        actor=who.id,
        token=once(request, who.id) if "idempotency-key" in request.headers else "",
    )
    made = carry_out(site, lambda: command)
    data, as_of = shown(site, made.id)
    return Envelope(data=data, as_of=as_of)


@routes.put("/api/user/", summary="Change a user's name, group, password or quota")
def update_user(site: Site, who: AsAdmin, request: Request, edit: UserEdit, live: LiveSessions) -> Envelope[UserShape]:
    if edit.role >= who.user.role and not who.is_root:
        raise Forbidden(f"role: expected one below your own ({who.user.role}), got {edit.role}")
    key = once(request, who.id, "user", edit.id)
    adjust = edit.adjustment(edit.id, command_key=key, reason=edit.reason, actor=who.id)
    _check_adjustment(site, who, edit.id, adjust)
    password = passwords.hashed(passwords.check(edit.password)) if edit.password else ""
    _edit(site, who, edit, password)
    if password:
        live.end_all(edit.id)
    carry_out(site, lambda: adjust)
    data, as_of = shown(site, edit.id)
    return Envelope(data=data, as_of=as_of)


@routes.post("/api/user/manage", summary="Disable, enable, delete, promote or demote a user; set group or quota")
def manage_user(
    site: Site, who: AsAdmin, request: Request, asked: UserAction, live: LiveSessions
) -> Envelope[UserShape]:
    if asked.action == "quota":
        key = once(request, who.id, "user", asked.id)
        adjust = asked.adjustment(asked.id, command_key=key, reason=asked.reason, actor=who.id)
        if adjust is None and asked.quota is None and asked.quota_delta is None:
            raise Invalid("expected quota_delta, or quota with or without quota_seen, for the action quota")
        _check_adjustment(site, who, asked.id, adjust)
        carry_out(site, lambda: adjust)
    else:
        carry_out(site, lambda: _managed(site, who, asked))
        if asked.action in ENDS_SESSIONS:
            live.end_all(asked.id)
    data, as_of = shown(site, asked.id)
    return Envelope(data=data, as_of=as_of)


@routes.get("/api/user/{user_id:int}", summary="One user")
def read_user(site: Site, who: AsAdmin, user_id: UserId) -> Envelope[UserShape]:
    target, _ = living(site, user_id)
    if target.role >= who.user.role and not who.is_root and target.id != who.id:
        raise Forbidden("this user's role is not below your own: ask the root account")
    data, as_of = shown(site, user_id)
    return Envelope(data=data, as_of=as_of)


@routes.delete("/api/user/{user_id:int}", summary="Delete a user: name and password are erased, the facts stay")
def delete_user(site: Site, who: AsAdmin, user_id: UserId, live: LiveSessions) -> Envelope[None]:
    carry_out(site, lambda: _deletion(site, who, user_id))
    live.end_all(user_id)
    return Envelope(data=None)


def target_of(site: Services, who: Caller, user_id: int, doing: str) -> tuple[User, int]:
    """A user whom the caller may change. Raises Missing or Forbidden."""
    target, version = living(site, user_id)
    if target.role >= who.user.role and not who.is_root:
        raise Forbidden(
            f"you may not {doing} a user whose role ({target.role}) is not below your own ({who.user.role})"
        )
    return target, version


def _page(site: Services, page: int, size: int, keyword: str = "", group: str = "") -> Envelope[Page[UserShape]]:
    as_of = caught_up(site)
    found = site.books.read.page_users(page=page, size=size, keyword=keyword, group=group)
    items = of_rows(site, found.items)
    return Envelope(data=Page(items=items, total=found.total, page=page, page_size=size), as_of=as_of)


def _role_of_new(role: int, who: Caller) -> int:
    """What a new user may be: 1, or 10 when root asks; 0 is 1, as in the family."""
    if role not in (0, Role.USER, Role.ADMIN, Role.ROOT):
        raise Invalid(f"role: expected 1 (user) or 10 (administrator), got {role}")
    if role >= who.user.role:
        raise Forbidden(f"role: expected one below your own ({who.user.role}), got {role}")
    return role or Role.USER


def _edit(site: Services, who: Caller, edit: UserEdit, password: str) -> None:
    def change() -> Append | None:
        target, version = target_of(site, who, edit.id, "edit")
        before = profile_of(site, target)
        after = Profile(edit.username or before.username, edit.display_name or before.display_name, before.email)
        group = check_group(edit.group) if edit.group not in ("", target.group) else None
        changes = [
            renamed(site, target, before, after, actor=who.id),
            user.password_change(target, password=site.books.vault.put(password), actor=who.id) if password else None,
            user.standing_change(target, version, group=group, actor=who.id) if group else None,
        ]
        wanted = [change for change in changes if change is not None]
        return together(streams.user(target.id), version, *wanted) if wanted else None

    carry_out(site, change)


def _managed(site: Services, who: Caller, asked: UserAction) -> Append | None:
    """The change that an action is; None where it is so already."""
    if asked.action == "delete":
        return _deletion(site, who, asked.id)
    target, version = target_of(site, who, asked.id, asked.action)
    role, status, group = target.role, target.status, target.group
    match asked.action:
        case "disable":
            _not_root(target, "disabled")
            status = Status.DISABLED
        case "enable":
            status = Status.ENABLED
        case "promote":
            if not who.is_root:
                raise Forbidden("only the root account makes administrators")
            role = max(role, Role.ADMIN)
        case "demote":
            _not_root(target, "demoted")
            role = Role.USER
        case _:
            group = check_group(asked.group)
    if (role, status, group) == (target.role, target.status, target.group):
        return None
    return user.standing_change(target, version, role=role, status=status, group=group, actor=who.id)


def _deletion(site: Services, who: Caller, user_id: int) -> Append:
    target, version = target_of(site, who, user_id, "delete")
    _not_root(target, "deleted")
    return together(streams.user(user_id), version, user.deletion(target, actor=who.id))


def _not_root(target: User, done: str) -> None:
    if target.role >= Role.ROOT:
        raise Forbidden(f"the root account cannot be {done}")


def _check_adjustment(site: Services, who: Caller, user_id: int, adjust: Adjust | None) -> None:
    """Refuse what the ledger would refuse, before anything else of the same request is changed."""
    target_of(site, who, user_id, "change the quota of")
    if adjust is None:
        return
    delta = adjust.delta
    if adjust.target is not None and adjust.seen is not None:
        delta = mills(adjust.target - adjust.seen)
    used = site.books.store.read_stream(streams.adjustment(adjust.command_key))
    if used:
        first = used[0].fact
        if not isinstance(first, QuotaAdjusted) or first.user != user_id or delta not in (None, first.delta):
            raise Conflict("this Idempotency-Key was used for another change: use a new one for a new change")
    elif delta is not None:
        after = balance_mills(site, accounts.available(user_id)) + delta
        if abs(after) > MAX_ACCOUNT_MILLS:
            raise Invalid("quota: an account holds at most 9,000,000,000,000,000 quota")

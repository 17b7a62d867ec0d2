"""A user as the API shows one: the family's fields, none of its secrets, and the exact amounts beside the whole ones.

Fields of things that this release does not have (bound accounts) are there and empty.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from pydantic import BaseModel, Field

from api.admin.amounts import Mills
from api.admin.changes import folded
from api.admin.envelope import AsOf
from api.admin.refusals import Missing, Unavailable
from api.admin.services import Services, caught_up
from domain import accounts, streams, user
from domain.units import quota_floored, quota_rounded
from domain.user import User
from projections.invites import InviteRow
from projections.people import UserRow


class UserShape(BaseModel):
    """A user. `password` and `access_token` are always empty: one is never shown, the other only when it is made."""

    id: int
    username: str
    password: str = ""
    display_name: str
    role: int = Field(description="1 user, 10 administrator, 100 root")
    status: int = Field(description="1 enabled, 2 disabled")
    email: str = ""
    github_id: str = ""
    oidc_id: str = ""
    wechat_id: str = ""
    telegram_id: str = ""
    verification_code: str = ""
    access_token: str | None = None
    quota: int = Field(description="what is available, rounded down to whole quota")
    quota_mills: Mills
    held_mills: Mills
    used_quota: int = Field(description="what was charged, rounded half up from the exact sum")
    used_quota_mills: Mills
    request_count: int
    group: str
    credit_limit_mills: Mills = Field(description="how far below nothing the user may spend")
    frozen: bool = Field(description="nothing new may be spent")
    aff_code: str = Field(description="of the invite link; empty until GET /api/user/aff made one")
    aff_count: int = Field(description="users who registered with it")
    aff_quota: int = Field(description="what the invite wallet holds, rounded down")
    aff_quota_mills: Mills
    aff_history_quota: int = Field(description="what the invite wallet was ever given, rounded down")
    inviter_id: int = Field(description="0: nobody")
    DeletedAt: str | None = None
    linux_do_id: str = ""
    setting: str = ""
    last_check_in_time: str | None = None
    created_time: int = Field(description="seconds since the epoch")


class Profile(msgspec.Struct, frozen=True):
    """What the vault holds of a person."""

    username: str = ""
    display_name: str = ""
    email: str = ""


def profile_of(site: Services, found: User) -> Profile:
    sealed = site.books.vault.get(found.profile)
    return Profile() if sealed is None else msgspec.json.decode(sealed, type=Profile)


def living(site: Services, user_id: int) -> tuple[User, int]:
    """A user who was not deleted, and the version of their stream. Raises Missing."""
    found, version = folded(site.books.store.read_stream(streams.user(user_id)), user.from_facts)
    if found is None or found.deleted:
        raise Missing(f"there is no user {user_id}")
    return found, version


def shown(site: Services, user_id: int) -> tuple[UserShape, AsOf | None]:
    """A user from the read model, once it has caught up; deleted ones too. Raises Missing, or Unavailable while it lags."""
    as_of = caught_up(site)
    row = site.books.read.user_by_id_with_deleted(user_id)
    if row is None and as_of is not None:
        raise Unavailable("the lists are being built: try again in a moment")
    if row is None:
        raise Missing(f"there is no user {user_id}")
    return of_rows(site, [row])[0], as_of


def at_the_door(site: Services, found: User) -> UserShape:
    """A user who just logged in, also where no read model knows them yet."""
    row = site.books.read.user(found.id)
    if row is not None:
        return of_rows(site, [row])[0]
    person = profile_of(site, found)
    return _shape(
        site,
        UserRow(
            id=found.id,
            username=person.username,
            display_name=person.display_name,
            email=person.email,
            role=found.role,
            status=found.status,
            group=found.group,
            created_at=found.created_at,
            deleted_at=None,
            used_mills=0,
            request_count=0,
        ),
        None,
    )


def of_rows(site: Services, rows: Sequence[UserRow]) -> list[UserShape]:
    """Users from the read model, with what inviting and checking in brought them."""
    brought = site.books.read.invites_of([row.id for row in rows])
    return [_shape(site, row, brought.get(row.id)) for row in rows]


def _shape(site: Services, row: UserRow, brought: InviteRow | None) -> UserShape:
    available = balance_mills(site, accounts.available(row.id))
    wallet = balance_mills(site, accounts.invite(row.id))
    known = site.directory.user(row.id)
    checked_in_at = brought.checked_in_at if brought else 0
    return UserShape(
        id=row.id,
        username=row.username,
        display_name=row.display_name,
        role=row.role,
        status=row.status,
        email=row.email,
        quota=quota_floored(available),
        quota_mills=str(available),
        held_mills=str(balance_mills(site, accounts.held(row.id))),
        used_quota=quota_rounded(row.used_mills),
        used_quota_mills=str(row.used_mills),
        request_count=row.request_count,
        group=row.group,
        credit_limit_mills=str(known.credit_limit if known else 0),
        frozen=known is not None and known.frozen,
        aff_code=brought.code if brought else "",
        aff_count=brought.invited if brought else 0,
        aff_quota=quota_floored(wallet),
        aff_quota_mills=str(wallet),
        aff_history_quota=quota_floored(brought.earned_mills if brought else 0),
        inviter_id=brought.inviter if brought else 0,
        last_check_in_time=rfc3339(checked_in_at) if checked_in_at else None,
        DeletedAt=None if row.deleted_at is None else rfc3339(row.deleted_at),
        created_time=row.created_at // 1000,
    )


def balance_mills(site: Services, account: str) -> int:
    """What is on an account; 0 where nothing ever was."""
    guard = site.books.store.balance(account)
    return 0 if guard is None else guard.balance


def rfc3339(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

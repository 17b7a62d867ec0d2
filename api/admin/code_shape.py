"""A redemption code as the API shows one: the family's fields, and its whole text, which the console copies from its list.

Only administrators see codes at all. A status of 1 is shown as 3 once nothing is left to use; nobody has to write that.
"""

from pydantic import BaseModel, Field

from api.admin.amounts import Mills
from api.admin.refusals import invalid
from api.admin.services import Services
from domain.gift_code import ENABLED
from domain.units import quota_floored
from projections.codes import CodeRow

USED_UP = 3
UNLIMITED = -1
MAX_NAME_BYTES = 20
MAX_TEXT_CHARS = 64


class RedemptionShape(BaseModel):
    """A code. The family calls it redemption."""

    id: int
    user_id: int = Field(description="who issued it; 0: the command line")
    key: str = Field(description="its whole text")
    status: int = Field(description="1 enabled, 2 disabled, 3 used up")
    name: str
    quota: int = Field(description="what each use gives, rounded down to whole quota")
    quota_mills: Mills
    created_time: int = Field(description="seconds since the epoch")
    redeemed_time: int = Field(description="seconds since the epoch of its last use; 0: never")
    valid_from: int = Field(description="seconds since the epoch; 0: no bound")
    valid_until: int = Field(description="seconds since the epoch, inclusive; 0: no bound")
    count: int = 0
    used_user_id: int = Field(description="who used it last; 0: nobody")
    is_gift: bool
    max_uses: int = Field(description="-1: no bound; of a code that is no gift always 1")
    used_count: int
    DeletedAt: None = None


def of_row(site: Services, row: CodeRow) -> RedemptionShape:
    return RedemptionShape(
        id=row.id,
        user_id=row.actor,
        key=site.books.vault.text(row.secret_ref),
        status=shown_status(row),
        name=row.name,
        quota=quota_floored(row.amount_mills),
        quota_mills=str(row.amount_mills),
        created_time=row.created_at // 1000,
        redeemed_time=row.used_at // 1000,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        used_user_id=row.used_by,
        is_gift=row.is_gift,
        max_uses=UNLIMITED if row.max_uses is None else row.max_uses,
        used_count=row.used_count,
    )


def shown_status(row: CodeRow) -> int:
    used_up = row.max_uses is not None and row.used_count >= row.max_uses
    return USED_UP if row.status == ENABLED and used_up else row.status


def check_name(name: str) -> str:
    """What administrators find codes by; all codes of one printing may have the same. Raises Invalid."""
    if not 1 <= len(name.encode(errors="replace")) <= MAX_NAME_BYTES or not name.isprintable():
        raise invalid("name", f"1 to {MAX_NAME_BYTES} bytes of printable text", name)
    return name


def check_text(text: str) -> str:
    """The text of a code that an administrator chose. Raises Invalid."""
    if not 1 <= len(text) <= MAX_TEXT_CHARS or not text.isprintable() or text != text.strip():
        raise invalid("key", f"1 to {MAX_TEXT_CHARS} printable characters without blanks around them", "another text")
    return text


def bound_of(max_uses: int, *, is_gift: bool) -> int | None:
    """How often a code may be used; None: no bound. Raises Invalid.

    0 is no bound in the family, and no use anywhere else, so it is refused. What the family ignores (a bound of a code that is
    no gift) is ignored where it changes nothing.
    """
    if not is_gift:
        if max_uses not in (UNLIMITED, 0, 1):
            raise invalid("max_uses", "1 for a code that is no gift (is_gift lets others use it as well)", max_uses)
        return 1
    if max_uses != UNLIMITED and max_uses < 1:
        raise invalid("max_uses", "1 or more, or -1 for no bound", max_uses)
    return None if max_uses == UNLIMITED else max_uses

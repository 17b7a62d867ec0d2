"""A row of the usage log as the API shows one: the family's fields, and the exact amount and the request id beside them.

What concerns only administrators (which channels were tried, a channel's name) is taken out for users.
"""

import json

from pydantic import BaseModel, Field

from api.admin.amounts import Mills
from api.admin.services import Services
from domain.units import quota_rounded
from projections.usage_queries import LogRow

CONSUMED = 2
FOR_ADMINISTRATORS = ("admin_info", "upstream_request_id")


class LogShape(BaseModel):
    """One row. `id` is the position of its fact in the ledger."""

    id: int
    user_id: int
    created_at: int = Field(description="seconds since the epoch")
    type: int = Field(description="1 granted, 2 charged, 3 corrected, 4 system, 6 ended without a charge")
    content: str
    username: str
    token_name: str
    model_name: str
    quota: int = Field(description="what was charged, rounded half up; 0 in rows of other types, as in the family")
    quota_mills: Mills
    prompt_tokens: int
    completion_tokens: int
    use_time: int = Field(description="seconds")
    is_stream: bool
    channel: int
    channel_name: str = Field(description="for administrators")
    token_id: int
    group: str
    other: str = Field(description="JSON object: multipliers, how the call ended, exact amounts")
    request_id: str = Field(description="for GET /api/ledger/explain/{request_id}")


class LogStatShape(BaseModel):
    """What calls cost, and how many calls and tokens the last minute had."""

    quota: int
    quota_mills: Mills
    rpm: int
    tpm: int


def of_row(site: Services, row: LogRow, *, for_admin: bool) -> LogShape:
    found = site.directory.channel(row.channel) if for_admin and row.channel else None
    return LogShape(
        id=row.id,
        user_id=row.user_id,
        created_at=row.created_at_s,
        type=row.type,
        content=row.content,
        username=row.username,
        token_name=row.token_name,
        model_name=row.model_name,
        quota=quota_rounded(row.quota_mills) if row.type == CONSUMED else 0,
        quota_mills=str(row.quota_mills),
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        use_time=row.use_time_s,
        is_stream=row.is_stream,
        channel=row.channel,
        channel_name=found.terms.name if found else "",
        token_id=row.token_id,
        group=row.group,
        other=row.other if for_admin else for_user(row.other),
        request_id=row.request_id,
    )


def for_user(other: str) -> str:
    """The JSON beside a row, without what only administrators see."""
    if not other:
        return ""
    decoded: dict[str, object] = json.loads(other)
    kept = {name: value for name, value in decoded.items() if name not in FOR_ADMINISTRATORS}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))

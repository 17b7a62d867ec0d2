"""A channel as the API shows one, and what it may be given. Its credential is taken, and never shown here.

Mappings and settings travel as JSON texts, lists as text with commas, as in the family.
"""

import json
from typing import Annotated

from pydantic import BaseModel, Field

from api.admin.amounts import Body, Mills
from domain.channel import Status
from domain.units import quota_rounded
from projections.channels import ChannelRow

Text = Annotated[str, Field(max_length=65_536)]
Short = Annotated[str, Field(max_length=255)]
Number = Annotated[int, Field(ge=-(2**31), le=2**31)]


class ChannelShape(BaseModel):
    """A channel. Fields of what this release does not measure (tests, upstream balances) are there and 0."""

    id: int
    type: int
    key: str = Field(default="", description="always empty: see GET /api/channel/{id}/key")
    openai_organization: str | None
    test_model: str | None
    status: int = Field(description="1 enabled, 2 switched off by a person, 3 switched off by the gateway")
    name: str
    weight: int
    created_time: int = Field(description="seconds since the epoch")
    test_time: int = 0
    response_time: int = 0
    base_url: str
    other: str
    balance: int = 0
    balance_updated_time: int = 0
    models: str = Field(description="names of models, with commas between them")
    group: str = Field(description="names of groups, with commas between them")
    used_quota: int = Field(description="what was charged, rounded half up from the exact sum")
    used_quota_mills: Mills
    model_mapping: str = Field(description="JSON object: asked name to upstream's name")
    status_code_mapping: str = Field(description="JSON object: upstream's status to the one for the client")
    priority: int
    auto_ban: int = Field(description="1: the gateway may switch it off")
    other_info: str = Field(description="JSON object: status_reason, status_time")
    tag: str | None
    setting: str | None = Field(description="JSON object")
    param_override: str | None = Field(description="JSON object that is merged into the body for upstream")
    model_prefix: str


class ChannelFields(Body):
    """What a channel may be given; fields that are left out, and empty names, keys, models and groups, stay as they are."""

    type: Annotated[int, Field(ge=0, le=2**31)] = 0
    key: Text = ""
    name: Short = ""
    base_url: Annotated[str, Field(max_length=2048)] | None = None
    models: Annotated[str, Field(max_length=1_048_576)] = ""
    group: Text = ""
    priority: Number | None = None
    weight: Annotated[int, Field(ge=0, le=2**31)] | None = None
    model_mapping: Text | None = None
    status_code_mapping: Text | None = None
    model_prefix: Annotated[str, Field(max_length=64)] | None = None
    openai_organization: Short | None = None
    test_model: Short | None = None
    other: Text | None = None
    tag: Short | None = None
    auto_ban: Annotated[int, Field(ge=0, le=1)] | None = None
    setting: Text | None = None
    param_override: Text | None = None
    status: Annotated[int, Field(ge=0, le=3)] = 0


def of_row(row: ChannelRow) -> ChannelShape:
    terms = row.terms
    return ChannelShape(
        id=row.id,
        type=terms.type,
        openai_organization=terms.openai_organization or None,
        test_model=terms.test_model or None,
        status=row.status,
        name=terms.name,
        weight=terms.weight,
        created_time=row.created_at // 1000,
        base_url=terms.base_url,
        other=terms.other,
        models=",".join(terms.models),
        group=",".join(terms.groups),
        used_quota=quota_rounded(row.used_mills),
        used_quota_mills=str(row.used_mills),
        model_mapping=_json(terms.model_mapping),
        status_code_mapping=_json(terms.status_code_mapping),
        priority=terms.priority,
        auto_ban=int(terms.auto_ban),
        other_info=_other_info(row),
        tag=terms.tag or None,
        setting=terms.setting or None,
        param_override=terms.param_override or None,
        model_prefix=terms.model_prefix,
    )


def _json(mapping: dict[str, str]) -> str:
    """A mapping as the family keeps it: JSON text, or none."""
    return json.dumps(mapping, ensure_ascii=False, separators=(",", ":")) if mapping else ""


def _other_info(row: ChannelRow) -> str:
    if row.status == Status.ENABLED or not row.status_reason:
        return ""
    return json.dumps({"status_reason": row.status_reason, "status_time": row.status_at // 1000}, ensure_ascii=False)

"""Quota as the API shows and takes it: whole numbers, with the exact mills beside them as decimal text.

A balance is floored, so a client that writes back what it read changes nothing; what was spent is rounded half up.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.accounts import MAX_ACCOUNT_MILLS, MAX_ACCOUNT_QUOTA
from domain.commands import Adjust
from domain.units import mills

Id = Annotated[int, Field(ge=1, le=2**53)]
Quota = Annotated[int, Field(ge=-MAX_ACCOUNT_QUOTA, le=MAX_ACCOUNT_QUOTA)]
Mills = Annotated[str, Field(description="mills as decimal text: 1 quota = 1,000 mills", pattern=r"^-?\d+$")]

MAX_REASON_CHARS = 500


class Body(BaseModel):
    """What a client sends. Types are strict: true is no number, and neither is a text. Other fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")


class QuotaChange(Body):
    """Three ways to change a balance, of which `quota_delta` is the one that never goes wrong.

    `quota` alone sets what is available at the time of the commit; with `quota_seen`, what the client had read, it is the
    difference; `quota_delta` is the difference itself.
    """

    quota: Quota | None = None
    quota_seen: Quota | None = None
    quota_delta: Quota | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.quota_delta is not None and (self.quota is not None or self.quota_seen is not None):
            raise ValueError("expected quota_delta, or quota with or without quota_seen, but not both ways")
        if self.quota_seen is not None and self.quota is None:
            raise ValueError("expected quota beside quota_seen: what it was, and what it shall be")
        return self

    @property
    def delta_mills(self) -> int | None:
        """The difference; None when there is none, or it is only known at the commit."""
        if self.quota_delta is not None:
            return mills(self.quota_delta)
        if self.quota is not None and self.quota_seen is not None:
            return mills(self.quota - self.quota_seen)
        return None

    def adjustment(self, user_id: int, *, command_key: str, reason: str, actor: int) -> Adjust | None:
        """The command that carries it out; None when nothing is asked for. Its fact keeps what the client had read."""
        if (self.delta_mills is None and self.quota is None) or self.delta_mills == 0:
            return None
        return Adjust(
            command_key=command_key,
            user=user_id,
            delta=None if self.quota_delta is None else mills(self.quota_delta),
            target=self.quota,
            seen=self.quota_seen,
            reason=reason,
            actor=actor,
        )


class Amount(Body):
    """An amount of which something is to be moved: whole `quota`, or exact `mills` as decimal text."""

    quota: Annotated[int, Field(ge=1, le=MAX_ACCOUNT_QUOTA)] | None = None
    mills: (
        Annotated[str, Field(pattern=r"^[1-9]\d{0,18}$", description="instead of quota: 1 quota = 1,000 mills")] | None
    ) = None

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        if self.quota is not None and self.mills is not None:
            raise ValueError("expected quota or mills, but not both")
        if self.mills is not None and int(self.mills) > MAX_ACCOUNT_MILLS:
            raise ValueError(f"mills: expected at most {MAX_ACCOUNT_MILLS}")
        return self

    @property
    def amount_mills(self) -> int | None:
        """What is asked for; None when it is not said."""
        if self.mills is not None:
            return int(self.mills)
        return None if self.quota is None else mills(self.quota)


class Reasoned(Body):
    """A change that says why."""

    reason: Annotated[str, Field(max_length=MAX_REASON_CHARS)] = ""

"""May this caller make this call, and what can it cost at most? Answered from memory; nothing is held yet."""

from time import time

import msgspec

from domain.api_key import ApiKey, Status
from domain.pricing import known_max_output
from domain.user import Role, User
from projections.routes import Place, Served, place_of
from relay.asked import MAX_OUTPUT_TOKENS, Asked
from relay.call import Call
from relay.desk import Desk
from relay.errors import BadRequest, Forbidden, Unauthenticated, Unavailable, UnknownModel
from relay.prices import Prices


class Caller(msgspec.Struct, frozen=True):
    """Who calls: a key, its owner, the group whose prices and channels count, and a channel an admin has pinned (0: none)."""

    key: ApiKey
    user: User
    group: str
    pinned: int


class Quote(msgspec.Struct, frozen=True):
    """What a call may cost at most, at prices that stay as they are for it."""

    place: Place
    prices: Prices
    input_bound: int
    output_bound: int
    """Output tokens held for, over all choices."""
    output_limit: int
    """Output tokens that the client allows over all choices; beyond it no extension is asked for."""
    ceiling_mills: int


def authenticate(call: Call, desk: Desk) -> Caller:
    """Find the caller by the HMAC of the key. Raises Unauthenticated, Forbidden, Unavailable."""
    if not desk.directory.is_fresh:
        raise Unavailable("the directory of keys and prices has fallen behind; try again in a moment", code="not_ready")
    credential = call.credential
    if not credential.text:
        raise Unauthenticated("no API key: send it as 'Authorization: Bearer sk-...'")
    if not credential.digest:
        credential.digest = desk.vault.digest("key", credential.text)
    found = desk.directory.authenticate(credential.digest)
    if found is None:
        raise Unauthenticated("this API key is not known here")
    key, user = found
    if key.status == Status.EXHAUSTED:
        raise Unauthenticated("this API key has used up its limit", code="key_exhausted")
    if key.status == Status.EXPIRED or key.is_expired(time()):
        raise Unauthenticated("this API key has expired", code="key_expired")
    if key.status != Status.ENABLED:
        raise Unauthenticated("this API key is switched off", code="key_disabled")
    if not user.is_enabled:
        raise Forbidden("the owner of this API key is switched off", code="user_disabled")
    return Caller(key, user, _group(key, user, desk), _pinned(credential.suffix, user))


def place_for(asked: Asked, caller: Caller, desk: Desk) -> Place:
    """The channels that may carry this call. Raises UnknownModel, BadRequest, Forbidden."""
    if caller.pinned:
        return place_of(((_pinned_channel(asked, caller, desk),),))
    place = desk.directory.place(caller.group, asked.model)
    if not place.tiers:
        raise UnknownModel(asked.model)
    return place


def quote(asked: Asked, caller: Caller, place: Place, desk: Desk) -> Quote:
    """Pin the prices of every route and bound the cost by the dearest. Raises BadRequest for a model without a price."""
    prices = desk.prices.of(place, asked.model, caller.group, desk.directory.book)
    limit, bound = output_bounds(asked, desk)
    ceiling = 0
    for price in prices.listed:
        ceiling = max(ceiling, price.ceiling_mills(asked.input_bound, bound))
    return Quote(place, prices, asked.input_bound, bound, limit, ceiling)


def output_bounds(asked: Asked, desk: Desk) -> tuple[int, int]:
    """(limit, held for): a stream can extend its hold, so it is held for the first `hold_output_tokens` only."""
    step = desk.bounds.hold_output_tokens
    one = asked.max_output
    if one is None:
        one = known_max_output(asked.model)
    if one is None:
        return MAX_OUTPUT_TOKENS, step * asked.choices
    return one * asked.choices, (min(one, step) if asked.stream else one) * asked.choices


def _group(key: ApiKey, user: User, desk: Desk) -> str:
    wanted = key.terms.group
    if not wanted or wanted == user.group:
        return user.group
    usable = desk.directory.settings.json("UserUsableGroups")
    if not isinstance(usable, dict) or wanted not in usable:
        raise Forbidden(f"your user may not use the group {wanted} of this API key", code="group_not_allowed")
    return wanted


def _pinned(suffix: str, user: User) -> int:
    if not suffix:
        return 0
    if user.role < Role.ADMIN:
        raise Forbidden("only admins may name a channel in their key", code="pinning_not_allowed")
    digits = suffix.partition("-")[0]
    if not digits.isdigit():
        raise BadRequest(f"the channel id {digits[:20]!r} in the key is not a number", code="invalid_channel_id")
    return int(digits)


def _pinned_channel(asked: Asked, caller: Caller, desk: Desk) -> Served:
    served = desk.directory.served_by(caller.pinned, asked.model)
    if served is None or served.channel.deleted:
        raise BadRequest(f"there is no channel {caller.pinned}", code="invalid_channel_id")
    if not served.channel.is_enabled:
        raise Forbidden(f"channel {caller.pinned} is switched off", code="channel_disabled")
    return served

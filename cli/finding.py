"""Users, keys and channels by what a person types: found in the event store, as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cli.failures import NotFound
from domain import accounts, api_key, channel, streams, user
from domain.events import UsernameClaimed

if TYPE_CHECKING:
    from api.compose import Books
    from domain.api_key import ApiKey
    from domain.channel import Channel
    from domain.user import User
    from ledger.store import LedgerStore


class Profile(NamedTuple):
    """Who a user is. Empty where the person was erased."""

    username: str = ""
    display_name: str = ""
    email: str = ""


def user_named(books: Books, named: str) -> tuple[User, int]:
    """A user by id or username, and the version of their stream. An id comes first where a name is all digits."""
    for user_id in (int(named) if named.isdecimal() and len(named) < 19 else 0, _claimed_by(books, named)):
        found, version = user_with_id(books, user_id) if user_id else (None, 0)
        if found is not None and not found.deleted:
            return found, version
    raise NotFound(f"there is no user {named!r}; `veloera user list` shows those there are")


def user_with_id(books: Books, user_id: int) -> tuple[User | None, int]:
    past = books.store.read_stream(streams.user(user_id))
    return user.from_facts(recorded.fact for recorded in past), len(past)


def profile_of(books: Books, found: User) -> Profile:
    sealed = books.vault.get(found.profile)
    if sealed is None:
        return Profile()
    fields = msgspec.json.decode(sealed, type=dict[str, str])
    return Profile(*(fields.get(name, "") for name in Profile._fields))


def key_with_id(books: Books, key_id: int) -> tuple[ApiKey, int]:
    past = books.store.read_stream(streams.key(key_id))
    found = api_key.from_facts(recorded.fact for recorded in past)
    if found is None or found.deleted:
        raise NotFound(f"there is no key {key_id}; `veloera key list USER` shows those of a user")
    return found, len(past)


def channel_with_id(books: Books, channel_id: int) -> tuple[Channel, int]:
    past = books.store.read_stream(streams.channel(channel_id))
    found = channel.from_facts(recorded.fact for recorded in past)
    if found is None or found.deleted:
        raise NotFound(f"there is no channel {channel_id}; `veloera channel list` shows those there are")
    return found, len(past)


def balance_mills(store: LedgerStore, account: str) -> int:
    """What is on an account; 0 where nothing ever was."""
    guard = store.balance(account)
    return 0 if guard is None else guard.balance


def left_mills(store: LedgerStore, key: ApiKey) -> int | None:
    """What a key may still spend; None for a key without a limit."""
    return None if key.unlimited else balance_mills(store, accounts.cap(key.id))


def _claimed_by(books: Books, username: str) -> int:
    past = books.store.read_stream(streams.username(books.vault.digest("username", username)))
    last = past[-1].fact if past else None
    return last.user if isinstance(last, UsernameClaimed) else 0

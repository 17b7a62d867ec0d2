"""Who may call what, at which price, through which channel: in memory, for the hot path.

Folded from the small streams of the log (users, keys, channels, settings), a few tens of milliseconds behind it. Readers
take no lock: every fold swaps whole values under single dict or attribute writes.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic

import msgspec

from domain import api_key, channel, events, user
from domain.api_key import ApiKey
from domain.channel import Channel
from domain.events import Fact
from domain.pricing import PriceBook
from domain.settings import InvalidSetting, Settings
from domain.user import User
from ledger.errors import LedgerUnavailable
from ledger.follow import PAGE_LIMIT_FACTS, Follow
from ledger.mapper import Recorded
from ledger.store import LedgerStore
from ledger.vault import Vault
from projections.database import Row
from projections.entities import Entity, Option, decoded
from projections.errors import ProjectionError
from projections.routes import Place, Routes, Served, Tiers

log = logging.getLogger("veloera.directory")

FOLLOW_PERIOD_S = 0.1
STUCK_AFTER_S = 5.0
RETRY_FIRST_S = 0.1
RETRY_MOST_S = 1.0


Take = Callable[[int, Iterator[list[Row]]], None]


class Directory:
    """The relay's view of the ledger's small streams. `start` loads it and keeps it fresh from a thread of its own."""

    def __init__(self, store: LedgerStore, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._follow = Follow(store, without_charges=True, period_s=FOLLOW_PERIOD_S)
        self._users: dict[int, User] = {}
        self._keys: dict[int, ApiKey] = {}
        self._by_digest: dict[str, ApiKey] = {}
        self._by_access: dict[str, int] = {}
        self._channels: dict[int, Channel] = {}
        self._secrets: dict[int, str] = {}
        self._options: dict[str, str] = {}
        self._routes = Routes()
        self.settings = Settings({})
        self.book = PriceBook.from_settings({}, 0)
        self.position = 0
        self._looked_at = monotonic()
        self._moved = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: BaseException | None = None

    def start(self, entities: Callable[[Take], None] | None = None) -> None:
        """Load everything, then follow until `stop`.

        `entities` hands over what a read model knows, with its position (see `ReadModel.entities`), so that only the facts after it are
        read from the log. Where it has nothing, or what cannot be read, the small streams are read from the beginning.
        """
        if entities is not None:
            try:
                entities(self.load)
            except (ProjectionError, msgspec.MsgspecError) as error:
                log.warning("directory_loads_from_the_log reason=%s", error)
        self.catch_up()
        self._thread = threading.Thread(target=self._run, name="directory", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._follow.hint()
        if self._thread is not None:
            self._thread.join(5)

    def hint(self) -> None:
        """Something was committed in this process: look now."""
        self._follow.hint()

    @property
    def is_fresh(self) -> bool:
        """False when the follower has not looked at the log for so long that calls must be refused."""
        return self.failure is None and monotonic() - self._looked_at < STUCK_AFTER_S

    def wait_for(self, position: int, timeout_s: float = 2.0) -> bool:
        """Block until facts up to `position` are in; False when that took too long. Not for the event loop."""
        self.hint()
        with self._moved:
            return self._moved.wait_for(lambda: self.position >= position, timeout_s)

    def authenticate(self, digest: str) -> tuple[ApiKey, User] | None:
        """The key with this HMAC and its owner, whatever their status; None for a key that is not there."""
        key = self._by_digest.get(digest)
        if key is None:
            return None
        owner = self._users.get(key.user)
        return None if owner is None else (key, owner)

    def user(self, user_id: int) -> User | None:
        return self._users.get(user_id)

    def user_with_access_token(self, digest: str) -> User | None:
        return self._users.get(self._by_access.get(digest, 0))

    def key(self, key_id: int) -> ApiKey | None:
        return self._keys.get(key_id)

    def channel(self, channel_id: int) -> Channel | None:
        return self._channels.get(channel_id)

    def served_by(self, channel_id: int, model: str) -> Served | None:
        """One channel, chosen by its id, for a model it may or may not list."""
        found = self._channels.get(channel_id)
        if found is None:
            return None
        return Served(found, self._secrets.get(channel_id, ""), found.terms.model_mapping.get(model) or model)

    def place(self, group: str, model: str) -> Place:
        """Enabled channels for a model in a group, the highest priority first; NOWHERE when there is none."""
        return self._routes.place(group, model)

    def routes(self, group: str, model: str) -> Tiers:
        """The tiers of that place."""
        return self._routes.place(group, model).tiers

    def models(self, group: str) -> tuple[str, ...]:
        """The models that a group can call, sorted."""
        return self._routes.models(group)

    def options(self) -> Mapping[str, str]:
        return self._options

    def load(self, position: int, chunks: Iterator[list[Row]]) -> None:
        """Begin with entities as they were at a position."""
        for chunk in chunks:
            for kind, _, key, state in chunk:
                self._take(decoded(kind, state), key)
        self._routes.change(self._channels, self._secrets, tuple(self._channels))
        if self._options:
            self._take_options()
        self._follow.position = position

    def catch_up(self) -> None:
        """Fold everything that is in the log now. Raises LedgerUnavailable; then the page under way is folded again next time."""
        while True:
            before = self._follow.position
            page = self._follow.page()
            try:
                self._fold(page)
            except LedgerUnavailable:
                self._follow.position = before
                raise
            if len(page) < PAGE_LIMIT_FACTS:
                break

    def _fold(self, page: Sequence[Recorded]) -> None:
        changed: set[int] = set()
        options_changed = False
        for recorded in page:
            self._fold_channel(recorded.fact, changed)
            options_changed |= self._fold_option(recorded.fact)
            self._fold_user(recorded.fact)
            self._fold_key(recorded.fact)
        if changed:
            self._routes.change(self._channels, self._secrets, changed)
        if options_changed:
            self._take_options()

    def _run(self) -> None:
        pause_s = RETRY_FIRST_S
        while not self._stopping.is_set():
            try:
                self._look()
                self._follow.wait(1.0)
                pause_s = RETRY_FIRST_S
            except LedgerUnavailable as error:
                # It passes. Meanwhile nothing is looked at, so that this is soon not fresh any more and calls are refused.
                log.warning("directory_waits error=%s", error)
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, RETRY_MOST_S)
            except Exception as error:
                log.exception("directory_stopped")
                self.failure = error  # whatever it is: readiness turns red, stale prices are not served
                return

    def _look(self) -> None:
        head = self._store.head()
        self.catch_up()
        with self._moved:
            self._looked_at = monotonic()
            self.position = max(head, self._follow.position)
            self._moved.notify_all()

    def _take(self, entity: Entity, key: str) -> None:
        match entity:
            case User():
                self._users[entity.id] = entity
                if entity.access_digest:
                    self._by_access[entity.access_digest] = entity.id
            case ApiKey():
                self._keys[entity.id] = entity
                if not entity.deleted:
                    self._by_digest[entity.digest] = entity
            case Channel():
                self._channels[entity.id] = entity
                self._secrets[entity.id] = self._vault.text(entity.secret)
            case Option():
                self._options[key] = self._vault.text(entity.secret) if entity.secret else entity.value

    def _fold_user(self, fact: Fact) -> None:
        if not isinstance(fact, USER_FACTS):
            return
        before = self._users.get(fact.id)
        now = user.after(before, fact)
        assert now is not None, "a user's stream begins with its creation"
        self._users[now.id] = now
        if before is not None and before.access_digest != now.access_digest:
            self._by_access.pop(before.access_digest, None)
        if now.access_digest:
            self._by_access[now.access_digest] = now.id

    def _fold_key(self, fact: Fact) -> None:
        if not isinstance(fact, KEY_FACTS):
            return
        now = api_key.after(self._keys.get(fact.id), fact)
        assert now is not None, "a key's stream begins with its creation"
        self._keys[now.id] = now
        if now.deleted:
            self._by_digest.pop(now.digest, None)
        else:
            self._by_digest[now.digest] = now

    def _fold_channel(self, fact: Fact, changed: set[int]) -> None:
        if not isinstance(fact, CHANNEL_FACTS):
            return
        before = self._channels.get(fact.id)
        now = channel.after(before, fact)
        assert now is not None, "a channel's stream begins with its creation"
        # The secret first: where the vault cannot be asked the fact is folded again, and must still be news then.
        if before is None or before.secret != now.secret:
            self._secrets[now.id] = self._vault.text(now.secret)
        self._channels[now.id] = now
        changed.add(now.id)

    def _fold_option(self, fact: Fact) -> bool:
        if not isinstance(fact, events.SettingChanged):
            return False
        value = self._vault.text(fact.secret) if fact.secret else fact.value
        self._options = {**self._options, fact.key: value}
        return True

    def _take_options(self) -> None:
        """New settings and prices. Texts are checked before they are stored; one that is not what it should be changes nothing."""
        try:
            book = PriceBook.from_settings(self._options, self._follow.position)
        except InvalidSetting as error:
            log.error("price_book_kept reason=%s", error)
            return
        self.settings, self.book = Settings(self._options), book


USER_FACTS = (
    events.UserCreated,
    events.UserProfileChanged,
    events.UserPasswordChanged,
    events.UserStandingChanged,
    events.UserCreditLimitChanged,
    events.UserFrozen,
    events.UserUnfrozen,
    events.InviteCodeMade,
    events.AccessTokenMade,
    events.UserDeleted,
)
KEY_FACTS = (
    events.KeyCreated,
    events.KeyTermsChanged,
    events.KeyLimitChanged,
    events.KeyStatusChanged,
    events.KeyDeleted,
)
CHANNEL_FACTS = (
    events.ChannelCreated,
    events.ChannelChanged,
    events.ChannelStatusChanged,
    events.ChannelKeyShown,
    events.ChannelDeleted,
)

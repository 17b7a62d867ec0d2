"""A ledger with people in it: real store, writer and vault in a folder of the test's own, and words for what happens there."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import msgspec

from domain import api_key, channel, commands, events, streams, user
from domain.books import Result
from domain.commands import Append, Command, Part
from domain.events import ChannelTerms, KeyTerms
from domain.pricing import PriceBook
from domain.usage import Usage
from domain.user import User
from ledger.mapper import Recorded
from ledger.sqlite import SqliteStore
from ledger.store import LedgerStore
from ledger.vault import open_vault
from ledger.writer import Writer
from projections.catalogue import projections
from projections.comparison import dump_digest
from projections.folding import Folding
from projections.places import SqlitePlace, database_at
from tests.projections.whereabouts import Where

BOOK = PriceBook.from_settings({}, 1)
GRANT_MILLS = 10**12
DEADLINE_S = 20.0

Found = TypeVar("Found")


def until(probe: Callable[[], Found | None], what: str, deadline_s: float = DEADLINE_S) -> Found:
    """What a probe finds, as soon as it finds something true."""
    end = time.monotonic() + deadline_s
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < end, f"waited {deadline_s} s for {what}"
        time.sleep(0.01)


def call_id(number: int) -> str:
    return UUID(int=number).hex


class House:
    """Users, keys, channels and calls, made by commands."""

    def __init__(self, folder: Path, where: Where | None = None, store: LedgerStore | None = None) -> None:
        self.folder = folder
        self.where = where or Where("sqlite", folder, SqlitePlace(folder))
        self.store = store or SqliteStore(folder, synchronous="NORMAL")
        self.vault = open_vault(self.store, folder)
        self.writer = Writer(self.store)
        self._calls = 0

    def close(self) -> None:
        self.writer.close()
        self.store.close()

    def do(self, command: Command) -> Result:
        """Carry out a command, whatever becomes of it."""
        return self.writer.submit_blocking(command)

    def done(self, command: Command) -> Result:
        result = self.do(command)
        assert result.ok, result
        return result

    def user(self, name: str, *, grant: int = GRANT_MILLS, group: str = "default", role: int = 1) -> int:
        profile = self._profile(name)
        password = self.vault.put("a hash")
        claim = self.vault.digest("username", name)
        made = user.creation(claim=claim, profile=profile, password=password, grant_mills=grant, group=group, role=role)
        return self.done(made).id

    def rename(self, user_id: int, name: str) -> None:
        claim = self.vault.digest("username", name)
        self.done(user.profile_change(self.user_now(user_id), claim=claim, profile=self._profile(name), actor=user_id))

    def delete_user(self, user_id: int) -> None:
        self.done(user.deletion(self.user_now(user_id), actor=1))

    def user_now(self, user_id: int) -> User:
        found = user.from_facts(recorded.fact for recorded in self.store.read_stream(streams.user(user_id)))
        assert found is not None, f"there is no user {user_id}"
        return found

    def key(self, user_id: int, name: str = "main", *, limit: int | None = None, terms: KeyTerms | None = None) -> int:
        made = api_key.creation(
            user=user_id,
            digest=self.vault.digest("key", f"{user_id}:{name}:{self.store.head()}"),
            secret=self.vault.put("the text of a key"),
            terms=terms or KeyTerms(name=name),
            limit_mills=limit,
        )
        return self.done(made).id

    def channel(self, name: str, models: tuple[str, ...] = ("gpt-4o",), **terms: object) -> int:
        described = msgspec.convert({"name": name, "models": models, **terms}, ChannelTerms)
        return self.done(channel.creation(terms=described, secret=self.vault.put("an upstream key"), actor=1)).id

    def option(self, key: str, value: str, *, secret: str = "", actor: int = 1) -> None:
        puts = (self.vault.put(secret),) if secret else ()
        fact = events.SettingChanged(key=key, value=value, secret=puts[0].ref if puts else "", actor=actor)
        self.done(Append(parts=(Part(streams.setting(key), None, (fact,)),), vault=puts))

    def append(self, stream: str, fact: events.Fact) -> None:
        self.done(Append(parts=(Part(stream, None, (fact,)),)))

    def hold(self, user_id: int, key_id: int, *, model: str = "gpt-4o", capped: bool = False, mills: int = 0) -> str:
        self._calls += 1
        call = call_id(self._calls)
        price = BOOK.price(model, "default")
        self.done(
            commands.Hold(
                charge=call,
                user=user_id,
                key=key_id,
                capped=capped,
                model=model,
                group="default",
                prices=(price,),
                amount=mills or price.ceiling_mills(1000, 1000),
                node="node",
                epoch="epoch",
                ttl_ms=60_000,
            )
        )
        return call

    def settle(
        self,
        call: str,
        user_id: int,
        key_id: int,
        *,
        model: str = "gpt-4o",
        capped: bool = False,
        channel: int = 1,
        usage: Usage | None = None,
        extensions: int = 0,
        stream: bool = False,
        **more: object,
    ) -> Result:
        price = BOOK.price(model, "default")
        used = usage or Usage(input=100, output=50)
        return self.do(
            commands.Settle(
                charge=call,
                user=user_id,
                key=key_id,
                capped=capped,
                extensions=extensions,
                model=model,
                group="default",
                price=price,
                usage=used,
                cost=price.cost_mills(used),
                ended_by="complete",
                endpoint="chat/completions",
                stream=stream,
                channel=channel,
                upstream_model=str(more.get("upstream_model", model)),
                first_byte_ms=120 if stream else -1,
                duration_ms=2_500,
                attempts=(channel,),
            )
        )

    def call(
        self, user_id: int, key_id: int, *, model: str = "gpt-4o", channel: int = 1, usage: Usage | None = None
    ) -> str:
        """One call, held and settled; its id."""
        call = self.hold(user_id, key_id, model=model)
        settled = self.settle(call, user_id, key_id, model=model, channel=channel, usage=usage)
        assert settled.ok, settled
        return call

    def release(self, call: str, user_id: int, key_id: int, *, capped: bool = False) -> Result:
        return self.do(
            commands.Release(
                charge=call,
                user=user_id,
                key=key_id,
                capped=capped,
                model="gpt-4o",
                why="upstream_failed",
                status=502,
                attempts=(2, 1),
            )
        )

    def expire(self, call: str, user_id: int, key_id: int, *, capped: bool = False) -> Result:
        return self.do(
            commands.Expire(charge=call, user=user_id, key=key_id, capped=capped, node="other", dead_epoch=True)
        )

    def facts(self) -> list[Recorded]:
        """The whole log."""
        found: list[Recorded] = []
        while page := self.store.read_log(found[-1].position if found else 0, 1000):
            found += page
        return found

    def digest(self, sizes: Iterable[int] = (1000,)) -> str:
        """The digest of everything, folded from the beginning into a file, in pages of these sizes, over and over."""
        with tempfile.TemporaryDirectory() as name:
            database = database_at(Path(name))
            seat = database.seat()
            folder = seat.take()
            assert folder is not None, "nobody else knows this folder"
            folding = Folding(database, folder, projections(self.vault))
            pages = list(sizes)
            turn = 0
            while folding.step(self.store, limit=pages[turn % len(pages)]):
                turn += 1
            with folder.reading() as reader:
                found = dump_digest(reader)
            seat.close()
            return found

    def _profile(self, name: str) -> commands.VaultPut:
        person = {"username": name, "display_name": f"{name.title()} X", "email": f"{name}@example.org"}
        return self.vault.put(msgspec.json.encode(person))

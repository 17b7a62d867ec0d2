"""A relay on a real ledger whose provider is scripted, step by step: what it says, and where it stops."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from domain import accounts, api_key, channel, commands, streams, user
from domain.events import ChannelTerms, ChargeExtended, ChargeReleased, ChargeSettled, Fact, KeyTerms, SettingChanged
from ledger.sqlite import SqliteStore
from ledger.store import LedgerStore
from ledger.vault import open_vault
from ledger.verify import verify
from ledger.writer import Writer
from projections.directory import Directory
from relay.call import Call, Credential
from relay.desk import Bounds, Desk
from relay.errors import RelayError, UpstreamCut
from relay.formats.openai_chat import OpenAIChat
from relay.limits import Limits
from relay.relay import relay
from relay.router import Router
from relay.upstream import Outgoing, Sending, Tap

MODEL = "m"
KEY_TEXT = "k" * 48
PROMPT_TOKENS = 7
OPENING_MILLS = 10_000_000


class Words:
    """Counts words: what was produced can be told without a tokenizer."""

    async def prompt(self, model: str, prompt: object, tools: object) -> int:
        return PROMPT_TOKENS

    async def text(self, model: str, text: str) -> int:
        return len(text.split())

    def close(self) -> None:
        pass


@dataclass
class Script:
    """What a provider says, chunk by chunk, and how it ends: properly, cut off, or by saying nothing more."""

    chunks: Sequence[bytes]
    ends: Literal["end", "cut", "hang"] = "end"
    content_type: str = "text/event-stream"
    status: int = 200
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when everything was said and the provider hangs."""


class ScriptedAnswer:
    def __init__(self, script: Script) -> None:
        self.status = script.status
        self.closed = False
        self._script = script
        self._left = list(script.chunks)

    @property
    def headers(self) -> Mapping[str, str]:
        return {"content-type": self._script.content_type}

    async def read(self, limit_bytes: int) -> bytes:
        body = b""
        while chunk := await self.read_some():
            body += chunk
        return body

    async def read_some(self, tap: Tap | None = None) -> bytes:
        await asyncio.sleep(0)
        # Its last piece comes with its end, unless it hangs.
        while tap is not None and len(self._left) > (self._script.ends != "hang") and tap(self._left[0]):
            self._left.pop(0)
        if self._left:
            return self._left.pop(0)
        if self._script.ends == "cut":
            raise UpstreamCut("cut by the script")
        if self._script.ends == "hang":
            self._script.reached.set()
            await asyncio.Event().wait()
        return b""

    def close(self) -> None:
        self.closed = True


class ScriptedUpstream:
    def __init__(self) -> None:
        self.script = Script(())
        self.answers: list[ScriptedAnswer] = []

    async def open(self, request: Outgoing, sending: Sending) -> ScriptedAnswer:
        await asyncio.sleep(0)
        sending.whole = True
        await asyncio.sleep(0)
        self.answers.append(ScriptedAnswer(self.script))
        return self.answers[-1]

    async def close(self) -> None:
        pass


class Taking:
    """A client that takes most pieces at once, and has to be waited for at every third."""

    def __init__(self) -> None:
        self.got = b""
        self._asked = 0

    @property
    def is_ready(self) -> bool:
        self._asked += 1
        return self._asked % 3 != 0

    def take(self, piece: bytes) -> None:
        self.got += piece


@dataclass
class House:
    """The relay and its ledger, and what can be asked of them afterwards."""

    store: LedgerStore
    writer: Writer
    directory: Directory
    desk: Desk
    upstream: ScriptedUpstream

    def call(self, *, stream: bool = True, include_usage: bool = False, max_tokens: int | None = 50) -> Call:
        body: dict[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        if include_usage:
            body["stream_options"] = {"include_usage": True}
        return Call(endpoint="chat", body=msgspec.json.encode(body), credential=Credential("sk-" + KEY_TEXT))

    async def carry(self, call: Call) -> bytes:
        """Everything the client gets; b"" and the error's name in front when it gets an error."""
        client = Taking()
        try:
            reply = await relay(call, self.desk, OpenAIChat())
            client.got += reply.body
            if reply.stream is not None:
                try:
                    while (piece := await reply.stream.more(client)) is not None:
                        client.got += piece
                finally:
                    await reply.stream.end()
        except RelayError as error:
            client.got += f"<{type(error).__name__}>".encode()
        return client.got

    async def held(self, call: Call) -> None:
        """Wait until the call's hold is durable."""
        async with asyncio.timeout(10):
            while not self.facts(call):  # noqa: ASYNC110  # the ledger is another thread's: there is no event to wait for
                await asyncio.sleep(0.001)

    def facts(self, call: Call) -> list[Fact]:
        return [recorded.fact for recorded in self.store.read_stream(call.id)]

    def end_of(self, call: Call) -> ChargeSettled | ChargeReleased:
        """The only end of a charge."""
        facts = self.facts(call)
        assert len(facts) == 2, [type(fact).__name__ for fact in facts]
        assert isinstance(facts[1], ChargeSettled | ChargeReleased)
        return facts[1]

    def extensions(self, call: Call) -> int:
        n = 0
        while any(
            isinstance(r.fact, ChargeExtended) for r in self.store.read_stream(streams.extension(call.id, n + 1))
        ):
            n += 1
        return n

    def balance(self, name: str = "available") -> int:
        guard = self.store.balance(getattr(accounts, name)(1))
        return guard.balance if guard else 0

    def is_sound(self) -> bool:
        report = verify(self.store)
        return report.is_sound and report.open_holds == 0 and self.balance("held") == 0

    def close(self) -> None:
        self.directory.stop()
        self.writer.close()
        self.store.close()


def open_house(
    folder: Path,
    *,
    opening_mills: int = OPENING_MILLS,
    hold_output_tokens: int = 4096,
    store: LedgerStore | None = None,
) -> House:
    store = store or SqliteStore(folder, synchronous="NORMAL")
    vault = open_vault(store, folder)
    writer = Writer(store)
    make(writer, user.creation(claim="u", profile=vault.put("{}"), password=vault.put("-"), grant_mills=opening_mills))
    key = vault.digest("key", KEY_TEXT)
    make(writer, api_key.creation(user=1, digest=key, secret=vault.put(KEY_TEXT), terms=KeyTerms(), limit_mills=None))
    make(writer, channel.creation(terms=ChannelTerms(models=(MODEL,), base_url="http://up"), secret=vault.put("up")))
    for name in ("ModelRatio", "CompletionRatio"):
        priced = SettingChanged(key=name, value=f'{{"{MODEL}": 1}}')
        make(writer, commands.Append(parts=(commands.Part(streams.setting(name), None, (priced,)),)))
    directory = Directory(store, vault)
    directory.start()
    upstream = ScriptedUpstream()
    desk = Desk(
        directory=directory,
        vault=vault,
        ledger=writer,
        upstream=upstream,
        router=Router(random.Random(1)),
        limits=Limits(),
        counter=Words(),
        node="n",
        epoch="e",
        bounds=Bounds(hold_output_tokens=hold_output_tokens, tail_wait_s=0.2),
    )
    return House(store, writer, directory, desk, upstream)


def make(writer: Writer, command: commands.Command) -> None:
    result = writer.submit_blocking(command)
    assert result.status == "created", result

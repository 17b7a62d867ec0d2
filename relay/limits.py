"""What a key may ask for, and how often: checked before anything is held, and every refusal says what would have been allowed.

In order: the client's address, the key's models, requests in a window, words. What a check remembers is bounded, and the
settings it works by are read once for each version of them.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar, cast

from domain.settings import REGISTRY, InvalidSetting, Settings
from relay.asked import Asked
from relay.call import Call
from relay.errors import BadRequest, Forbidden, RateLimited
from relay.format import Format
from relay.shared_link import Link
from relay.shared_windows import SharedWindows
from relay.windows import Taken, Windows

if TYPE_CHECKING:  # admission reads the desk, which holds these limits
    from relay.admission import Caller

MAX_CHECKED_CHARACTERS: Final = 1_048_576
"""Of one prompt. Words are not looked for beyond it."""
MAX_WORDS: Final = 50_000
MAX_PATTERNS: Final = 1_000
MAX_PATTERN_CHARACTERS: Final = 1_000
PATTERN_SPAN_CHARACTERS: Final = 8_192
PATTERN_OVERLAP_CHARACTERS: Final = 512
"""A pattern sees a span at a time, so that a careless one costs spans and not the square of a prompt. What is longer than
the overlap may be missed where two spans meet."""
FEW_WORDS: Final = 64
"""So many are looked for one by one; more only where three characters of the prompt could begin one."""
HEAD_CHARACTERS: Final = 3
UNCHECKED: Final = frozenset({"embeddings"})
"""Formats whose input nobody answers to."""
PATTERN_PREFIX: Final = "regex:"

T = TypeVar("T")


class Admission:
    """A call that may go on. It counts as a success unless it is told otherwise."""

    __slots__ = ("_give_back",)

    def __init__(self, give_back: Callable[[], None] | None = None) -> None:
        self._give_back = give_back

    def failed(self) -> None:
        """The client got an error (a status of 400 or more): it does not count as a success. May be called twice."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class Limits:
    """The checks of one process; without `windows` of this one alone. The same object of settings is read once."""

    def __init__(self, windows: Windows | None = None) -> None:
        self._windows: Windows = windows or SharedWindows(Link())
        self._rules = _Rules.of(Settings({}))
        self._read_from: Settings | None = None

    async def admit(self, call: Call, asked: Asked, caller: Caller, format_: Format, settings: Settings) -> Admission:
        """Let a call pass. The key's models are names as clients ask for them; its addresses are single ones or networks.

        Raises:
            Forbidden: the address or the model is not among those that the key allows.
            RateLimited: the user's window is full.
            BadRequest: the prompt has a word that the operator filters (`sensitive_words_detected`).
        """
        if settings is not self._read_from:
            self._rules, self._read_from = _Rules.of(settings), settings
        terms = caller.key.terms
        if terms.allow_ips and not _is_allowed(terms.allow_ips, call.client_ip):
            raise Forbidden(f"this key may not be used from the address {call.client_ip or 'of your client'}")
        # Who pins a channel is an admin and may try any model there, as in the family.
        if terms.model_limits_enabled and not caller.pinned and asked.model not in terms.model_limits:
            raise Forbidden(f"this key may not use the model {asked.model}; it may use: {_shown(terms.model_limits)}")
        rate = self._rules.rate
        admission = _UNCOUNTED if rate is None else await self._take_turn(caller.user.id, rate)
        words = self._rules.words
        if (
            words is not None
            and format_.name not in UNCHECKED
            and words.may_be_in(asked)
            and words.are_in(texts_of(format_.prompt_of(asked)))
        ):
            admission.failed()
            raise BadRequest("the prompt has words that are filtered here", code="sensitive_words_detected")
        return admission

    async def _take_turn(self, user: int, rule: _Rate) -> Admission:
        if rule.requests:
            taken = await self._windows.take(f"requests:{user}", limit=rule.requests, window_s=rule.window_s)
            _refuse_when_full(taken, f"{rule.requests} requests", rule)
        if not rule.successes:
            return _UNCOUNTED
        name = f"successes:{user}"
        # The place is taken now and given back by a failure, so calls that run at once cannot pass the limit together.
        taken = await self._windows.take(name, limit=rule.successes, window_s=rule.window_s)
        _refuse_when_full(taken, f"{rule.successes} successful requests", rule)
        return Admission(lambda: self._windows.give_back(name, taken))


_UNCOUNTED: Final = Admission()
_CASELESS: Final = re.compile(r"[0-9_\-+@#$%&*~\u4e00-\u9fff]")
_ESCAPED: Final = re.compile(r'[\x00-\x1f"\\/]')
"""What JSON has, or may have, another way to write for."""


def texts_of(prompt: object) -> Iterator[str]:
    """The texts of a prompt as decoded JSON: a text, a list of texts, or messages with text parts of every role."""
    if isinstance(prompt, str):
        yield prompt
    if not isinstance(prompt, list):
        return
    for item in cast("list[object]", prompt):
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            fields = cast("dict[str, object]", item)
            text = fields.get("text")
            if isinstance(text, str):
                yield text
            yield from texts_of(fields.get("content"))


class _Rate(NamedTuple):
    """At most so many in a window; 0: no limit."""

    requests: int
    successes: int
    window_s: float


class _Words(NamedTuple):
    """What prompts are searched for: words in small letters, and patterns."""

    few: tuple[str, ...]
    by_head: dict[str, list[str]]
    """Many words, by how they begin."""
    patterns: tuple[re.Pattern[str], ...]
    are_literal: bool
    """JSON writes these words in one way only, but for escapes of the form \\u, and there is nothing else to look for."""
    marks: tuple[bytes, ...]
    """Of each of the few a character that has no small or large form, where each has one: no word is where no mark is."""

    def may_be_in(self, asked: Asked) -> bool:
        """False only where `are_in` finds nothing in any text of the prompt: most prompts need not be decoded for this.

        The one letter whose small form depends on what stands beside it is Sigma.
        """
        if not self.are_literal or asked.is_escaped:
            return True
        data = asked.large or asked.body
        for mark in self.marks:
            if mark in data:
                break
        else:
            if self.marks:
                return False
        text = data.decode()
        lower = text.lower()
        return "Σ" in text or any(word in lower for word in self.few)

    def are_in(self, texts: Iterable[str]) -> bool:
        text = "\n".join(texts)[:MAX_CHECKED_CHARACTERS].lower()
        return (
            any(word in text for word in self.few)
            or any(word in text for head in self._heads_in(text) for word in self.by_head[head])
            or any(pattern.search(span) for span in _spans(text) for pattern in self.patterns)
        )

    def _heads_in(self, text: str) -> Iterable[str]:
        if not self.by_head:
            return ()
        return self.by_head.keys() & {text[at : at + HEAD_CHARACTERS] for at in range(len(text) - HEAD_CHARACTERS + 1)}


class _Rules(NamedTuple):
    """What the settings say, read once."""

    rate: _Rate | None
    words: _Words | None

    @classmethod
    def of(cls, settings: Settings) -> _Rules:
        rate = words = None
        if _read(settings, Settings.bool, "ModelRequestRateLimitEnabled"):
            rate = _Rate(
                _read(settings, Settings.int, "ModelRequestRateLimitCount"),
                _read(settings, Settings.int, "ModelRequestRateLimitSuccessCount"),
                60.0 * max(1, _read(settings, Settings.int, "ModelRequestRateLimitDurationMinutes")),
            )
        if all(_read(settings, Settings.bool, f"CheckSensitive{where}Enabled") for where in ("", "OnPrompt")):
            words = _words(settings.text("SensitiveWords"))
        return cls(rate, words)


def _read(settings: Settings, getter: Callable[[Settings, str], T], key: str) -> T:
    """A setting; its default where a migrated store holds what cannot be read."""
    try:
        return getter(settings, key)
    except InvalidSetting:
        return getter(Settings({key: REGISTRY[key].default}), key)


def _words(text: str) -> _Words | None:
    lines = [line.strip() for line in text.splitlines()]
    plain = list(dict.fromkeys(line.lower() for line in lines if line and not line.startswith(PATTERN_PREFIX)))[
        :MAX_WORDS
    ]
    written = [line.removeprefix(PATTERN_PREFIX) for line in lines if line.startswith(PATTERN_PREFIX)]
    patterns = tuple(pattern for pattern in map(_compiled, written[:MAX_PATTERNS]) if pattern is not None)
    if not plain and not patterns:
        return None
    few = tuple(word for word in plain if len(plain) <= FEW_WORDS or len(word) < HEAD_CHARACTERS)
    by_head: dict[str, list[str]] = {}
    for word in plain if len(plain) > FEW_WORDS else ():
        if len(word) >= HEAD_CHARACTERS:
            by_head.setdefault(word[:HEAD_CHARACTERS], []).append(word)
    are_literal = not by_head and not patterns and not any(_ESCAPED.search(word) for word in few)
    marks = [next((mark.encode() for mark in word if _CASELESS.fullmatch(mark)), b"") for word in few]
    return _Words(few, by_head, patterns, are_literal, tuple(marks) if all(marks) else ())


def _compiled(pattern: str) -> re.Pattern[str] | None:
    """None for what is no pattern. Case is ignored: prompts are searched in small letters."""
    if not 0 < len(pattern) <= MAX_PATTERN_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # what a later Python will read differently is the operator's to know, not a log's
            return re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError):
        return None


def _spans(text: str) -> Iterator[str]:
    step = PATTERN_SPAN_CHARACTERS - PATTERN_OVERLAP_CHARACTERS
    for start in range(0, max(1, len(text) - PATTERN_OVERLAP_CHARACTERS), step):
        yield text[start : start + PATTERN_SPAN_CHARACTERS]


def _refuse_when_full(taken: Taken, what: str, rule: _Rate) -> None:
    if not taken.granted:
        wait_s = max(1, ceil(taken.retry_after_s))
        minutes = round(rule.window_s / 60)
        raise RateLimited(
            f"too many requests: at most {what} in {minutes} min; try again in {wait_s} s", retry_after_s=wait_s
        )


def _is_allowed(allowed: tuple[str, ...], client_ip: str) -> bool:
    networks = _networks(allowed)
    if networks is None:
        return True
    try:
        address = _plain(ip_address(client_ip))
    except ValueError:
        return False
    return any(address in network for network in networks)


@lru_cache(maxsize=4096)
def _networks(allowed: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...] | None:
    """The networks of a list; None for a list of nothing but blanks. One in which nothing can be read allows nobody."""
    written = [entry for entry in (line.strip(" ,\t\r\n") for line in allowed) if entry]
    if not written:
        return None
    networks: list[IPv4Network | IPv6Network] = []
    for entry in written:
        try:
            networks.append(ip_network(entry, strict=False))
        except ValueError:
            continue
    return tuple(networks)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address that a dual-stack socket shows as IPv6, as itself."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _shown(models: tuple[str, ...]) -> str:
    return ", ".join(models[:10]) + (", ..." if len(models) > 10 else "") if models else "none"

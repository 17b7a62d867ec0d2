"""What a request looks like on the wire. Nothing a caller passes in can end its own line: what could is refused, not cleaned."""

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from yarl import URL

from relay.errors import UpstreamUnreachable

MAX_SHAPES = 1024
FRAMING = frozenset(
    (
        *("connection", "content-length", "expect", "host", "keep-alive", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    )
)
"""Headers that say where a message ends or what becomes of its connection: the pool writes them itself."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code != 0x09)
_PRINTED = re.compile(r"[^\x00-\x20\x7f]+")
_METHOD = re.compile(r"[A-Z]{1,32}")


class Origin(NamedTuple):
    """Where connections go: those of one origin can stand in for each other."""

    tls: bool
    host: str
    port: int


class Place(NamedTuple):
    """A URL, taken apart once. `rest` is what follows the method in a request head, the Host line included."""

    origin: Origin
    rest: bytes


def place(url: str) -> Place:
    """Raises UpstreamUnreachable for what is no plain http(s) URL."""
    if not _PRINTED.fullmatch(url):
        raise UpstreamUnreachable("an upstream URL may hold no spaces and no control characters")
    try:
        parsed = URL(url, encoded=url.isascii())
        host, port = (parsed.raw_host or "").lower(), parsed.port
    except ValueError as error:
        raise UpstreamUnreachable("the upstream URL cannot be read") from error
    if parsed.scheme not in {"http", "https"} or not host or not port:
        raise UpstreamUnreachable("an upstream URL begins with http:// or https:// and names a host")
    if parsed.raw_user is not None or parsed.raw_password is not None:
        raise UpstreamUnreachable("an upstream URL may hold no credentials")
    rest = f" {parsed.raw_path_qs or '/'} HTTP/1.1\r\nHost: {parsed.host_port_subcomponent}\r\n"
    if not rest.isascii() or rest.count("\n") != 2 or rest.count(" ") != 3:
        raise UpstreamUnreachable("the upstream URL cannot be written into a request")
    return Place(Origin(parsed.scheme == "https", host, port), rest.encode())


def method_bytes(method: str) -> bytes:
    """Raises UpstreamUnreachable for what is no method, and for CONNECT, whose answer has no end."""
    if not _METHOD.fullmatch(method) or method == "CONNECT":
        raise UpstreamUnreachable("the method cannot be written into a request")
    return method.encode()


class Shapes:
    """Header names come in few combinations: each is looked at once."""

    __slots__ = ("_kept", "_seen")

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], bytes] = {}
        self._kept: dict[int, tuple[Mapping[str, str], bytes]] = {}
        """The lines of mappings that nobody changes, by what they are the `id` of."""

    def lines(self, headers: Mapping[str, str]) -> bytes:
        """Header lines; JSON is the content type of whoever names none. Raises UpstreamUnreachable."""
        kept = self._kept.get(id(headers))
        if kept is not None and kept[0] is headers:
            return kept[1]
        lines = self._written(headers)
        if isinstance(headers, MappingProxyType):
            if len(self._kept) >= MAX_SHAPES:
                self._kept.clear()
            self._kept[id(headers)] = headers, lines
        return lines

    def _written(self, headers: Mapping[str, str]) -> bytes:
        names = tuple(headers)
        extra = self._seen.get(names)
        if extra is None:
            extra = self._look(names)
        return header_bytes(headers.items()) + extra

    def _look(self, names: tuple[str, ...]) -> bytes:
        lower = [name.lower() for name in names]
        check_names(lower)
        if len(self._seen) >= MAX_SHAPES:
            self._seen.clear()
        extra = self._seen[names] = b"" if "content-type" in lower else b"Content-Type: application/json\r\n"
        return extra


def check_names(lower: list[str]) -> None:
    """Raises UpstreamUnreachable for a name that is none, stands twice, or is the pool's own."""
    if not all(map(_TOKEN.fullmatch, lower)) or len(set(lower)) != len(lower):
        raise UpstreamUnreachable("a header's name cannot be written into a request, or stands there twice")
    if not FRAMING.isdisjoint(lower):
        raise UpstreamUnreachable(f"the headers {sorted(FRAMING.intersection(lower))} are written by the pool itself")


def header_bytes(headers: Collection[tuple[str, str]]) -> bytes:
    """Header lines. Raises UpstreamUnreachable for a value with a line end or another control character; a tab is none."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers])
    try:
        lines = text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise UpstreamUnreachable("a header's value may hold Latin-1 characters only") from error
    # Two controls end each line; one more, and a value holds it.
    if len(lines) - len(lines.translate(None, _CONTROLS)) != 2 * len(headers):
        raise UpstreamUnreachable("a header's value may hold no line end and no control character")
    return lines

"""Proxies that a channel can be called through, each with or without a user and a password in its URL.

SOCKS 5 proxies resolve names, as in the family (whose `socks5` and `socks5h` are the same): a network that only the proxy sees can be
reached, and nobody on the way learns which. So does `socks4a`; for `socks4` names are resolved here, since its servers know none.
"""

from typing import Final, NamedTuple

from yarl import URL

HTTP: Final = frozenset({"http", "https"})
SAID: Final = "http://, https://, socks5:// or socks4://"


class Socks(NamedTuple):
    """A kind of SOCKS proxy: its protocol, and whether it resolves names."""

    protocol: str
    resolves: bool


SOCKS: Final = {
    "socks5": Socks("socks5", True),
    "socks5h": Socks("socks5", True),
    "socks4": Socks("socks4", False),
    "socks4a": Socks("socks4", True),
}


class NoProxy(ValueError):
    """A text that names no proxy; its message says what was expected, and nothing of the text, which may hold a password."""


def proxy_url(text: str) -> URL:
    """Raises NoProxy."""
    try:
        url = URL(text)
        host, port = url.host, url.port
    except ValueError:
        raise NoProxy(f"a proxy is a URL that begins with {SAID}") from None
    if url.scheme not in HTTP and url.scheme not in SOCKS:
        raise NoProxy(f"a proxy begins with {SAID}")
    if not host:
        raise NoProxy("a proxy names its host")
    if not port:
        raise NoProxy("a proxy names its port, a number from 1 to 65535")
    if url.path not in ("", "/") or url.query_string or url.fragment:
        raise NoProxy("a proxy is a host and a port, with nothing behind them")
    return url

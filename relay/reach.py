"""What a process may reach, how it trusts it, and how many connections that takes: the same for whichever client carries the calls."""

import asyncio
import ssl
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Final

import msgspec

IDLE_S = 30.0
MAX_WAITING = 4096

Permit = Callable[[str], bool]
"""Whether a numeric address may be connected to."""

NAT64: Final = IPv6Network("64:ff9b::/96")
"""Leads to the IPv4 address in its last 32 bits (RFC 6052)."""


NOT_PERMITTED: Final = "no connection to the provider: its address is not permitted"


def is_numeric(host: str) -> bool:
    """Whether it is an address already, of IPv4 or IPv6, with a zone or without."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def anywhere(address: str) -> bool:
    return True


def public(address: str) -> bool:
    """An address of the public internet: neither this machine nor its network, nor what a cloud answers on for its own machines.

    What stands for another address (IPv4 in IPv6, NAT64, 6to4, Teredo) is judged by that one as well.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(each.is_global and not each.is_multicast for each in (found, *_stands_for(found)))


def _stands_for(found: IPv4Address | IPv6Address) -> list[IPv4Address]:
    if isinstance(found, IPv4Address):
        return []
    behind = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
    if found in NAT64:
        behind.append(IPv4Address(int(found) & 0xFFFF_FFFF))
    return [address for address in behind if address is not None]


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """The terms on which connections to upstreams are made."""

    connections: int
    """At most so many, to all origins together."""
    per_origin: int = 0
    """At most so many to one origin (scheme, host and port); 0: no cap of its own."""
    max_waiting: int = MAX_WAITING
    """At most so many calls wait for a connection; the next one is refused."""
    idle_s: float = IDLE_S
    """How long a connection may be idle."""
    extra_roots: Path | None = None
    """A PEM file of roots that are trusted beside the system's."""
    permit: Permit = anywhere
    """Asked for every numeric address before it is connected to; a proxy that a channel names is connected to in any case."""


class Trust:
    """How an upstream's certificate is checked: by the system's roots, and by those of a file beside them."""

    def __init__(self, extra_roots: Path | None) -> None:
        self._extra_roots = extra_roots
        self._made: asyncio.Future[ssl.SSLContext] | None = None

    async def context(self) -> ssl.SSLContext:
        """Made once and off the loop: reading the system's roots takes some 40 ms. Whoever waits may leave.

        Raises OSError, of which ssl.SSLError is one.
        """
        if self._made is None:
            self._made = asyncio.ensure_future(asyncio.to_thread(self._read))
        return await asyncio.shield(self._made)

    def _read(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._extra_roots is not None:
            context.load_verify_locations(cafile=self._extra_roots)
        context.set_alpn_protocols(["http/1.1"])
        return context

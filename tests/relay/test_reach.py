"""Which addresses are of the public internet, and which only look as if they were."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.reach import NAT64, public

PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.1.1.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "2001:db8::1",
    "ff02::1",
    "ff0e::1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001:81b::200e"]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_of_the_public_internet_is_not(address: str) -> None:
    assert not public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_of_the_public_internet_is(address: str) -> None:
    assert public(address)


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "127.1", "2130706433", "0x7f.0.0.1", "[::1]", "1.1.1.1:80"])
def test_what_is_no_numeric_address_is_not_public(text: str) -> None:
    assert not public(text)


@given(st.ip_addresses(v=4))
def test_an_address_in_the_clothes_of_another_is_judged_by_both(hidden: IPv4Address) -> None:
    number = int(hidden)
    clothes = {
        "mapped": IPv6Address(0xFFFF << 32 | number),
        "nat64": IPv6Address(int(NAT64.network_address) | number),
        "6to4": IPv6Address(0x2002 << 112 | number << 80),
        "teredo": IPv6Address(0x2001_0000 << 96 | int(ip_address("1.1.1.1")) << 64 | number ^ 0xFFFF_FFFF),
    }
    for worn in clothes.values():
        assert not public(str(worn)) or public(str(hidden))

"""How upstreams are reached is the operator's to say, in the environment; what cannot be is refused at the start, by its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from api.compose import upstream_of
from api.settings import Environment
from relay.aiohttp_pool import AiohttpUpstream
from relay.lean_pool import LeanUpstream
from relay.reach import Reach, anywhere, public
from tests.harness.certificates import Authority


@pytest.mark.parametrize(("pool", "kind"), [("lean", LeanUpstream), ("aiohttp", AiohttpUpstream)])
def test_every_term_comes_from_the_environment(
    pool: str, kind: type[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = Authority(tmp_path).roots
    said = {
        "UPSTREAM_POOL": pool,
        "UPSTREAM_CONNECTIONS": "7",
        "UPSTREAM_CONNECTIONS_PER_ORIGIN": "3",
        "UPSTREAM_WAITING": "11",
        "UPSTREAM_IDLE_S": "2.5",
        "UPSTREAM_CA_FILE": str(roots),
        "UPSTREAM_ADDRESSES": "public",
    }
    for name, value in said.items():
        monkeypatch.setenv(name, value)

    upstream = upstream_of(Environment())

    assert isinstance(upstream, LeanUpstream | AiohttpUpstream)
    assert type(upstream) is kind
    assert upstream.reach == Reach(
        connections=7, per_origin=3, max_waiting=11, idle_s=2.5, extra_roots=roots, permit=public
    )


def test_by_default_there_is_no_cap_for_an_origin_and_any_address_may_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("UPSTREAM_POOL", raising=False)

    upstream = upstream_of(Environment())

    assert isinstance(upstream, LeanUpstream)
    assert upstream.reach == Reach(connections=1024, permit=anywhere)


def test_an_empty_name_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_CA_FILE", "")

    assert Environment().upstream_ca_file is None


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_without_certificates_is_refused(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "roots.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("UPSTREAM_CA_FILE", str(path))

    with pytest.raises(ValidationError, match="no certificates can be read from"):
        Environment()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UPSTREAM_CONNECTIONS_PER_ORIGIN", "-1"),
        ("UPSTREAM_WAITING", "many"),
        ("UPSTREAM_IDLE_S", "0"),
        ("UPSTREAM_ADDRESSES", "private"),
    ],
)
def test_a_term_that_cannot_be_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError, match=name.lower()):
        Environment()

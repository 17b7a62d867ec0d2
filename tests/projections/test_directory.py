"""A directory that begins with the read model knows what one knows that read the whole log, wherever the read model stood."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from domain import api_key, channel, streams
from domain.events import UserStandingChanged
from ledger.errors import LedgerUnavailable
from projections.directory import Directory
from projections.readmodel import ReadModel
from tests.projections.house import House, until

FRESH_WITHIN_S = 0.25


@pytest.fixture
def town(house: House) -> House:
    """Users, keys and channels, some of them changed or gone, and settings."""
    for name in ("ada", "bob", "eve"):
        house.key(house.user(name))
    house.key(1, "limited", limit=5_000)
    house.channel("one", ("gpt-4o", "o3"))
    house.channel("two", ("gpt-4o",), priority=5, groups=("default", "vip"))
    house.channel("three", ("x",), model_prefix="p-", model_mapping={"x": "y"})
    house.option("ModelRatio", '{"gpt-4o": 2}')
    house.option("GroupRatio", '{"default": 1, "vip": 3}')
    house.delete_user(3)
    return house


def test_what_is_loaded_equals_what_is_read_from_the_log(town: House, read: ReadModel) -> None:
    read.await_head()

    with started(town) as whole, started(town, read) as loaded:
        assert known(loaded) == known(whole)


def test_what_happened_after_the_read_model_is_read_from_the_log(town: House, read: ReadModel) -> None:
    read.await_head()
    change(town)

    with started(town) as whole, started(town, read) as loaded:
        assert known(loaded) == known(whole)
        assert loaded.models("vip") == ()


def test_without_a_read_model_the_log_is_enough(town: House, read: ReadModel) -> None:
    with started(town, read) as loaded:
        assert loaded.user(1) is not None


def test_a_change_is_known_within_the_bound_that_is_stated(town: House, read: ReadModel) -> None:
    with started(town, read) as directory:
        town.append(streams.user(2), UserStandingChanged(id=2, role=1, status=2, group="default"))

        until(lambda: (found := directory.user(2)) and not found.is_enabled, "the change", FRESH_WITHIN_S)


def test_an_outage_of_the_ledger_passes_and_no_fact_is_skipped(
    town: House, read: ReadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = True

    def secret(ref: str) -> bytes | None:
        if broken:
            raise LedgerUnavailable("the server is away")
        return found(ref)

    found = town.store.secret
    with started(town, read) as directory:
        monkeypatch.setattr(town.store, "secret", secret)
        number = town.channel("four", ("new",))
        until(lambda: directory.models("default") and not directory.models("default").count("new"), "the old places")
        broken = False

        until(lambda: directory.channel(number) and directory.routes("default", "new"), "the new channel")


def test_a_change_of_one_channel_leaves_the_places_of_others_as_they_are(town: House) -> None:
    with started(town) as directory:
        before = directory.place("default", "o3")
        change(town)
        directory.wait_for(town.store.head())

        assert directory.place("default", "o3") is before
        assert [one.channel.id for tier in directory.routes("default", "gpt-4o") for one in tier] == [1]


@contextmanager
def started(house: House, read: ReadModel | None = None) -> Iterator[Directory]:
    directory = Directory(house.store, house.vault)
    directory.start(read.entities if read else None)
    try:
        yield directory
    finally:
        directory.stop()


def change(house: House) -> None:
    """Switch the second channel off, and the first key."""
    found = channel.from_facts(r.fact for r in house.store.read_stream(streams.channel(2)))
    key = api_key.from_facts(r.fact for r in house.store.read_stream(streams.key(1)))
    assert found is not None
    assert key is not None
    house.done(channel.status_change(found, 1, channel.Status.SWITCHED_OFF, actor=1))
    house.done(api_key.status_change(key, 1, api_key.Status.DISABLED))


def known(directory: Directory) -> object:
    """Everything that a call or an admin can ask it."""
    users = [directory.user(number) for number in range(1, 5)]
    keys = [directory.key(number) for number in range(1, 7)]
    found = [directory.authenticate(key.digest) for key in keys if key]
    places = {
        (group, model): directory.place(group, model)
        for group in ("default", "vip")
        for model in (*directory.models("default"), *directory.models("vip"))
    }
    channels = [directory.channel(number) for number in range(1, 5)]
    price = directory.book.price("gpt-4o", "vip").model_ratio
    return users, keys, found, places, channels, dict(directory.options()), price, directory.models("default")

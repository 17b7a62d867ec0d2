"""What a store keeps beside the ledger: seals, sessions, the wrapped keys, and who has the lead."""

from __future__ import annotations

import pytest

from domain.commands import Append, Part
from domain.events import SettingChanged
from domain.streams import setting
from ledger import postgres_reading
from ledger.store import Seal, Session
from tests.laws import calls
from tests.ledger.places import Place, ServerPlace, Store

SEAL = Seal(1, 1, 2, 2, b"r" * 32, b"\0" * 32, "key", b"s" * 64, 5)


def test_a_seal_is_stored_once_and_comes_back_as_it_was(store: Store) -> None:
    answers = [store.append_seal(SEAL), store.append_seal(SEAL._replace(root=b"x" * 32))]

    assert answers == [True, False]
    assert store.last_seal() == SEAL


def test_seals_are_read_in_their_order_after_a_number(store: Store) -> None:
    seals = [SEAL._replace(number=n, first=n, last=n) for n in range(1, 6)]
    for seal in seals:
        store.append_seal(seal)

    assert store.read_seals(0, 2) == seals[:2]
    assert store.read_seals(2, 100) == seals[2:]
    assert store.last_seal() == seals[-1]


def test_a_ledger_without_seals_has_none(store: Store) -> None:
    assert (store.last_seal(), store.read_seals(0, 10)) == (None, [])


def test_a_session_is_there_until_it_is_ended(store: Store) -> None:
    session = Session("digest", 7, 1_000, 2_000)
    store.put_session(session)

    assert store.session("digest") == session
    assert (store.end_session("digest"), store.end_session("digest")) == (True, False)
    assert store.session("digest") is None


def test_a_session_that_is_put_again_is_the_new_one(store: Store) -> None:
    store.put_session(Session("digest", 7, 1_000, 2_000))
    store.put_session(Session("digest", 7, 1_000, 9_000))

    assert store.session("digest") == Session("digest", 7, 1_000, 9_000)


def test_all_sessions_of_a_user_end_and_those_of_others_stay(store: Store) -> None:
    for n in range(6):
        store.put_session(Session(f"digest {n}", n % 2, 0, 2_000))

    assert store.end_sessions_of(1) == 3
    assert store.end_sessions_of(1) == 0
    assert [store.session(f"digest {n}") is not None for n in range(6)] == [True, False] * 3


def test_expired_sessions_are_forgotten_a_bounded_number_at_a_time_the_oldest_first(store: Store) -> None:
    for n in range(5):
        store.put_session(Session(f"digest {n}", 1, 0, 1_000 + n))

    assert [store.forget_sessions(1_003, limit=2) for _ in range(3)] == [2, 1, 0]
    assert [store.session(f"digest {n}") is not None for n in range(5)] == [False, False, False, True, True]


def test_keys_are_added_once_and_those_that_are_there_stay(store: Store) -> None:
    store.add_to_keyring({"a": b"first", "b": b"\x00\xff"})
    store.add_to_keyring({"a": b"second", "c": b""})

    assert store.keyring() == {"a": b"first", "b": b"\x00\xff", "c": b""}


def test_one_has_the_lead_until_it_gives_it_up(place: Place, store: Store) -> None:
    other = place.open()
    lead, beside = store.lead("sealer"), other.lead("reaper")
    assert lead is not None
    assert beside is not None
    assert lead.is_held()
    assert other.lead("sealer") is None

    lead.close()
    next_one = other.lead("sealer")

    assert not lead.is_held()
    assert next_one is not None
    assert beside.is_held()
    next_one.close()
    beside.close()
    other.close()


def test_whoever_loses_the_connection_of_its_lead_knows_it_and_another_takes_it(on_server: ServerPlace) -> None:
    first, second = on_server.open(), on_server.open()
    lead = first.lead("sealer")
    assert lead is not None

    with on_server.connected() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid()"
        )

    taken = second.lead("sealer")
    assert not lead.is_held()
    assert taken is not None
    taken.close()
    first.close()
    second.close()


def test_a_snapshot_sees_nothing_of_what_comes_after_it(store: Store) -> None:
    store.commit([calls.customer(grant=100)])

    with store.snapshot() as reader:
        store.commit([calls.hold(60)])
        seen = (reader.head(), reader.balance("user:1:available"), reader.open_holds())

    assert seen == (2, (100, 0), [])
    assert store.balance("user:1:available") == (40, 0)


def test_the_version_of_the_data_changes_with_every_commit_of_another_process(place: Place, store: Store) -> None:
    other = place.open()
    seen = [store.version_of_data()]

    for n in range(5):
        other.commit([calls.customer(str(n))])
        seen.append(store.version_of_data())

    assert len(set(seen)) == 6
    other.close()


def test_pages_of_accounts_holds_and_secrets_have_all_of_them_in_the_same_order(store: Store) -> None:
    store.commit([calls.customer(str(n), grant=1 + n) for n in range(1_100)])
    store.commit([calls.hold(1, calls.charge(n + 1), user=n + 1) for n in range(50)])

    names = [name for name, _ in store.balances()]
    holds = store.open_holds(limit=20) + store.open_holds(limit=100, after=calls.charge(20))

    assert names == sorted(names)
    assert sum(name.endswith(":available") for name in names) == 1_100
    assert [hold.charge for hold in holds] == [calls.charge(n + 1) for n in range(50)]


def test_broken_streams_are_found_on_whichever_page_they_are(
    place: Place, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_reading, "PAGE_ROWS", 7)
    store.commit([calls.customer(str(n)) for n in range(30)])
    store.commit([append(n) for n in range(20)])  # one stream that is longer than a page
    streams = [fact.stream for fact in store.read_stored(0, 100)]
    for stream in streams[10:12]:
        place.tamper("UPDATE stored_events SET originator_version = 2 WHERE originator_id = ?", (stream,))
    place.tamper("DELETE FROM stored_events WHERE originator_id = ? AND originator_version = 15", (streams[-1],))

    found = store.broken_streams()

    assert sorted(found) == sorted([*streams[10:12], streams[-1]])


def append(number: int) -> Append:
    return Append(parts=(Part(setting("s"), None, (SettingChanged(key="s", value=str(number)),)),))

"""On a server a command takes effect once, whatever breaks on the way, and the log is the order in which everything happened."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import LiteralString, NamedTuple

import msgspec
import psycopg
import pytest

from domain import streams
from domain.books import EMPTY
from domain.commands import Append, Command, Grant, LimitKey, Part, VaultPut
from domain.events import SettingChanged, UserDeleted
from ledger import postgres_commit
from ledger.errors import LedgerUnavailable
from ledger.postgres import PostgresStore
from ledger.postgres_arrays import bigints, byteas, texts, uuids
from ledger.verify import verify
from tests.harness.postgres import Server
from tests.harness.tcp_proxy import Cut, Proxy
from tests.harness.waiting import eventually
from tests.laws import calls
from tests.ledger.places import QUICK, ServerPlace

Stores = tuple[PostgresStore, PostgresStore]
NOW_MS = 10**12
STATEMENTS = 14
"""More than one commit of the batch below has."""


@pytest.fixture
def stores(on_server: ServerPlace) -> Iterator[tuple[PostgresStore, PostgresStore]]:
    """Ours and theirs, at one moment, so that no clock tells which came first."""
    with closing(on_server.open(clock=lambda: NOW_MS)) as ours, closing(on_server.open(clock=lambda: NOW_MS)) as theirs:
        yield ours, theirs


class Wired(NamedTuple):
    """A ledger that is reached over a wire."""

    store: PostgresStore
    proxy: Proxy
    place: ServerPlace


@pytest.fixture
def wired(tcp_server: Server) -> Iterator[Wired]:
    place = ServerPlace(tcp_server.dsn(tcp_server.database()))
    with Proxy("127.0.0.1", tcp_server.port) as proxy:
        dsn = place.dsn.replace(f"port={tcp_server.port}", f"port={proxy.port}")
        with closing(PostgresStore(dsn, limits=QUICK._replace(answer_s=1.5, idle_in_transaction_s=1))) as store:
            yield Wired(store, proxy, place)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_connection_that_is_lost_at_any_statement_of_a_commit_is_made_good(
    server: Server, on_server: ServerPlace, after: bool
) -> None:
    lost: list[str] = []
    with closing(on_server.open()) as store:
        store.commit([calls.customer(grant=50_000), calls.key_of(1, limit=30_000)])
        for n in range(1, STATEMENTS):
            store.commit(prepared(n))
            statements = lose_connection(store, server, n, after=after)

            answers = [result.status for result in store.commit(batch(n))]

            assert answers == ["created"] * 5
            lost += statements[n - 1 : n]

        facts, holds = len(store.read_stored(0, 10**4)), [hold.amount for hold in store.open_holds()]
        assert (facts, holds) == (3 + 9 * (STATEMENTS - 1), [700, 5] * (STATEMENTS - 1))
        assert {row[0] for row in on_server.contents()["vault"]} == {f"new {n}" for n in range(1, STATEMENTS)}
        assert verify(store).is_sound
    assert (lost[0], lost[-1]) == ("BEGIN", "COMMIT")
    assert len(lost) >= 8


@pytest.mark.parametrize("how", ["before", "after", "delayed", "silent"])
def test_what_has_no_name_is_done_once_however_the_answer_to_its_commit_is_lost(wired: Wired, how: Cut) -> None:
    """A limit changed by a delta, a fact appended wherever its stream is: sent again, either would count twice."""
    wired.store.commit([calls.customer(grant=1_000), calls.key_of(1, limit=500)])
    wired.proxy.cut(b"COMMIT", how)

    answers = wired.store.commit([LimitKey(key=1, delta=70), setting("x"), calls.hold(5)])

    assert wired.proxy.cuts == 1
    assert [answer.status for answer in answers] == ["created"] * 3
    assert limit_of(wired.store) == 570
    assert len(wired.store.read_stream(streams.setting("s"))) == 1
    assert verify(wired.store).is_sound


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_hold_whose_answer_was_lost_answers_exists_when_it_is_asked_for_again(wired: Wired, how: Cut) -> None:
    wired.store.commit([calls.customer(grant=1_000)])
    wired.proxy.cut(b"COMMIT", how)
    first = wired.store.commit([calls.hold(5)])[0]

    again = wired.store.commit([calls.hold(5)])[0]

    assert (first.status, again.status) == ("created", "exists")
    assert again.fact == first.fact


def test_a_commit_whose_outcome_cannot_be_learned_says_so_and_is_answered_when_it_is_asked_for_again(
    wired: Wired, tcp_server: Server
) -> None:
    wired.store.commit([calls.customer(grant=1_000)])
    original = wired.store._connected

    def unreachable(until: float) -> object:
        if wired.proxy.cuts:
            raise LedgerUnavailable("the server is away")
        return original(until)

    wired.store._connected = unreachable  # type: ignore[method-assign, assignment]
    wired.store.address.limits = QUICK._replace(commit_s=1)
    wired.proxy.cut(b"COMMIT", "after")
    with pytest.raises(LedgerUnavailable, match="not known"):
        wired.store.commit([calls.hold(5)])
    wired.store._connected = original  # type: ignore[method-assign]

    assert wired.store.commit([calls.hold(5)])[0].status == "exists"


def test_what_another_process_did_before_the_turn_is_seen_though_its_account_is_not_locked(stores: Stores) -> None:
    """The user is deleted between the reading of the grant's streams and its turn: no grant comes after the deletion."""
    ours, theirs = stores
    ours.commit([calls.customer()])
    before("take_turn", ours, lambda: theirs.commit([deletion(1)]))

    granted = ours.commit([Grant(user=1, amount=500, why="gift")])[0]

    assert granted.status == "not_found"
    assert ours.balance("user:1:available") in (None, (0, 0))


def test_two_processes_that_append_to_one_stream_at_once_do_not_overwrite_each_other(stores: Stores) -> None:
    ours, theirs = stores
    ours.commit([setting("old")])
    before("take_turn", ours, lambda: theirs.commit([setting("theirs", expected=1)]))

    answers = ours.commit([setting("ours", expected=1), setting("ours anyway")])

    assert [answer.status for answer in answers] == ["conflict", "created"]
    values = [recorded.fact.value for recorded in ours.read_stream(streams.setting("s"))]  # type: ignore[attr-defined]
    assert values == ["old", "theirs", "ours anyway"]
    assert ours.retries == 0


def test_two_processes_that_hold_under_one_id_for_two_users_at_once_hold_it_once(stores: Stores) -> None:
    ours, theirs = stores
    ours.commit([calls.customer(grant=500), calls.customer("bob", grant=500)])
    before("take_turn", ours, lambda: theirs.commit([calls.hold(5, user=2)]))

    answer = ours.commit([calls.hold(5, user=1)])[0]

    assert answer.status == "exists_with_different"
    assert [hold.user for hold in ours.open_holds()] == [2]
    assert verify(ours).is_sound


def test_nobody_gets_a_later_place_in_the_log_before_an_earlier_one_is_there_to_be_read(stores: Stores) -> None:
    """Ours has its places, and is not committed; theirs shares no account with it, and waits all the same."""
    ours, theirs = stores
    ours.commit([calls.customer(), calls.customer("bob")])
    done: list[int] = []
    theirs_commits = threading.Thread(
        target=lambda: done.append(len(theirs.commit([calls.hold(0, calls.charge(2), user=2)])))
    )

    def let_theirs_try() -> None:
        theirs_commits.start()
        theirs_commits.join(0.5)
        assert not done

    before("COMMIT", ours, let_theirs_try)
    ours.commit([calls.hold(0, calls.charge(1), user=1)])
    theirs_commits.join(10)

    assert done == [1]
    assert [fact.stream for fact in ours.read_stored(2, 10)] == [calls.charge(1), calls.charge(2)]


def test_time_never_falls_along_the_log_whatever_the_clocks_of_its_processes_say(on_server: ServerPlace) -> None:
    stores = [on_server.open(clock=lambda ahead=ahead: NOW_MS + ahead) for ahead in (0, 5_000, -5_000, 9_000)]  # type: ignore[misc]

    for n in range(9):
        stores[n % 3].commit([calls.customer(str(n))])
    before("take_turn", stores[0], lambda: stores[3].commit([calls.customer("between")]))
    stores[0].commit([setting("later")])

    moments = [recorded.fact.at for recorded in stores[0].read_log(0, 100)]
    assert moments == sorted(moments)
    assert moments[-1] == NOW_MS + 9_000
    for store in stores:
        store.close()


def test_processes_that_name_accounts_nobody_has_yet_wait_for_each_other(on_server: ServerPlace) -> None:
    """An empty ledger: neither the counters nor the first user's accounts have a row to lock."""
    stores = [on_server.open() for _ in range(4)]
    ids: list[int] = []
    barrier = threading.Barrier(len(stores))

    def register(store: PostgresStore, number: int) -> None:
        barrier.wait()
        for n in range(10):
            registered, held = store.commit(
                [calls.customer(f"{number}-{n}", grant=10), calls.hold(0, calls.charge(100 * number + n), user=40 - n)]
            )
            ids.append(registered.id)
            assert held.status == "created"

    threads = [threading.Thread(target=register, args=(store, n)) for n, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ids) == list(range(1, 41))
    assert verify(stores[0]).is_sound
    for store in stores:
        store.close()


def test_a_plan_that_was_made_while_the_tables_were_empty_does_not_read_them_whole_when_they_are_full(
    on_server: ServerPlace,
) -> None:
    """Every scan of a table goes by a key, or by the order of the log from its end."""
    with closing(on_server.open()) as store, on_server.connected() as connection:
        connection.execute("ANALYZE")
        link = store.address.connect("plans")
        streams_, names = uuids([calls.FIRST]), texts(["a"])
        numbers = bigints([1])
        asked: dict[LiteralString, dict[str, object] | tuple[object, ...]] = {
            postgres_commit.GUARDS_SQL: (names,),
            postgres_commit.PAST_SQL: (streams_,),
            postgres_commit.GROW_SQL: {"charges": streams_, "amounts": numbers, "extensions": numbers},
            postgres_commit.DELETE_SECRETS_SQL: (names,),
            postgres_commit.WRITE_SQL: {
                **postgres_commit.guard_arrays({"a": EMPTY}),
                "put": "[]",
                "ended": streams_,
                "now": 10**13,
                "commit_id": calls.FIRST,
                "streams": streams_,
                "versions": numbers,
                "topics": names,
                "states": byteas([b""]),
            },
        }
        found = [
            scan
            for sql, parameters in asked.items()
            for scan in scans(link.execute(f"EXPLAIN (FORMAT JSON) {sql}", parameters).fetchall()[0][0])
        ]
        link.close()

    assert {scan["Relation Name"] for scan in found} == {"balances", "stored_events", "holds", "vault"}
    whole = [scan for scan in found if not ({"Index Cond", "Recheck Cond"} & scan.keys())]
    assert [(scan["Relation Name"], scan.get("Scan Direction")) for scan in whole] == [("stored_events", "Backward")]


@pytest.mark.parametrize("tcp", [False, True], ids=["socket", "tcp"])
def test_a_batch_of_twenty_megabytes_does_not_hang(server: Server, tcp_server: Server, tcp: bool) -> None:
    used = tcp_server if tcp else server
    with closing(PostgresStore(used.dsn(used.database()), limits=QUICK)) as store:
        store.commit([calls.customer()])
        secrets = [large(f"v{n}", in_vault=True) for n in range(10)]
        facts = [large(f"f{n}", in_vault=False) for n in range(10)]

        answers = store.commit([*secrets, *facts])

        assert {answer.status for answer in answers} == {"created"}
        assert sum(len(fact.state) for fact in store.read_stored(0, 100)) > 10**7
        assert len(store.secret("v9") or b"") == 10**6


def prepared(n: int) -> list[Command]:
    """An open hold and a secret, of their own for each number."""
    part = Part(streams.setting(f"smtp {n}"), None, (SettingChanged(key="smtp", secret=f"old {n}"),))
    return [
        calls.hold(200, calls.charge(10 * n + 1), capped=True),
        Append(parts=(part,), vault=(VaultPut(f"old {n}", b"sealed"),)),
    ]


def batch(n: int) -> list[Command]:
    """A command for every table, after `prepared`."""
    bob = calls.customer(f"bob {n}", grant=10, token=f"bob {n}")
    return [
        calls.hold(700, calls.charge(10 * n + 2), capped=True),
        calls.extend(1, 100, calls.charge(10 * n + 1), capped=True),
        calls.settle(150, calls.charge(10 * n + 1), capped=True, extensions=1),
        msgspec.structs.replace(bob, vault=(VaultPut(f"new {n}", b"sealed"),), vault_delete=(f"old {n}",)),
        calls.hold(5, calls.charge(10 * n + 3)),
    ]


def lose_connection(store: PostgresStore, server: Server, n: int, *, after: bool) -> list[str]:
    """The server ends the connection at the n-th statement; the statements that were sent so far, as they come."""
    link = store._link
    assert link is not None
    execute, pid, said = link.execute, link.info.backend_pid, list[str]()

    def breaking(query: str, *arguments: object, **options: object) -> object:
        said.append(query.strip())
        if len(said) != n:
            return execute(query, *arguments, **options)  # type: ignore[call-overload]
        if not after:
            end_backend(server, pid)
            return execute(query, *arguments, **options)  # type: ignore[call-overload]
        execute(query, *arguments, **options)  # type: ignore[call-overload]
        end_backend(server, pid)
        link.close()
        raise psycopg.OperationalError("the test lost the answer")

    link.execute = breaking  # type: ignore[method-assign, assignment]
    return said


def end_backend(server: Server, pid: int) -> None:
    server.ask("SELECT pg_terminate_backend(%s)", pid)
    eventually(lambda: server.ask("SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid), lambda rows: not rows)


def before(word: str, store: PostgresStore, act: Callable[[], object]) -> None:
    """Once, before the store's next statement with this word in it."""
    link = store._connected(float("inf"))._link
    execute = link.execute

    def acting(query: str, *arguments: object, **options: object) -> object:
        if word in query:
            link.execute = execute  # type: ignore[method-assign]
            act()
        return execute(query, *arguments, **options)  # type: ignore[call-overload]

    link.execute = acting  # type: ignore[method-assign, assignment]


def limit_of(store: PostgresStore) -> int:
    guard = store.balance("key:1:cap")
    assert guard is not None
    return guard.balance


def setting(value: str, *, expected: int | None = None) -> Append:
    return Append(parts=(Part(streams.setting("s"), expected, (SettingChanged(key="s", value=value),)),))


def large(name: str, *, in_vault: bool) -> Append:
    """A megabyte, in a fact or beside it."""
    value, secret = ("", (VaultPut(name, b"x" * 10**6),)) if in_vault else ("x" * 10**6, ())
    fact = SettingChanged(key=name, value=value)
    return Append(parts=(Part(streams.setting(name), None, (fact,)),), vault=secret)


def deletion(user: int) -> Append:
    return Append(parts=(Part(streams.user(user), None, (UserDeleted(id=user),)),))


def scans(plan: object) -> Iterator[dict[str, object]]:
    """The nodes of a plan that read a table."""
    if isinstance(plan, list):
        for each in plan:
            yield from scans(each)
    elif isinstance(plan, dict):
        if "Relation Name" in plan and "Scan" in str(plan["Node Type"]):
            yield plan
        yield from scans([value for value in plan.values() if isinstance(value, list | dict)])

"""What is recorded on a server is changed and deleted by nobody, and the role that runs the ledger has not even the right to try."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import msgspec
import psycopg
import pytest

from domain.commands import VaultPut
from ledger.errors import StoreRefused
from ledger.postgres import PostgresStore
from ledger.postgres_connection import Address
from ledger.postgres_roles import grant_application_role
from ledger.store import Seal, Session
from ledger.verify import verify
from tests.laws import calls
from tests.ledger.places import QUICK, ServerPlace

CHANGES = (
    "UPDATE stored_events SET state = '{}' WHERE id = 1",
    "UPDATE stored_events SET recorded_at = 0",
    "UPDATE stored_events SET topic = topic WHERE false",
    "DELETE FROM stored_events WHERE id = 1",
    "DELETE FROM stored_events",
    "TRUNCATE stored_events",
    "TRUNCATE stored_events CASCADE",
    """INSERT INTO stored_events (originator_id, originator_version, topic, state)
        SELECT originator_id, originator_version, topic, state FROM stored_events
        ON CONFLICT (originator_id, originator_version) DO UPDATE SET state = '{}'""",
    """MERGE INTO stored_events AS old USING stored_events AS new ON old.id = new.id
        WHEN MATCHED THEN UPDATE SET state = '{}'""",
    "MERGE INTO stored_events AS old USING stored_events AS new ON old.id = new.id WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM stored_events RETURNING *) SELECT * FROM gone",
    "UPDATE seals SET root = ''",
    "DELETE FROM seals",
    "TRUNCATE seals",
)
FORBIDDEN = (
    *CHANGES,
    "ALTER TABLE stored_events DISABLE TRIGGER ALL",
    "DROP TRIGGER stored_events_never_change ON stored_events",
    "DROP TABLE stored_events",
    "ALTER SEQUENCE stored_events_id_seq RESTART",
    "SELECT setval('stored_events_id_seq', 1)",
    "INSERT INTO stored_events (id, originator_id, originator_version, topic, state) OVERRIDING SYSTEM VALUE "
    "SELECT -1, gen_random_uuid(), 1, 'x', ''",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "CREATE TABLE mine (x int)",
    "TRUNCATE balances",
    "DELETE FROM balances",
    "UPDATE keyring SET wrapped = ''",
    "DELETE FROM keyring",
    "UPDATE vault SET sealed = ''",
    "INSERT INTO migrations (number) VALUES (99)",
    "SET session_replication_role = replica",
)
SEAL = Seal(1, 1, 2, 2, b"r" * 32, b"p" * 32, "k", b"s" * 64, 5)


@pytest.fixture
def ledger(on_server: ServerPlace) -> ServerPlace:
    """With some facts, and a seal."""
    with closing(on_server.open()) as store:
        store.commit([calls.customer(grant=500), calls.hold(100)])
        store.append_seal(SEAL)
    return on_server


@pytest.fixture
def application(ledger: ServerPlace) -> Iterator[ServerPlace]:
    """The same ledger, as a role that was granted what an application needs."""
    role = f"application_{ledger.schema}"
    with ledger.connected() as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        grant_application_role(Address(ledger.dsn, schema=ledger.schema), role)
        yield ServerPlace(ledger.dsn.replace("user=postgres", f"user={role}"), ledger.schema)
        connection.execute(f"DROP OWNED BY {role}".encode())
        connection.execute(f"DROP ROLE {role}".encode())


@pytest.mark.parametrize("replica", [False, True], ids=["plainly", "as a replica"])
def test_a_fact_or_a_seal_is_neither_changed_nor_deleted_not_even_by_the_superuser(
    ledger: ServerPlace, replica: bool
) -> None:
    before = ledger.contents()

    with ledger.connected() as connection:
        if replica:
            connection.execute("SET session_replication_role = replica")
        refused = [sql for sql in CHANGES if is_refused(connection, sql, psycopg.errors.RestrictViolation)]

    assert refused == list(CHANGES)
    assert ledger.contents() == before


def test_the_application_role_may_not_touch_what_happened(ledger: ServerPlace, application: ServerPlace) -> None:
    before = ledger.contents()

    with application.connected() as connection:
        refused = [sql for sql in FORBIDDEN if is_refused(connection, sql, psycopg.errors.InsufficientPrivilege)]

    assert refused == list(FORBIDDEN)
    assert ledger.contents() == before


def test_the_application_role_runs_the_whole_ledger(application: ServerPlace) -> None:
    with closing(PostgresStore(application.dsn, schema=application.schema, limits=QUICK)) as store:
        secret = VaultPut("new", b"sealed")
        first = store.commit(
            [calls.key_of(1, limit=300), msgspec.structs.replace(calls.customer("bob"), vault=(secret,))]
        )
        charged = [calls.hold(100, calls.charge(9), capped=True), calls.extend(1, 5, calls.FIRST)]
        second = store.commit([*charged, msgspec.structs.replace(calls.customer("eve"), vault_delete=("new",))])
        third = store.commit([calls.settle(50, extensions=1), calls.release(calls.charge(9), capped=True)])
        store.add_to_keyring({"name": b"wrapped"})
        store.put_session(Session("d", 1, 0, 1))
        lead = store.lead("sealer")

        assert {answer.status for answer in (*first, *second, *third)} == {"created"}
        assert store.append_seal(SEAL._replace(number=2)) is True
        assert store.append_seal(SEAL) is False
        assert store.end_session("d") is True
        assert lead is not None
        assert verify(store).is_sound
        lead.close()


def test_the_application_role_finds_out_whether_a_lost_commit_was_made(application: ServerPlace) -> None:
    with closing(PostgresStore(application.dsn, schema=application.schema, limits=QUICK)) as store:
        store.commit([calls.customer("bob")])
        link = store._link
        assert link is not None
        execute = link.execute

        def losing(query: str, *arguments: object, **options: object) -> object:
            answer = execute(query, *arguments, **options)  # type: ignore[call-overload]
            if query == "COMMIT":
                link.close()
                raise psycopg.OperationalError("the test lost the answer")
            return answer

        link.execute = losing  # type: ignore[method-assign, assignment]

        assert store.commit([calls.customer("eve")])[0].status == "created"
        assert store.commit([calls.customer("ada the second")])[0].id == 4


def test_the_application_role_migrates_nothing_and_says_who_does(application: ServerPlace) -> None:
    with pytest.raises(StoreRefused, match="as its owner"):
        PostgresStore(application.dsn, schema="elsewhere", limits=QUICK)


def test_an_owner_that_is_no_superuser_migrates_and_cannot_change_what_happened(ledger: ServerPlace) -> None:
    with ledger.connected() as connection:
        connection.execute("CREATE ROLE an_owner LOGIN")
        connection.execute("CREATE SCHEMA owned AUTHORIZATION an_owner")
        owned = ServerPlace(ledger.dsn.replace("user=postgres", "user=an_owner"), "owned")
        with closing(owned.open()) as store:
            store.commit([calls.customer(grant=5)])

        with owned.connected() as own, pytest.raises(psycopg.errors.InsufficientPrivilege):
            own.execute("DELETE FROM stored_events")

        connection.execute("DROP OWNED BY an_owner CASCADE")
        connection.execute("DROP ROLE an_owner")


def is_refused(connection: psycopg.Connection, sql: str, error: type[psycopg.Error]) -> bool:
    try:
        connection.execute(sql.encode())
    except error:
        return True
    except psycopg.errors.CardinalityViolation:
        return "ON CONFLICT" in sql  # two lines would change one row: refused before anybody is asked
    return False

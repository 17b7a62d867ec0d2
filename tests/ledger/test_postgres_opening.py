"""The tables on a server are made once, whoever comes first; what cannot be a ledger is refused, and no message tells a password."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.errors import LedgerUnavailable, StoreRefused
from ledger.postgres import PostgresStore
from ledger.postgres_connection import Address
from ledger.postgres_roles import grant_application_role
from ledger.postgres_schema import SCHEMA_VERSION, migrate
from ledger.vault import open_vault
from ledger.verify import verify
from tests.harness.postgres import Server
from tests.laws import calls
from tests.ledger.places import QUICK, ServerPlace

ROOT = Path(__file__).resolve().parent.parent.parent
PROCESSES = 5
OPENS = """
import json, sys
from pathlib import Path
from ledger.vault import open_vault
from tests.laws import calls
from tests.ledger.places import opened
print("ready", flush=True)
sys.stdin.readline()
store = opened(sys.argv[1])
vault = open_vault(store, Path(), "the secret")
ids = [store.commit([calls.customer(f"{sys.argv[2]}-{n}", grant=5)])[0].id for n in range(20)]
print(json.dumps({"digest": vault.digest("username", "ada"), "ids": ids}))
"""
SECRET = "swordfish-and-chips"
BAD = (
    f"postgresql://u:{SECRET}@host:54:32/db?port=x=y",
    f"host=h password={SECRET} no such thing",
    f"postgresql://u:{SECRET}@[::1/db",
    f"password='{SECRET}",
    f"postgresql://u:{SECRET}@h/db?unknown=1",
)


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    name = server.database()
    yield name
    server.drop(name)


def test_processes_that_make_one_ledger_at_once_all_come_up_with_the_same_one(server: Server, database: str) -> None:
    place = ServerPlace(server.dsn(database))
    processes = [opening(place, n) for n in range(PROCESSES)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    answers = [process.communicate(timeout=60) for process in processes]

    assert [error for _, error in answers] == [""] * PROCESSES
    seen = [json.loads(out) for out, _ in answers]
    assert len({one["digest"] for one in seen}) == 1
    assert sorted(number for one in seen for number in one["ids"]) == list(range(1, 20 * PROCESSES + 1))
    assert server.ask("SELECT number FROM veloera.migrations", database=database) == [(1,)]
    with closing(place.open()) as store:
        assert verify(store).is_sound


def test_a_schema_of_a_newer_version_is_refused_and_left_as_it_is(on_server: ServerPlace) -> None:
    with closing(on_server.open()) as store:
        store.commit([calls.customer(grant=5)])
    with on_server.connected() as connection:
        connection.execute("INSERT INTO migrations (number) VALUES (%s)", (SCHEMA_VERSION + 1,))
    before = on_server.contents()

    for may_migrate in (True, False):
        with pytest.raises(StoreRefused, match="upgrade"):
            PostgresStore(on_server.dsn, schema=on_server.schema, migrate=may_migrate)

    assert on_server.contents() == before


def test_a_worker_does_not_make_tables_and_says_who_should(on_server: ServerPlace) -> None:
    with pytest.raises(StoreRefused, match="migrate first"):
        PostgresStore(on_server.dsn, schema=on_server.schema, migrate=False)

    with on_server.connected() as connection:
        assert connection.execute("SELECT to_regnamespace(%s)", (on_server.schema,)).fetchall() == [(None,)]


def test_migrating_again_changes_nothing(on_server: ServerPlace) -> None:
    address = Address(on_server.dsn, schema=on_server.schema)

    assert [migrate(address), migrate(address)] == [SCHEMA_VERSION, 0]


def test_a_migration_that_fails_half_way_leaves_nothing_behind(
    on_server: ServerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ledger import postgres_schema

    broken = (*postgres_schema.MIGRATIONS, ("CREATE TABLE more (x int)", "SELECT 1 / 0"))
    with monkeypatch.context() as patch:
        patch.setattr(postgres_schema, "MIGRATIONS", broken)
        patch.setattr(postgres_schema, "SCHEMA_VERSION", len(broken))
        with pytest.raises(Exception, match="division by zero"):
            migrate(Address(on_server.dsn, schema=on_server.schema))
    with on_server.connected() as connection:
        assert connection.execute("SELECT to_regnamespace(%s)", (on_server.schema,)).fetchall() == [(None,)]

    with closing(on_server.open()) as store:
        assert store.head() == 0


def test_a_database_that_is_not_in_utf8_is_refused(server: Server) -> None:
    server.ask("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")

    with pytest.raises(StoreRefused, match="LATIN1"):
        PostgresStore(server.dsn("latin"))

    server.drop("latin")


def test_a_password_with_an_at_sign_is_not_taken_for_a_part_of_the_host() -> None:
    with pytest.raises(StoreRefused, match="%40") as refused:
        Address(f"postgresql://ada:pass@{SECRET}@host/ledger")

    assert SECRET not in everything_said(refused.value)


@pytest.mark.parametrize("dsn", BAD)
def test_what_is_no_connection_string_is_refused_without_telling_the_password(dsn: str) -> None:
    with pytest.raises(StoreRefused, match="expected postgresql://") as refused:
        PostgresStore(dsn)

    assert SECRET not in everything_said(refused.value)


def test_a_server_that_is_not_there_is_said_to_be_unavailable_without_telling_the_password() -> None:
    dsn = f"postgresql://ada:{SECRET}@127.0.0.1:1/ledger"

    with pytest.raises(LedgerUnavailable, match=r"host=127\.0\.0\.1 port=1 dbname=ledger user=ada") as refused:
        PostgresStore(dsn, limits=QUICK)

    assert SECRET not in everything_said(refused.value)
    assert SECRET not in str(Address(dsn))


@pytest.mark.parametrize("schema", ["", "Ledger", "a b", "a;drop", "x" * 41, "1st", 'q"'])
def test_what_is_no_plain_name_is_refused_as_a_schema(schema: str) -> None:
    with pytest.raises(StoreRefused, match="schema"):
        Address("host=h", schema=schema)


def test_what_the_connection_string_says_goes_before_what_we_would_choose(server: Server) -> None:
    dsn = server.dsn() + " application_name=mine options='-c statement_timeout=77ms -c work_mem=9MB'"

    with Address(dsn).connect("test") as link:
        asked = link.execute(
            "SELECT current_setting('application_name'), current_setting('work_mem'), current_setting('lock_timeout')"
        ).fetchall()

    assert asked == [("mine", "9MB", "8s")]


def test_a_store_that_is_closed_and_opened_again_is_the_same(on_server: ServerPlace, tmp_path: Path) -> None:
    with closing(on_server.open()) as store:
        store.commit([calls.customer(grant=500), calls.hold(100)])
        open_vault(store, tmp_path, "the secret")
    before = on_server.contents()

    with closing(on_server.open()) as store:
        again = store.commit([calls.hold(100)])[0].status
        open_vault(store, tmp_path, "the secret")

    assert again == "exists"
    assert on_server.contents() == before


@pytest.mark.parametrize(("durability", "waits_for"), [("full", "on"), ("process", "local")])
def test_a_commit_waits_for_what_its_durability_says(on_server: ServerPlace, durability: str, waits_for: str) -> None:
    with closing(PostgresStore(on_server.dsn, schema=on_server.schema, durability=durability)) as store:  # type: ignore[arg-type]
        store.commit([calls.customer()])
        assert store._link is not None

        assert store._link.execute("SHOW synchronous_commit").fetchall() == [(waits_for,)]


def test_granting_to_nobody_or_to_the_owner_is_refused(on_server: ServerPlace) -> None:
    address = Address(on_server.dsn, schema=on_server.schema)
    migrate(address)

    for role, why in (("nobody_at_all", "no role"), ("postgres", "owns the tables")):
        with pytest.raises(StoreRefused, match=why):
            grant_application_role(address, role)


def opening(place: ServerPlace, number: int) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", OPENS, place.told(), str(number)]
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def everything_said(error: BaseException | None) -> str:
    """The message, and those of what led to it, as a log would show them."""
    said = ""
    while error is not None:
        said += repr(error) + str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return said

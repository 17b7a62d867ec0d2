"""The tables of the ledger on a server: made and changed by numbered migrations, each once, whoever comes first.

Facts and seals can be inserted and nothing else: triggers refuse the rest to everybody, the owner of the tables included.
"""

from hashlib import sha256

import psycopg
from psycopg.sql import SQL, Identifier

from ledger.errors import StoreRefused
from ledger.postgres_connection import Address, Link

MIGRATION_LIMIT_S = 120

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE stored_events (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            originator_id uuid NOT NULL,
            originator_version bigint NOT NULL,
            topic text COLLATE "C" NOT NULL,
            state bytea NOT NULL,
            recorded_at bigint NOT NULL DEFAULT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint,
            commit_id uuid,
            UNIQUE (originator_id, originator_version))""",
        """COMMENT ON COLUMN stored_events.commit_id IS
            'on the first fact of a commit: how a writer that lost its connection knows whether the commit was made'""",
        # What the directory follows is a thousandth of the log: found without reading the rest.
        """CREATE INDEX stored_events_without_charges ON stored_events (id) WHERE left(topic, 7) <> 'charge.'""",
        # Room in each page: an update then needs no new entry in the index.
        """CREATE TABLE balances (account text COLLATE "C" PRIMARY KEY, balance bigint NOT NULL, floor bigint)
            WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02)""",
        """CREATE TABLE holds (
            charge uuid PRIMARY KEY, "user" bigint NOT NULL, key bigint NOT NULL, capped boolean NOT NULL,
            amount bigint NOT NULL, extensions bigint NOT NULL, node text NOT NULL, epoch text NOT NULL,
            deadline bigint NOT NULL)
            WITH (autovacuum_vacuum_scale_factor = 0.02)""",
        """CREATE TABLE vault (ref text COLLATE "C" PRIMARY KEY, sealed bytea NOT NULL)""",
        """CREATE TABLE keyring (name text COLLATE "C" PRIMARY KEY, wrapped bytea NOT NULL)""",
        """CREATE TABLE seals (
            number bigint PRIMARY KEY, first bigint NOT NULL, last bigint NOT NULL, facts bigint NOT NULL,
            root bytea NOT NULL, previous bytea NOT NULL, key_id text NOT NULL, signature bytea NOT NULL,
            at bigint NOT NULL)""",
        """CREATE TABLE sessions (
            digest text COLLATE "C" PRIMARY KEY, "user" bigint NOT NULL, began_at_ms bigint NOT NULL,
            expires_at_ms bigint NOT NULL)""",
        """CREATE INDEX sessions_by_user ON sessions ("user")""",
        """CREATE INDEX sessions_by_expiry ON sessions (expires_at_ms)""",
        """CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION '% are never changed or deleted', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
            END $$""",
        *(
            statement
            for table in ("stored_events", "seals")
            for statement in (
                f"""CREATE TRIGGER {table}_never_change BEFORE UPDATE OR DELETE ON {table}
                    FOR EACH ROW EXECUTE FUNCTION refuse_change()""",
                f"""CREATE TRIGGER {table}_never_go BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
                    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()""",
                # ALWAYS: also in a session that calls itself a replica.
                f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_never_change",
                f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_never_go",
                f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM PUBLIC, CURRENT_USER",
            )
        ),
        # One statement of a function sees what was committed while the one before it waited; one of a plain query does not.
        """CREATE FUNCTION take_turn(
                seen bigint, streams uuid[], OUT head bigint, OUT last_at bigint, OUT moved boolean)
            LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM pg_advisory_xact_lock({turn});
                SELECT e.id, e.recorded_at INTO head, last_at FROM {schema}.stored_events e ORDER BY e.id DESC LIMIT 1;
                head := coalesce(head, 0);
                last_at := coalesce(last_at, 0);
                moved := head > seen AND EXISTS (
                    SELECT 1 FROM (
                        SELECT e.originator_id FROM {schema}.stored_events e WHERE e.id > seen ORDER BY e.id OFFSET 0) since
                    WHERE since.originator_id = ANY (streams));
            END $$""",
    ),
)
SCHEMA_VERSION = len(MIGRATIONS)


def lock_key(schema: str, name: str) -> int:
    """The number of an advisory lock: the same in every process, another one for every schema of a database."""
    return int.from_bytes(sha256(f"veloera:{schema}:{name}".encode()).digest()[:8], "big", signed=True)


def turn_key(schema: str) -> int:
    """The lock under which facts are inserted: whoever has it has the end of the log."""
    return lock_key(schema, "turn")


def migrate(address: Address) -> int:
    """Bring the schema to this version, in one transaction; how many migrations that took. Any number of processes may try at once.

    Raises StoreRefused for a newer schema or a database that cannot hold a ledger, LedgerUnavailable when it cannot be reached.
    """
    limit = f"{MIGRATION_LIMIT_S}s"
    with address.connect("migration", statement_timeout=limit, lock_timeout=limit) as link:
        link.answer_s = MIGRATION_LIMIT_S + 10
        if version_of(link, address) == SCHEMA_VERSION:
            return 0
        try:
            with link.transaction():
                link.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(address.schema, "migration"),))
                return _migrate(link, address)
        except psycopg.errors.InsufficientPrivilege as error:
            raise StoreRefused(
                f"the role of SQL_DSN may not make the schema {address.schema}: migrate as its owner ({error.diag.message_primary})"
            ) from error
        except psycopg.OperationalError as error:
            raise address.unavailable("migrated", error) from error


def check(address: Address) -> None:
    """Raises StoreRefused where the schema is not of this version, LedgerUnavailable when it cannot be reached."""
    with address.connect("check") as link:
        version = version_of(link, address)
        if version != SCHEMA_VERSION:
            raise StoreRefused(
                f"the schema {address.schema} is at migration {version}, this version of Veloera needs {SCHEMA_VERSION}: migrate first"
            )


def version_of(link: Link, address: Address) -> int:
    """The number of the last migration; 0 before the first.

    Raises StoreRefused when it is newer than this version knows, LedgerUnavailable when the server is gone.
    """
    try:
        rows = link.execute("SELECT to_regclass(%s)", (f"{address.schema}.migrations",)).fetchall()
        if rows[0][0] is None:
            return 0
        version = int(link.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchall()[0][0])
    except psycopg.errors.InsufficientPrivilege as error:
        raise StoreRefused(f"the role of SQL_DSN may not use the schema {address.schema}: grant it first") from error
    except psycopg.OperationalError as error:
        raise address.unavailable("read", error) from error
    if version > SCHEMA_VERSION:
        raise StoreRefused(
            f"the schema {address.schema} is at migration {version}, this version of Veloera knows {SCHEMA_VERSION}: upgrade"
        )
    return version


def _migrate(link: Link, address: Address) -> int:
    (encoding,) = link.execute("SHOW server_encoding").fetchall()[0]
    if encoding != "UTF8":
        raise StoreRefused(f"a ledger needs a database in UTF8, this one is in {encoding}")
    # Asked first: `IF NOT EXISTS` needs the right to create one even where there is one.
    if not link.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (address.schema,)).fetchall():
        link.execute(SQL("CREATE SCHEMA {}").format(Identifier(address.schema)))
    done = version_of(link, address)
    if done == 0:
        link.execute(
            "CREATE TABLE migrations (number bigint PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
    for number, statements in enumerate(MIGRATIONS[done:], done + 1):
        for statement in statements:
            filled = statement.replace("{schema}", address.schema).replace("{turn}", str(turn_key(address.schema)))
            link.execute(filled.encode())
        link.execute("INSERT INTO migrations (number) VALUES (%s)", (number,))
    return SCHEMA_VERSION - done

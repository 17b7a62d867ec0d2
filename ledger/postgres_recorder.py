"""The library's recorder over our table: for what is built on the library, and for its contract. Commits do not pass here.

Facts are inserted in the same turn as the ledger's own, never under the library's lock of the whole table: that one stops VACUUM,
ANALYZE and CREATE INDEX CONCURRENTLY, and is stopped by them. Nor in its pipeline, which hangs for ever on a large batch.
"""

from collections.abc import Sequence
from uuid import UUID

from eventsourcing.persistence import Notification, StoredEvent
from eventsourcing.postgres import ConnectionPool, PostgresApplicationRecorder, PostgresDatastore
from psycopg import Connection
from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Identifier

from ledger.postgres_connection import Address
from ledger.postgres_schema import turn_key

COLUMNS = "id, originator_id, originator_version, topic, state"
POOL_SIZE = 5


class LedgerDatastore(PostgresDatastore):
    """The library's datastore over our connection string. Opens its pool when it is first used."""

    def __init__(self, address: Address) -> None:
        super().__init__(dbname="", host="", port="", user="", password="", schema=address.schema)
        self.turn = turn_key(address.schema)
        self.pool.close()
        self.pool = ConnectionPool(
            address.conninfo("recorder", {}),
            connection_class=Connection[DictRow],
            kwargs={"row_factory": dict_row, "autocommit": True},
            min_size=1,
            max_size=POOL_SIZE,
            open=False,
            timeout=address.limits.answer_s,
        )


class PostgresRecorder(PostgresApplicationRecorder):
    """The library's recorder over the ledger's table. The table is made by the ledger's migrations, never here."""

    def __init__(self, datastore: LedgerDatastore) -> None:
        super().__init__(datastore)
        self.channel_name = datastore.schema
        self._turn = datastore.turn
        table = Identifier(datastore.schema, self.events_table_name)
        self.select_events_statement = SQL(f"SELECT {COLUMNS} FROM {{}} WHERE originator_id = %s").format(table)
        self.max_notification_id_statement = SQL("SELECT max(id) FROM {}").format(table)

    def create_table(self) -> None:
        raise AssertionError("the ledger's migrations make its tables")

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: object) -> Sequence[int] | None:
        sql = """INSERT INTO stored_events (originator_id, originator_version, topic, state)
            SELECT stream, version, topic, state
            FROM unnest(%s::uuid[], %s::bigint[], %s::text[], %b::bytea[])
                WITH ORDINALITY AS x (stream, version, topic, state, n)
            ORDER BY n RETURNING id"""
        columns = (
            [str(event.originator_id) for event in stored_events],
            [event.originator_version for event in stored_events],
            [event.topic for event in stored_events],
            [event.state for event in stored_events],
        )
        with self.datastore.transaction(commit=True) as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (self._turn,))
            cursor.execute(sql, columns)
            return [row["id"] for row in cursor.fetchall()]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        sql = f"SELECT {COLUMNS} FROM stored_events WHERE id >= %s"
        parameters: list[object] = [0 if start is None else start + (not inclusive_of_start)]
        if stop is not None:
            sql += " AND id <= %s"
            parameters.append(stop)
        if topics:
            sql += " AND topic = ANY (%s)"
            parameters.append(list(topics))
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute(sql + " ORDER BY id LIMIT %s", [*parameters, limit])
            return [_notification(row) for row in cursor.fetchall()]


def recorder_at(address: Address) -> PostgresRecorder:
    return PostgresRecorder(LedgerDatastore(address))


def _notification(row: DictRow) -> Notification:
    stream: UUID = row["originator_id"]
    return Notification(
        id=row["id"],
        originator_id=stream,
        originator_version=row["originator_version"],
        topic=row["topic"],
        state=bytes(row["state"]),
    )

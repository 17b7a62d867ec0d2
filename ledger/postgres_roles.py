"""Two roles: one owns the tables and migrates them, the other runs the ledger and cannot change or delete what happened.

The owner is whoever migrates. `grant_application_role` gives another role, made by the operator, what serving needs and no more.
"""

from typing import LiteralString

import psycopg
from psycopg.sql import SQL, Identifier

from ledger.errors import StoreRefused
from ledger.postgres_connection import Address

GRANTS: tuple[tuple[LiteralString, LiteralString], ...] = (
    ("SELECT", "migrations"),
    # Not the position: that is the server's to give, or a fact could be put into the past.
    ("SELECT, INSERT (originator_id, originator_version, topic, state, recorded_at, commit_id)", "stored_events"),
    ("SELECT, INSERT", "seals"),
    ("SELECT, INSERT, UPDATE", "balances"),
    ("SELECT, INSERT, UPDATE, DELETE", "holds"),
    ("SELECT, INSERT, DELETE", "vault"),
    ("SELECT, INSERT", "keyring"),
    ("SELECT, INSERT, UPDATE, DELETE", "sessions"),
)


def grant_application_role(address: Address, role: str) -> None:
    """Give `role`, which must exist, the least it needs to run the ledger, and take away what else it had on its tables.

    To be asked for as the owner, after migrating; again after each migration. Raises StoreRefused when the role does not exist, is
    the owner or a superuser (nothing can be kept from those), or the asker is not the owner.
    """
    with address.connect("grant") as link:
        found = link.execute(
            "SELECT rolsuper, rolname = current_user FROM pg_roles WHERE rolname = %s", (role,)
        ).fetchall()
        if not found:
            raise StoreRefused(f"there is no role {role!r}: CREATE ROLE it first, with LOGIN and a password")
        if any(found[0]):
            raise StoreRefused(f"{role!r} owns the tables or is a superuser: an application role must be another one")
        schema, name = Identifier(address.schema), Identifier(role)
        try:
            with link.transaction():
                link.execute(SQL("REVOKE ALL ON ALL TABLES IN SCHEMA {} FROM {}").format(schema, name))
                link.execute(SQL("REVOKE ALL ON SCHEMA {} FROM {}").format(schema, name))
                link.execute(SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, name))
                for rights, table in GRANTS:
                    link.execute(SQL(f"GRANT {rights} ON {table} TO {{}}").format(name))
                link.execute(SQL("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {} TO {}").format(schema, name))
        except psycopg.errors.InsufficientPrivilege as error:
            raise StoreRefused(f"only the owner of the schema {address.schema} may grant its tables") from error
        except psycopg.OperationalError as error:
            raise address.unavailable("changed", error) from error

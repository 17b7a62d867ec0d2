"""All read models that are folded into read.db, and their tables."""

from collections.abc import Mapping
from typing import Final

from ledger.vault import Vault
from projections.audit import Audit
from projections.channels import Channels
from projections.codes import Codes
from projections.entities import Entities
from projections.invites import Invites
from projections.keys import Keys
from projections.options import Options
from projections.payments import Payments
from projections.people import People
from projections.projection import Projection
from projections.rollups import Rollups
from projections.statements import Statements
from projections.usage_log import UsageLog


def projections(vault: Vault) -> tuple[Projection, ...]:
    of_things = (Entities(), People(vault), Keys(), Channels(), Options(), Codes(), Payments(), Invites())
    return (*of_things, Statements(), UsageLog(), Rollups(), Audit())


TABLES: Final[Mapping[str, str]] = {
    **Entities.tables,
    **People.tables,
    **Keys.tables,
    **Channels.tables,
    **Options.tables,
    **Codes.tables,
    **Payments.tables,
    **Invites.tables,
    **Statements.tables,
    **UsageLog.tables,
    **Rollups.tables,
    **Audit.tables,
}
"""Every table, with the columns that order its rows."""

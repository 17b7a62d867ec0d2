#!/bin/sh
# Make a standby of the ledger's PostgreSQL the primary: promote-standby.sh CONNECTION_STRING, of a superuser, to the standby itself.
#
# Before: the old primary is off, and stays off. Processes of Veloera that saw the new one refuse an old one that comes back; whatever
# else writes to it does not. To use its machine again make it a standby first, see docs/reliability.md.
set -eu
standby=${1:?"expected the connection string of the standby"}

# A base backup has copied the setting by which the old primary waited for this one. There is nobody that a new primary could wait
# for: with it, every commit would hang for ever. It is cleared first, so that no commit ever meets it.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname "$standby" \
    --command "ALTER SYSTEM SET synchronous_standby_names = ''" \
    --command "SELECT pg_reload_conf()" >/dev/null

promoted=$(psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --dbname "$standby" \
    --command "SELECT pg_promote(wait => true, wait_seconds => 60)")
[ "$promoted" = t ] || { echo "the standby was not promoted within 60 s: see its log" >&2; exit 1; }
echo "promoted: it takes commits, and waits for no standby. Give it one: pg_basebackup -R, then synchronous_standby_names."

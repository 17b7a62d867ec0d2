"""The spool: what was kept is charged once, whatever the database, the disk and the process do meanwhile."""

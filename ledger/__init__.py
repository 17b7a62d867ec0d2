"""The append-only store: commit, read, follow, verify. What was acknowledged is durable; what is stored never changes."""

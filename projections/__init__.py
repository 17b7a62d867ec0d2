"""What we know now: read models, each a fold of facts. Any of them may be deleted and is rebuilt from the log."""

"""The JSON API over a real ledger, read model and directory, asked the way clients ask it."""

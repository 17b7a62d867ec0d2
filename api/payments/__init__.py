"""Money from outside: what it buys, who says that it came, and how the ledger hears of it once."""

"""What can happen and what must stay true: facts, accounts, prices and the decision itself. Pure: no I/O, no clock, no randomness."""

"""A small VOPR: several gateways, their database and their clients in one process, with every fault that a seed draws.

Nothing here is real but the rules: no thread, no clock, no disk, no network. One seed makes one history, to the byte.
"""

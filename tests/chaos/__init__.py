"""Chaos: disks that fail, servers that are replaced, clocks that lie, hints that are lost; the promises stay, with figures."""

"""Breaks `decide` in every small way and counts how often the laws notice: `python -m tests.mutation`."""

"""Crashes and races: processes that are killed in the middle of their work, and processes that all want the same quota."""

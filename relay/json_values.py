"""Decoded JSON, looked at without trust: what it should be, or nothing."""

from typing import cast

JsonObject = dict[str, object]


def as_object(value: object) -> JsonObject:
    """The object, or an empty one when it is something else."""
    return cast(JsonObject, value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[object]:
    """The array, or an empty one when it is something else."""
    return cast("list[object]", value) if isinstance(value, list) else []

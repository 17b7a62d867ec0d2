"""All routes of the JSON API in one router. Fixed paths come before those that hold an id."""

from fastapi import APIRouter

from api.admin import (
    auth,
    channels,
    data,
    groups,
    ledger,
    logs,
    options,
    pricing,
    setup,
    status,
    tokens,
    users,
)

RESOURCES = (setup, status, auth, groups, pricing, users, tokens, channels, options, logs, data, ledger)


def build_router() -> APIRouter:
    """The routes under `/api`, for an application whose `state.services` are `api.admin.services.Services`."""
    router = APIRouter()
    for resource in RESOURCES:
        router.include_router(resource.routes)
    return router

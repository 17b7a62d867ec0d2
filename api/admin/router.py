"""All routes of the JSON API in one router. Fixed paths come before those that hold an id."""

from fastapi import APIRouter

from api.admin import (
    as_of,
    auth,
    channels,
    check_in,
    codes,
    data,
    groups,
    invites,
    ledger,
    logs,
    notices,
    options,
    pricing,
    redeeming,
    refunds,
    setup,
    standing,
    status,
    tokens,
    topups,
    users,
)

OF_ACCOUNTS = (setup, status, auth, invites, check_in, redeeming, groups, pricing, users, standing, tokens)
OF_MONEY = (codes, topups, notices, ledger, refunds, as_of)
RESOURCES = (*OF_ACCOUNTS, channels, options, logs, data, *OF_MONEY)


def build_router() -> APIRouter:
    """The routes under `/api`, for an application whose `state.services` are `api.admin.services.Services`."""
    router = APIRouter()
    for resource in RESOURCES:
        router.include_router(resource.routes)
    return router

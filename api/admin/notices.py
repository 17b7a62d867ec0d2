"""Where a payment provider says what became of a payment. It hears `success` only when that is committed, and comes again until then.

The ledger away is a 503; everything else that cannot be taken is `fail` with the 200 that the protocol wants.
"""

import logging
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from fastapi.responses import PlainTextResponse

from api.admin.refusals import Refusal
from api.admin.routing import Routes
from api.admin.services import Services, Site
from api.admin.topups import provider_of
from api.payments import epay
from api.payments.notices import heard
from api.payments.provider import NotGenuine
from ledger.errors import LedgerError

log = logging.getLogger("veloera.payments")

routes = Routes("top-ups")

TAKEN, NOT_TAKEN = "success", "fail"
MAX_NOTICE_BYTES = 16_384
MAX_FIELDS = epay.MAX_FIELDS


async def sent_fields(request: Request) -> dict[str, str] | None:
    """The fields of a notice, from the query or a form; None for what cannot be one, a field sent twice above all."""
    query = request.scope["query_string"].decode("latin-1")
    form = (await request.body()).decode("latin-1") if request.method == "POST" else ""
    if len(query) + len(form) > MAX_NOTICE_BYTES:
        return None
    try:
        pairs = [
            pair
            for text in (query, form)
            for pair in parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
        ]
    except ValueError:
        return None
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else None


Sent = Annotated[dict[str, str] | None, Depends(sent_fields)]

_FIELDS = ("pid", "trade_no", "out_trade_no", "type", "name", "money", "trade_status", "sign", "sign_type")
_TEXT: dict[str, Any] = {"text/plain": {"schema": {"type": "string", "enum": [TAKEN, NOT_TAKEN]}}}
_SAID: dict[int | str, dict[str, Any]] = {
    200: {"description": "success: it is committed; fail: it is no notice, or the ledger refused it", "content": _TEXT},
    "default": {"description": "fail: the ledger cannot be written now; come again", "content": _TEXT},
}
_QUERY = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _FIELDS]
_FORM = {"type": "object", "properties": {name: {"type": "string"} for name in _FIELDS}}


@routes.get(
    "/api/user/epay/notify",
    summary="The gateway's notice of a payment",
    response_class=PlainTextResponse,
    responses=_SAID,
    openapi_extra={"parameters": _QUERY},
)
def take_epay_notice(site: Site, sent: Sent) -> PlainTextResponse:
    return _answered(site, sent)


@routes.post(
    "/api/user/epay/notify",
    summary="The gateway's notice of a payment, as a form",
    response_class=PlainTextResponse,
    responses=_SAID,
    openapi_extra={"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": _FORM}}}},
)
def take_epay_notice_form(site: Site, sent: Sent) -> PlainTextResponse:
    return _answered(site, sent)


def _answered(site: Services, sent: dict[str, str] | None) -> PlainTextResponse:
    try:
        provider = provider_of(site)
        notice = provider.verify(sent or {})
    except (NotGenuine, Refusal) as error:
        log.warning("payment_notice_refused", extra={"why": str(error)})
        return PlainTextResponse(NOT_TAKEN)
    try:
        is_taken = heard(site.books, site.directory.settings, provider.name, notice)
    except (LedgerError, TimeoutError) as error:
        log.error("payment_notice_not_committed", extra={"trade": notice.trade, "why": str(error)})
        return PlainTextResponse(NOT_TAKEN, 503)
    return PlainTextResponse(TAKEN if is_taken else NOT_TAKEN)

"""Epay, the family's payment gateway: a form signed with MD5 leads to it, and a signed request of its own comes back.

The signature covers every field that is not empty; a field sent twice is a forgery, for nobody could say which one was signed.
Source: reference of the family's administrative surface, section 4.9.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

from api.payments.provider import Checkout, NotConfigured, NotGenuine, Notice, Order
from domain.settings import Settings

NAME: Final = "epay"
CURRENCY: Final = "CNY"
PAID: Final = "TRADE_SUCCESS"
CLOSED: Final = "TRADE_CLOSED"
METHODS: Final = {"zfb": "alipay"}
OTHER_METHOD: Final = "wxpay"
UNSIGNED: Final = frozenset({"sign", "sign_type"})
MAX_FIELDS: Final = 64
MONEY: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,2}0*)?")


class Epay:
    """One merchant account at one gateway."""

    name = NAME
    currency = CURRENCY

    def __init__(self, *, address: str, merchant: str, key: str, notify_url: str, return_url: str) -> None:
        self._address = address.rstrip("/")
        self._merchant = merchant
        self._key = key
        self._notify_url = notify_url
        self._return_url = return_url

    def method(self, asked: str) -> str:
        return METHODS.get(asked, OTHER_METHOD)

    def checkout(self, order: Order) -> Checkout:
        """The form that a browser posts to the gateway's page."""
        fields = {
            "pid": self._merchant,
            "type": order.method,
            "out_trade_no": order.trade,
            "notify_url": self._notify_url,
            "return_url": self._return_url,
            "name": order.title,
            "money": money_text(order.money_minor),
            "device": "pc",
        }
        signed = {**fields, "sign": signature(fields, self._key), "sign_type": "MD5"}
        return Checkout(f"{self._address}/submit.php", signed)

    def verify(self, sent: Mapping[str, str]) -> Notice:
        """A notice of a payment that was made or given up. Raises NotGenuine for every other."""
        if len(sent) > MAX_FIELDS or not hmac.compare_digest(
            signature(sent, self._key).encode(), sent.get("sign", "").lower().encode()
        ):
            raise NotGenuine("the signature is not the gateway's")
        if sent.get("pid") != self._merchant:
            raise NotGenuine("it is for another merchant")
        trade, status = sent.get("out_trade_no", ""), sent.get("trade_status", "")
        if not trade or status not in (PAID, CLOSED):
            raise NotGenuine(f"it says neither that an order was paid nor that it was given up: status {status[:32]!r}")
        return Notice(
            trade=trade,
            money_minor=money_minor(sent.get("money", "")),
            currency=CURRENCY,
            provider_event=sent.get("trade_no", ""),
            kind="paid" if status == PAID else "failed",
        )


def of_settings(settings: Settings, server_address: str) -> Epay:
    """The gateway that the operator has configured. Raises NotConfigured."""
    address, merchant, key = (settings.text(name).strip() for name in ("PayAddress", "EpayId", "EpayKey"))
    if not (address and merchant and key):
        raise NotConfigured("online payment is not set up: the options PayAddress, EpayId and EpayKey are needed")
    if not address.startswith(("https://", "http://")):
        raise NotConfigured("the option PayAddress is no http address")
    ours = server_address.rstrip("/")
    called = settings.text("CustomCallbackAddress").strip().rstrip("/") or ours
    notify_url = f"{called}/api/user/{NAME}/notify"
    return Epay(address=address, merchant=merchant, key=key, notify_url=notify_url, return_url=f"{ours}/log")


def signature(fields: Mapping[str, str], key: str) -> str:
    """Hex MD5 over `name=value` of all fields that are not empty, by name in byte order, with `&` between and the key behind."""
    signed = sorted((name.encode(), value) for name, value in fields.items() if value and name not in UNSIGNED)
    text = "&".join(f"{name.decode()}={value}" for name, value in signed) + key
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def money_text(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02d}"


def money_minor(text: str) -> int:
    """`12.34` or `12.3` as 1234 or 1230. Raises NotGenuine: what is finer than a cent was never ordered."""
    if not MONEY.fullmatch(text):
        raise NotGenuine("its amount cannot be read")
    whole, _, cents = text.partition(".")
    return int(whole) * 100 + int(cents[:2].ljust(2, "0"))

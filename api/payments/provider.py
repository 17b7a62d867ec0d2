"""What a payment provider is: it takes a customer to its page, and later says what became of the payment, as often as it likes.

A notice is believed for its signature alone. Whether it fits the order it names is the ledger's to say, not the provider's.

PaymentError
    NotConfigured   the operator has not said how to reach the provider
    NotGenuine      a notice that the provider did not sign, or that cannot be read
    OrderRefused    this much cannot be bought
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol


class PaymentError(Exception):
    """The root of this folder's errors."""


class NotConfigured(PaymentError):
    pass


class NotGenuine(PaymentError):
    pass


class OrderRefused(PaymentError):
    pass


class Notice(NamedTuple):
    """What a provider said about one payment, once its signature was checked."""

    trade: str
    """Our number of the order."""
    money_minor: int
    """In the smallest unit of the currency."""
    currency: str
    provider_event: str
    """The provider's own number of what happened; "" where it has none."""
    kind: Literal["paid", "failed", "refunded"]


class Order(NamedTuple):
    """What the customer is about to pay for."""

    trade: str
    title: str
    money_minor: int
    method: str


class Checkout(NamedTuple):
    """Where the customer's browser goes to pay: a form for `url`."""

    url: str
    fields: dict[str, str]


class Provider(Protocol):
    """One way to be paid."""

    @property
    def name(self) -> str:
        """As the ledger's streams and accounts name it: small letters, digits, - and _."""
        ...

    @property
    def currency(self) -> str:
        """What orders are paid in: three capital letters."""
        ...

    def method(self, asked: str) -> str:
        """The provider's word for a way to pay that a customer chose."""
        ...

    def checkout(self, order: Order) -> Checkout: ...

    def verify(self, sent: Mapping[str, str]) -> Notice:
        """What the fields of a notice say. Raises NotGenuine."""
        ...

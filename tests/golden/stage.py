"""Plays cases on one real gateway: sets the site up, makes the caller, sends the call, reads what was charged.

Between cases only what differs is set up anew. What a charge is, is read from the caller's balance and nowhere else.
"""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from tests.golden.cases import RICH_QUOTA, Case, ChannelTerms, KeyTerms, Outcome, Site
from tests.harness.admin import ApiRefused
from tests.harness.behaviours import Answer, Behaviour, Gate, Stream
from tests.harness.gateway import Customer, Gateway
from tests.harness.leaving import hang_up
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

ORIGINAL_OPTIONS = {
    "RetryTimes": "0",
    "SelfUseModeEnabled": "false",
    "QuotaPerUnit": "500000",
    "PreConsumedQuota": "500",
}
"""Options whose family default is put back where the gateway itself does not list one."""
EVERY_INPUT: dict[str, object] = {
    "messages": [{"role": "user", "content": "x"}],
    "prompt": "x",
    "input": "x",
    "query": "x",
    "documents": ["x"],
    "max_tokens": 1,
}
"""A body that has what any endpoint asks for."""


@dataclass(frozen=True)
class _Caller:
    quota: int
    group: str
    key: KeyTerms


class Stage:
    """One gateway with one upstream, on which cases are played one after the other."""

    def __init__(self, gateway: Gateway, upstream: Upstream) -> None:
        self._gateway = gateway
        self._upstream = upstream
        self._original = ORIGINAL_OPTIONS | gateway.root.options()
        self._options: dict[str, str] = {}
        self._channels: tuple[ChannelTerms, ...] = ()
        self._channel_ids: list[int] = []
        self._rich: dict[_Caller, Customer] = {}

    def play(self, case: Case) -> Outcome:
        """Set the site up, make the call, and give what came of it once the case's expectation or the time is over."""
        self._set_up(case.site)
        gate = Gate()
        self._script(case, gate)
        customer = self._customer(_Caller(case.quota, case.group, case.key))
        before_mills = customer.available_mills()
        statuses, text = self._send(case, customer)
        gate.open()
        status = 200 if 200 in statuses else statuses[0]

        def outcome() -> Outcome:
            return Outcome(status, before_mills - customer.available_mills(), text)

        if status is None:
            return eventually(outcome, lambda seen: case.expected.mismatch(seen) is None, within_s=5)
        return outcome()

    def serves(self, path: str, kind: int) -> bool:
        """Whether a call on this path reaches the upstream of a channel of this type."""
        model = self._gateway.priced(ratio=1)
        self._options.pop("ModelRatio", None)
        self._upstream.forget()
        try:
            channel_id = self._gateway.root.make_channel(self._upstream.url("probe"), model, type=kind)
        except ApiRefused:
            return False
        customer = self._customer(_Caller(RICH_QUOTA, "default", KeyTerms()))
        self._gateway.wait_directory()
        customer.post(path, {**EVERY_INPUT, "model": model})
        self._gateway.root.drop_channel(channel_id)
        return bool(self._upstream.calls("probe"))

    def _send(self, case: Case, customer: Customer) -> tuple[list[int | None], str]:
        if case.leaves_after is not None:
            self._leave(case, customer, case.leaves_after)
            return [None], "the client left"
        if case.at_once == 1:
            response = customer.post(case.path, case.body)
            return [response.status_code], response.text[:200]
        with ThreadPoolExecutor(case.at_once) as pool:
            sent = [pool.submit(_post_alone, customer, case) for _ in range(case.at_once)]
            return [future.result() for future in sent], f"{case.at_once} calls at once"

    def _script(self, case: Case, gate: Gate) -> None:
        self._upstream.forget()
        for slot, answers in case.answers.items():
            after = case.leaves_after
            scripts = answers if after is None else [_stopped(answer, after, gate) for answer in answers]
            self._upstream.queue(*scripts, slot=slot)
            self._upstream.always(scripts[-1], slot=slot)

    def _leave(self, case: Case, customer: Customer, after_events: int) -> None:
        hang_up(
            self._gateway.url + case.path,
            customer.key,
            case.body,
            after_events=after_events,
            first=lambda: self._upstream.wait_for_calls(1),
        )
        self._upstream.calls()[0].wait_finished()

    def _set_up(self, site: Site) -> None:
        options = {name: value if isinstance(value, str) else json.dumps(value) for name, value in site.options.items()}
        wanted = {
            name: options.get(name, self._original.get(name, "")) for name in options.keys() | self._options.keys()
        }
        for name, value in wanted.items():
            if self._options.get(name, self._original.get(name)) != value:
                self._gateway.root.set_option(name, value)
                self._options[name] = value
        if site.channels != self._channels:
            for channel_id in self._channel_ids:
                self._gateway.root.drop_channel(channel_id)
            self._channel_ids = [self._make_channel(terms) for terms in site.channels]
            self._channels = site.channels
        self._gateway.wait_directory()

    def _make_channel(self, terms: ChannelTerms) -> int:
        base_url = f"http://127.0.0.1:{_closed_port()}" if terms.unreachable else self._upstream.url(terms.slot)
        more = dict(terms.more)
        return self._gateway.root.make_channel(base_url, terms.models, type=terms.kind, group=terms.group, **more)

    def _customer(self, caller: _Caller) -> Customer:
        """A caller on these terms; a rich one is used again while he is rich, a poor one is made for his case alone."""
        known = self._rich.get(caller)
        if known is not None and known.available_mills() > caller.quota * 900:
            return known
        terms = caller.key
        key = {"unlimited_quota": terms.unlimited, "remain_quota": terms.remain_quota, "group": terms.group}
        customer = self._gateway.customer(caller.quota, caller.group, key)
        if caller.quota == RICH_QUOTA and terms.remain_quota == RICH_QUOTA:
            self._rich[caller] = customer
        return customer


def _post_alone(customer: Customer, case: Case) -> int:
    with httpx.Client(base_url=customer.base_url, headers=customer.http.headers, timeout=30) as own:
        return own.post(case.path, json=case.body).status_code


def _stopped(answer: Behaviour, after_events: int, gate: Gate) -> Behaviour:
    if isinstance(answer, Stream):
        return answer.held_before(after_events, gate)
    assert isinstance(answer, Answer), f"cannot stop {type(answer).__name__} at a gate"
    return answer.held_at(gate)


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

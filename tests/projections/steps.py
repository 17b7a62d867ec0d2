"""What may happen in a house, as a test draws it: a list of steps, each of which means something however the house is."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from domain import accounts, api_key, channel, commands, streams, user
from domain.events import AccessTokenMade, ChannelTerms, KeyTerms
from domain.usage import Usage
from tests.projections.house import House

MODELS = ("gpt-4o", "gpt-4", "o1")
KINDS = (
    "user", "key", "limited_key", "channel", "option", "secret_option", "rename", "delete_user", "standing", "access",
    "terms", "key_status", "delete_key", "limit_key", "channel_off", "channel_change", "channel_shown", "delete_channel",
    "adjust", "grant", *("hold", "extend", "settle", "settle", "release", "expire", "settle_late", "dear") * 3,
)  # fmt: skip


class Step(NamedTuple):
    kind: str
    which: int
    amount: int


steps = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(KINDS),
        which=st.integers(0, 1000),
        amount=st.one_of(st.integers(0, 5_000), st.sampled_from([10**6, 10**12, accounts.MAX_ACCOUNT_MILLS])),
    ),
    min_size=5,
    max_size=60,
)


class Call(NamedTuple):
    id: str
    user: int
    key: int
    capped: bool
    model: str
    extensions: int


class Story:
    """Carries out steps. A command that is refused leaves no fact, which is as good a step as any."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.users = [house.user("first")]
        self.keys = [(self.users[0], house.key(self.users[0]), False)]
        self.channels = [house.channel("first")]
        self.calls: list[Call] = []
        self.count = 0

    def play(self, drawn: list[Step]) -> None:
        for step in drawn:
            self.count += 1
            if step.kind in CHARGES:
                self._on_a_charge(step)
            elif step.kind in ON_USERS:
                self._on_a_user(step)
            elif step.kind in ON_KEYS:
                self._on_a_key(step)
            elif step.kind in ON_CHANNELS:
                self._on_a_channel(step)
            else:
                self._something_new(step)

    def _something_new(self, step: Step) -> None:
        house, name = self.house, f"n{self.count}"
        owner = self.users[step.which % len(self.users)]
        match step.kind:
            case "user":
                self.users.append(house.user(name, grant=step.amount))
            case "key" | "limited_key":
                limited = step.kind == "limited_key"
                secret = house.vault.put("text")
                made = house.do(
                    api_key.creation(
                        user=owner,
                        digest=name,
                        secret=secret,
                        terms=KeyTerms(name=name),
                        limit_mills=step.amount if limited else None,
                    )
                )
                if made.ok:
                    self.keys.append((owner, made.id, limited))
            case "channel":
                self.channels.append(house.channel(name, MODELS[: step.which % 3 + 1], priority=step.which))
            case "option":
                house.option(f"Option{step.which % 3}", str(step.amount))
            case "secret_option":
                house.option("SMTPToken", "", secret=name)
            case "adjust":
                house.do(commands.Adjust(command_key=name, user=owner, delta=step.amount - 2_500, actor=1))
            case "grant":
                house.do(commands.Grant(user=owner, amount=step.amount, why=f"gift {step.which % 4}"))

    def _on_a_user(self, step: Step) -> None:
        house, name = self.house, f"n{self.count}"
        someone = house.user_now(self.users[step.which % len(self.users)])
        match step.kind:
            case "rename":
                if not someone.deleted:
                    house.rename(someone.id, name)
            case "delete_user":
                house.do(user.deletion(someone))
            case "standing":
                seen = len(house.store.read_stream(streams.user(someone.id)))
                house.do(user.standing_change(someone, seen, group=name, status=step.which % 2 + 1))
            case "access":
                part = commands.Part(streams.user(someone.id), None, (AccessTokenMade(id=someone.id, digest=name),))
                house.do(commands.Append(parts=(part,)))

    def _on_a_key(self, step: Step) -> None:
        house = self.house
        _, number, _ = self.keys[step.which % len(self.keys)]
        key = api_key.ApiKey(id=number, user=0, digest="", secret="", terms=KeyTerms())
        seen = len(house.store.read_stream(streams.key(number)))
        match step.kind:
            case "terms":
                house.do(api_key.terms_change(key, seen, KeyTerms(name=f"n{self.count}", expires_at=step.amount)))
            case "key_status":
                house.do(api_key.status_change(key, seen, step.which % 2 + 1))
            case "delete_key":
                house.do(api_key.deletion(key))
            case "limit_key":
                house.do(commands.LimitKey(key=number, target=step.amount, unlimited=step.which % 3 == 0))

    def _on_a_channel(self, step: Step) -> None:
        house, name = self.house, f"n{self.count}"
        number = self.channels[step.which % len(self.channels)]
        past = house.store.read_stream(streams.channel(number))
        one = channel.from_facts(recorded.fact for recorded in past)
        assert one is not None, "every channel here was created"
        match step.kind:
            case "channel_off":
                house.do(channel.status_change(one, len(past), 3, reason=name))
            case "channel_change":
                house.do(channel.change(one, len(past), terms=ChannelTerms(name=name, models=MODELS)))
            case "channel_shown":
                house.do(channel.showing(one, actor=1))
            case "delete_channel":
                house.do(channel.deletion(one))

    def _on_a_charge(self, step: Step) -> None:
        house = self.house
        if step.kind == "hold" or not self.calls:
            owner, key, limited = self.keys[step.which % len(self.keys)]
            before = house.store.head()
            capped, model = limited and step.which % 2 == 0, MODELS[step.which % 3]
            try:
                call = house.hold(owner, key, model=model, capped=capped, mills=step.amount or 1)
            except AssertionError:  # refused: there is too little
                assert house.store.head() == before
                return
            self.calls.append(Call(call, owner, key, capped, model, 0))
            return
        at = step.which % len(self.calls)
        call_id, owner, key, capped, model, extensions = self.calls[at]
        usage = Usage(input=step.amount if step.kind == "dear" else step.amount % 10_000, output=step.which)
        match step.kind:
            case "extend":
                extended = commands.Extend(
                    charge=call_id, user=owner, key=key, capped=capped, n=extensions + 1, amount=step.amount
                )
                if house.do(extended).status == "created":
                    self.calls[at] = Call(call_id, owner, key, capped, model, extensions + 1)
            case "release":
                house.release(call_id, owner, key, capped=capped)
            case "expire":
                house.expire(call_id, owner, key, capped=capped)
            case _:
                if step.kind == "settle_late":
                    house.expire(call_id, owner, key, capped=capped)
                house.settle(
                    call_id,
                    owner,
                    key,
                    model=model,
                    capped=capped,
                    channel=self.channels[step.which % len(self.channels)],
                    usage=usage,
                    extensions=extensions,
                )


CHARGES = frozenset({"hold", "extend", "settle", "release", "expire", "settle_late", "dear"})
ON_USERS = frozenset({"rename", "delete_user", "standing", "access"})
ON_KEYS = frozenset({"terms", "key_status", "delete_key", "limit_key"})
ON_CHANNELS = frozenset({"channel_off", "channel_change", "channel_shown", "delete_channel"})

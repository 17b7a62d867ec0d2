"""Every question is answered as somebody would who reads the whole log: filters, order, pages and their bounds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import events
from domain.events import ChargeExpired, ChargeReleased, ChargeSettled, KeyTerms, QuotaAdjusted, QuotaGranted
from domain.usage import Usage
from ledger.mapper import Recorded
from projections.errors import FilterRefused
from projections.readmodel import LogFilter, LogRow, ReadModel
from tests.projections.house import House
from tests.projections.whereabouts import KINDS, whereabouts

MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4", "o1")
NAMES = ("ada", "bob", "Ada_B", "per%cent", "zoë")
KEY_NAMES = ("main", "ci", "MAIN 2")


class World(NamedTuple):
    """A house after a busy time, and what a reader of its log knows."""

    house: House
    read: ReadModel
    facts: list[Recorded]
    names: dict[int, str]
    key_names: dict[int, str]


@pytest.fixture(scope="module", params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("queries") / "data"
    with whereabouts(request.param, folder) as where:
        house = House(folder, where)
        read = ReadModel(where.place, house.store, house.vault)
        names, key_names = _fill(house, random.Random(7))
        assert read.await_head(30).is_current
        yield World(house, read, house.facts(), names, key_names)
        read.close()
        house.close()


def _fill(house: House, draw: random.Random) -> tuple[dict[int, str], dict[int, str]]:
    names = {house.user(name, group=draw.choice(("default", "vip"))): name for name in NAMES}
    key_names: dict[int, str] = {}
    owners: dict[int, int] = {}
    for number in range(12):
        owner, name = draw.choice(list(names)), draw.choice(KEY_NAMES)
        made = house.key(owner, terms=KeyTerms(name=name, expires_at=number))
        key_names[made], owners[made] = name, owner
    for number in range(6):
        groups = draw.sample(("default", "vip", "edge"), k=draw.randrange(1, 3))
        house.channel(
            f"Chan_{number}",
            tuple(draw.sample(MODELS, k=2)),
            groups=groups,
            priority=draw.randrange(3),
            tag=draw.choice(("", "east", "west")),
        )
    for _ in range(150):
        key = draw.choice(list(owners))
        model = draw.choice(MODELS)
        call = house.hold(owners[key], key, model=model)
        ending = draw.random()
        if ending < 0.15:
            house.release(call, owners[key], key)
        elif ending < 0.2:
            house.expire(call, owners[key], key)
        else:
            usage = Usage(input=draw.randrange(1000), output=draw.randrange(1000))
            house.settle(call, owners[key], key, model=model, channel=draw.randrange(1, 7), usage=usage)
    return names, key_names


class Plain(NamedTuple):
    """A usage row as one reads it off a fact."""

    id: int
    type: int
    user: int
    key: int
    model: str
    channel: int
    group: str
    at_s: int
    mills: int
    tokens: int
    request: str


def plain(recorded: Recorded) -> Plain | None:
    position, stream, _, fact = recorded
    at_s = fact.at // 1000
    match fact:
        case ChargeSettled():
            tokens = fact.usage.input + fact.usage.output
            return Plain(
                position, 2, fact.user, fact.key, fact.model, fact.channel, fact.group, at_s, fact.paid, tokens, stream
            )
        case ChargeReleased():
            return Plain(position, 6, fact.user, fact.key, fact.model, 1, "", at_s, 0, 0, stream)
        case ChargeExpired():
            return Plain(position, 6, fact.user, fact.key, "", 0, "", at_s, 0, 0, stream)
        case QuotaGranted():
            return Plain(position, 1, fact.user, 0, "", 0, "", at_s, fact.amount, 0, "")
        case QuotaAdjusted():
            return Plain(position, 3, fact.user, 0, "", 0, "", at_s, fact.delta, 0, "")
    return None


def expected(world: World, asked: LogFilter) -> list[Plain]:
    """The rows that a filter means, newest first."""
    rows = [row for row in map(plain, world.facts) if row is not None]
    tests: list[tuple[object, Callable[[Plain], bool]]] = [
        (asked.user_id is not None, lambda row: row.user == asked.user_id),
        (asked.username, lambda row: world.names[row.user] == asked.username),
        (asked.token_name, lambda row: world.key_names.get(row.key) == asked.token_name),
        (asked.model_name, lambda row: like(row.model.lower(), asked.model_name.lower())),
        (asked.channel, lambda row: row.channel == asked.channel),
        (asked.group, lambda row: row.group == asked.group),
        (asked.start_s, lambda row: row.at_s >= asked.start_s),
        (asked.end_s, lambda row: row.at_s <= asked.end_s),
        (asked.type, lambda row: row.type == asked.type),
        (not asked.type and not asked.request_id, lambda row: row.type != 6),
        (asked.request_id, lambda row: row.request == asked.request_id),
    ]
    return [row for row in reversed(rows) if all(test(row) for wanted, test in tests if wanted)]


def like(text: str, pattern: str) -> bool:
    """SQL's LIKE, spelled out."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(like(text[skipped:], pattern[1:]) for skipped in range(len(text) + 1))
    return bool(text) and pattern[0] in ("_", text[0]) and like(text[1:], pattern[1:])


filters = st.builds(
    LogFilter,
    user_id=st.none() | st.integers(1, 6),
    username=st.sampled_from(["", "", *NAMES, "nobody"]),
    type=st.sampled_from([0, 0, 1, 2, 2, 3, 6]),
    token_name=st.sampled_from(["", "", *KEY_NAMES, "none"]),
    model_name=st.sampled_from(["", "", "gpt-4o", "gpt-4o%", "%4%", "O1", "gpt-_", "%"]),
    channel=st.sampled_from([0, 0, 1, 2, 9]),
    group=st.sampled_from(["", "default", "vip"]),
    start_s=st.sampled_from([0, 1, 2**40, 2**70]),
    end_s=st.sampled_from([0, 0, 1, 2**40, 2**70]),
)


def of(row: LogRow) -> Plain:
    return Plain(
        row.id,
        row.type,
        row.user_id,
        row.token_id,
        row.model_name,
        row.channel,
        row.group,
        row.created_at_s,
        row.quota_mills,
        row.prompt_tokens + row.completion_tokens,
        row.request_id,
    )


@settings(max_examples=100, deadline=None)
@given(asked=filters, page=st.integers(1, 5), size=st.sampled_from([1, 7, 50, 1000]))
def test_a_page_of_the_log_is_what_the_whole_log_says(world: World, asked: LogFilter, page: int, size: int) -> None:
    found = world.read.page_logs(asked, page=page, size=size)

    everything = expected(world, asked)
    assert [of(row) for row in found.items] == everything[(page - 1) * size : page * size]
    assert (found.total, found.page, found.page_size) == (len(everything), page, size)


@settings(max_examples=40, deadline=None)
@given(asked=filters)
def test_the_figures_above_the_log_are_those_of_its_charges(world: World, asked: LogFilter) -> None:
    now_ms = world.facts[-1].fact.at + 1_000
    found = world.read.log_stat(asked, now_ms)

    charges = _replaced(asked, type=2)
    recent = expected(world, _replaced(charges, start_s=0, end_s=0))
    assert found.quota_mills == sum(row.mills for row in expected(world, charges))
    last_minute = [row for row in recent if _at_ms(world, row) > now_ms - 60_000]
    assert (found.rpm, found.tpm) == (len(last_minute), sum(row.tokens for row in last_minute))


def _at_ms(world: World, row: Plain) -> int:
    return next(recorded.fact.at for recorded in world.facts if recorded.position == row.id)


def _replaced(asked: LogFilter, **changes: int) -> LogFilter:
    values = {name: getattr(asked, name) for name in LogFilter.__struct_fields__}
    return LogFilter(**{**values, **changes})


def test_a_request_is_found_by_its_id_however_it_is_written(world: World) -> None:
    charge = next(r for r in world.facts if isinstance(r.fact, ChargeSettled))
    dashed = "-".join(
        [charge.stream[:8], charge.stream[8:12], charge.stream[12:16], charge.stream[16:20], charge.stream[20:]]
    )

    found = [world.read.page_logs(LogFilter(request_id=written), page=1, size=9) for written in (charge.stream, dashed)]

    assert [page.items[0].id for page in found] == [charge.position, charge.position]
    assert world.read.page_logs(LogFilter(request_id="no id"), page=1, size=9).items == []
    assert world.read.page_logs(LogFilter(request_id="0" * 32), page=1, size=9).items == []


@pytest.mark.parametrize("pattern", ["%a" * 5, "x" * 129])
def test_a_pattern_that_would_cost_too_much_is_refused(world: World, pattern: str) -> None:
    with pytest.raises(FilterRefused, match="shorten"):
        world.read.page_logs(LogFilter(model_name=pattern), page=1, size=10)


@pytest.mark.parametrize(
    ("page", "size", "meant"), [(0, 10, (1, 10)), (-5, -5, (1, 1)), (1, 10**9, (1, 1000)), (10**30, 3, (10**9, 3))]
)
def test_a_page_is_bounded_whatever_is_asked(world: World, page: int, size: int, meant: tuple[int, int]) -> None:
    logs = world.read.page_logs(LogFilter(), page=page, size=size)
    users = world.read.page_users(page=page, size=size)
    audit = world.read.page_audit(page=page, size=size)

    assert {(logs.page, logs.page_size), (users.page, users.page_size), (audit.page, audit.page_size)} == {meant}
    assert max(len(logs.items), len(users.items), len(audit.items)) <= meant[1]


@pytest.mark.parametrize(
    ("keyword", "found"),
    [
        ("ada", {"ada", "Ada_B"}),
        ("_", {"Ada_B"}),
        ("%", {"per%cent"}),
        ("example.org", set(NAMES)),
        ("B X", {"bob", "Ada_B"}),
        ("2", {"bob"}),
        ("zoë", {"zoë"}),
        ("\\", set[str]()),
        ("x" * 5_000, set[str]()),
    ],
)
def test_users_are_found_by_part_of_a_name_or_address_or_by_id(world: World, keyword: str, found: set[str]) -> None:
    users = world.read.page_users(page=1, size=100, keyword=keyword)

    assert {row.username for row in users.items} == found
    assert users.total == len(found)


def test_users_come_newest_first_and_by_group(world: World) -> None:
    everybody = world.read.page_users(page=1, size=100)
    by_group = {group: world.read.page_users(page=1, size=100, group=group) for group in ("default", "vip")}

    assert [row.id for row in everybody.items] == [5, 4, 3, 2, 1]
    assert sum(page.total for page in by_group.values()) == 5
    assert all(row.group == group for group, page in by_group.items() for row in page.items)


def test_keys_are_paged_from_zero_newest_first_and_searched_by_name(world: World) -> None:
    owners: dict[int, list[int]] = {}
    for recorded in world.facts:
        if isinstance(recorded.fact, events.KeyCreated):
            owners.setdefault(recorded.fact.user, []).insert(0, recorded.fact.id)

    for owner, expected_keys in owners.items():
        pages = [world.read.page_keys(owner, page0=page, size=2) for page in range(7)]
        assert [key.id for page in pages for key in page] == expected_keys
        named = [key for key in expected_keys if "main" in world.key_names[key].lower()]
        assert [key.id for key in world.read.search_keys(owner, "main")] == named
        assert world.read.count_keys(owner) == len(expected_keys)


def test_channels_are_listed_by_priority_or_by_id_and_paged_by_tag(world: World) -> None:
    channels = {r.fact.id: r.fact.terms for r in world.facts if isinstance(r.fact, events.ChannelCreated)}
    by_priority = sorted(channels, key=lambda number: (-channels[number].priority, -number))
    tags = sorted({terms.tag for terms in channels.values()} - {""})

    assert [row.id for row in world.read.page_channels(page0=0, size=100)] == by_priority
    assert [row.id for row in world.read.page_channels(page0=1, size=2)] == by_priority[2:4]
    assert [row.id for row in world.read.page_channels(page0=0, size=100, id_sort=True)] == sorted(channels)[::-1]
    for page, tag in enumerate(tags):
        tagged = [number for number in by_priority if channels[number].tag == tag]
        assert [row.id for row in world.read.page_channels(page0=page, size=1, tag_mode=True)] == tagged


@settings(max_examples=40, deadline=None)
@given(
    keyword=st.sampled_from(["", "3", "chan", "n_", "_4"]),
    group=st.sampled_from(["", "vip", "edge", "vi"]),
    model=st.sampled_from(["", "gpt-4o", "mini", "%"]),
)
def test_channels_are_found_by_id_name_group_and_model(world: World, keyword: str, group: str, model: str) -> None:
    found = world.read.search_channels(keyword=keyword, group=group, model=model, id_sort=True)

    channels = {r.fact.id: r.fact.terms for r in world.facts if isinstance(r.fact, events.ChannelCreated)}
    assert [row.id for row in found] == [
        number
        for number, terms in sorted(channels.items(), reverse=True)
        if (not keyword or str(number) == keyword or keyword in terms.name.lower())
        and (not group or group in terms.groups)
        and (not model or any(model in name for name in terms.models))
    ]


@settings(max_examples=40, deadline=None)
@given(newest_first=st.booleans(), limit=st.integers(1, 40), at=st.floats(0, 1), which=st.integers(0, 10**6))
def test_a_statement_is_read_on_from_any_place_in_either_direction(
    world: World, newest_first: bool, limit: int, at: float, which: int
) -> None:
    postings: dict[str, list[tuple[int, int]]] = {}
    for recorded in world.facts:
        for account, delta in recorded.fact.postings:
            postings.setdefault(account, []).append((recorded.position, delta))
    account = sorted(postings)[which % len(postings)]
    after = int(world.facts[-1].position * at)

    rows = world.read.statement(account, after_position=after, limit=limit, newest_first=newest_first)

    if newest_first:
        wanted = [entry for entry in reversed(postings[account]) if not after or entry[0] < after]
    else:
        wanted = [entry for entry in postings[account] if entry[0] > after]
    assert [(row.position, row.delta_mills) for row in rows] == wanted[:limit]
    for row in rows:
        assert row.balance_mills == sum(delta for position, delta in postings[account] if position <= row.position)


def test_an_account_that_never_was_has_an_empty_statement(world: World) -> None:
    assert world.read.statement("user:999:available") == []


def test_the_audit_is_paged_newest_first(world: World) -> None:
    small = [recorded for recorded in world.facts if not recorded.fact.TOPIC.startswith(("charge.", "username."))]

    pages = [world.read.page_audit(page=page, size=10) for page in range(1, 10)]

    assert [row.position for page in pages for row in page.items] == [recorded.position for recorded in small[::-1]]
    assert pages[0].total == len(small)

"""What each read model makes of real facts."""

from __future__ import annotations

import json

import pytest

from domain import accounts, channel, commands, events, streams, user
from domain.api_key import deletion, from_facts
from domain.events import TOPICS, ChannelTerms, KeyTerms
from domain.usage import Usage
from projections.audit import Audit
from projections.catalogue import projections
from projections.people import People
from projections.projection import NotUnderstood, check_understood, facts
from projections.readmodel import LogFilter, ReadModel
from tests.projections.house import BOOK, GRANT_MILLS, House
from tests.projections.whereabouts import ON_BOTH

pytestmark = ON_BOTH

EVERYTHING = LogFilter()


def test_every_fact_of_the_catalogue_is_handled_or_ignored_by_every_read_model(house: House) -> None:
    found = projections(house.vault)

    check_understood(found)

    for projection in found:
        assert not projection.handles & projection.ignores, f"{projection.name} cannot make up its mind"
        assert projection.handles | projection.ignores == frozenset(TOPICS.values())


def test_a_read_model_that_was_not_told_about_a_fact_does_not_begin(house: House) -> None:
    forgetful = Audit()
    forgetful.handles = facts(events.UserCreated)

    with pytest.raises(NotUnderstood, match=r"audit_v1 neither handles nor ignores .*\..*/1"):
        check_understood([People(house.vault), forgetful])


def test_a_user_is_shown_by_the_name_in_the_vault(house: House, read: ReadModel) -> None:
    ada = house.user("ada", group="vip", role=10)

    read.await_head()

    row = read.user(ada)
    assert row is not None
    assert (row.username, row.display_name, row.email) == ("ada", "Ada X", "ada@example.org")
    assert (row.role, row.status, row.group, row.deleted_at) == (10, 1, "vip", None)


def test_a_renamed_user_has_the_new_name_on_old_charges_too(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    house.call(ada, house.key(ada))
    house.rename(ada, "lovelace")

    read.await_head()

    assert read.page_logs(LogFilter(type=2), page=1, size=10).items[0].username == "lovelace"
    assert read.page_logs(LogFilter(username="ada"), page=1, size=10).items == []


def test_a_deleted_user_leaves_charges_without_a_name(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    house.call(ada, house.key(ada))
    read.await_head()
    house.delete_user(ada)

    read.await_head()

    row = read.user_by_id_with_deleted(ada)
    assert row is not None
    assert (row.username, row.display_name, row.email) == ("", "", "")
    assert row.deleted_at is not None
    assert read.user(ada) is None
    assert [(log.user_id, log.username) for log in read.page_logs(LogFilter(type=2), page=1, size=9).items] == [(1, "")]


def test_an_erased_profile_folds_to_nothing(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    fact = events.AccessTokenMade(id=ada, digest="d")
    part = commands.Part(streams.user(ada), None, (fact,))
    house.done(commands.Append(parts=(part,), vault_delete=(house.user_now(ada).profile,)))

    read.await_head()

    row = read.user(ada)
    assert row is not None
    assert (row.username, row.email) == ("", "")


def test_what_a_call_cost_is_counted_for_its_user_key_and_channel(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    key, upstream = house.key(ada), house.channel("main")
    cost = BOOK.price("gpt-4o", "default").cost_mills(Usage(input=100, output=50))
    for _ in range(3):
        house.call(ada, key, channel=upstream)

    read.await_head()

    seen = (read.user(ada), read.key(key), read.channel(upstream))
    assert all(row is not None and row.used_mills == 3 * cost for row in seen)
    assert seen[0] is not None
    assert seen[0].request_count == 3


def test_a_settled_call_has_a_usage_row_in_the_familys_shape(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    key, upstream = house.key(ada, "laptop"), house.channel("main")
    call = house.hold(ada, key)
    usage = Usage(input=80, cached_input=20, output=50)
    house.settle(call, ada, key, channel=upstream, usage=usage, stream=True, upstream_model="gpt-4o-2024-11-20")

    read.await_head()

    row = read.page_logs(LogFilter(type=2), page=1, size=10).items[0]
    cost = BOOK.price("gpt-4o", "default").cost_mills(usage)
    assert (row.username, row.token_name, row.token_id) == ("ada", "laptop", key)
    assert (row.model_name, row.quota_mills, row.prompt_tokens, row.completion_tokens) == ("gpt-4o", cost, 100, 50)
    assert (row.use_time_s, row.is_stream, row.channel, row.request_id) == (2, True, upstream, call)
    other = json.loads(row.other)
    assert other["model_ratio"] == 1.25
    assert (other["completion_ratio"], other["group_ratio"], other["model_price"]) == (4, 1, -1)
    assert (other["cache_tokens"], other["frt"]) == (20, 120)
    assert (other["is_model_mapped"], other["upstream_model_name"]) == (True, "gpt-4o-2024-11-20")
    assert other["admin_info"] == {"use_channel": [str(upstream)]}
    assert (other["cost_mills"], other["paid_mills"], other["written_off_mills"]) == (cost, cost, 0)


def test_calls_that_cost_nothing_are_listed_only_when_asked_for(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    key = house.key(ada)
    failed, lost = house.hold(ada, key), house.hold(ada, key)
    house.release(failed, ada, key)
    house.expire(lost, ada, key)

    read.await_head()

    assert [row.type for row in read.page_logs(EVERYTHING, page=1, size=10).items] == [1]
    assert [row.request_id for row in read.page_logs(LogFilter(type=6), page=1, size=10).items] == [lost, failed]
    assert json.loads(read.page_logs(LogFilter(request_id=failed), page=1, size=10).items[0].other) == {
        "request_id": failed,
        "ended_by": "upstream_failed",
        "admin_info": {"use_channel": ["2", "1"]},
        "status": 502,
    }


def test_a_late_settlement_is_a_charge_like_any_other(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    key = house.key(ada)
    call = house.hold(ada, key)
    house.expire(call, ada, key)
    house.settle(call, ada, key)

    read.await_head()

    rows = read.page_logs(LogFilter(request_id=call), page=1, size=10).items
    assert [row.type for row in rows] == [2, 6]
    assert sum(hour.count for hour in read.hourly(start_s=0, end_s=0)) == 1


def test_what_was_written_off_is_not_called_paid(house: House, read: ReadModel) -> None:
    ada = house.user("ada", grant=1_000)
    key = house.key(ada)
    call = house.hold(ada, key, mills=600)
    house.settle(call, ada, key, usage=Usage(input=4))  # at 1,250 mills a token

    read.await_head()

    row = read.page_logs(LogFilter(type=2), page=1, size=1).items[0]
    assert row.quota_mills == 1_000
    assert json.loads(row.other)["written_off_mills"] == 4_000


def test_a_statement_ends_at_the_balance_of_the_ledger(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    key = house.key(ada, limit=10**9)
    call = house.hold(ada, key, capped=True)
    house.settle(call, ada, key, capped=True)
    house.done(commands.Adjust(command_key="a", user=ada, delta=-5_000, reason="a correction", actor=1))

    read.await_head()

    for account, guard in house.store.balances():
        rows = read.statement(account)
        assert rows[-1].balance_mills == guard.balance, account
        assert sum(row.delta_mills for row in rows) == guard.balance
    assert read.statement(accounts.available(ada))[-1].note == "a correction"


def test_platform_accounts_have_statements_that_stay_exact_beyond_64_bits(house: House, read: ReadModel) -> None:
    for name in ("ada", "bob", "cyd"):
        house.user(name, grant=accounts.MAX_ACCOUNT_MILLS)

    read.await_head()

    last = read.statement(accounts.PROMO, newest_first=True, limit=1)[0]
    assert last.balance_mills == -3 * accounts.MAX_ACCOUNT_MILLS < -(2**63)


def test_a_key_keeps_its_terms_and_loses_its_place_when_deleted(house: House, read: ReadModel) -> None:
    ada = house.user("ada")
    terms = KeyTerms(
        name="ci", expires_at=10**30, model_limits_enabled=True, model_limits=("a", "b"), allow_ips=("10.0.0.0/8",)
    )
    kept, gone = house.key(ada, terms=terms), house.key(ada, "old")
    found = from_facts(recorded.fact for recorded in house.store.read_stream(streams.key(gone)))
    assert found is not None
    house.done(deletion(found))

    read.await_head()

    row = read.key(kept)
    assert row is not None
    assert (row.name, row.model_limits, row.allow_ips) == ("ci", ("a", "b"), ("10.0.0.0/8",))
    assert row.expires_at == 2**63 - 1, "a date beyond what a column holds is the last one that it does"
    assert read.key(gone) is None
    assert [key.id for key in read.page_keys(ada, page0=0, size=10)] == [kept]
    assert read.count_keys(ada) == 1


def test_a_channel_shows_why_and_when_it_was_switched_off(house: House, read: ReadModel) -> None:
    number = house.channel("main", model_mapping={"a": "b"}, priority=5)
    state = channel.from_facts(recorded.fact for recorded in house.store.read_stream(streams.channel(number)))
    assert state is not None
    house.done(channel.status_change(state, 1, channel.Status.FAILED, reason="401 from upstream"))

    read.await_head()

    row = read.channel(number)
    assert row is not None
    assert (row.status, row.status_reason) == (3, "401 from upstream")
    assert row.status_at >= row.created_at > 0
    assert row.terms == ChannelTerms(name="main", models=("gpt-4o",), model_mapping={"a": "b"}, priority=5)


def test_the_newest_value_of_an_option_is_shown_and_a_secret_one_only_by_reference(
    house: House, read: ReadModel
) -> None:
    house.option("RetryTimes", "1")
    house.option("RetryTimes", "2", actor=7)
    house.option("SMTPToken", "", secret="hush")

    read.await_head()

    retry, token = read.options()
    assert (retry.key, retry.value, retry.actor) == ("RetryTimes", "2", 7)
    assert (token.value, house.vault.text(token.secret_ref)) == ("", "hush")


def test_the_audit_names_who_did_what_and_no_secret(house: House, read: ReadModel) -> None:
    root = house.user("root", role=100)
    number = house.channel("main", setting='{"proxy": "socks5://me:hush@host"}')
    house.option("RetryTimes", "3", actor=root)
    house.option("SMTPToken", "", secret="hush", actor=root)
    house.option("OddToken", "hush", actor=root)
    house.done(user.standing_change(house.user_now(root), 1, group="vip", actor=root))
    house.done(channel.showing(channel.Channel(id=number, terms=ChannelTerms(), secret=""), actor=root))

    read.await_head()

    rows = read.page_audit(page=1, size=100).items
    assert rows[0].topic == "channel.key_shown/1"
    assert (rows[0].actor, rows[0].subject) == (root, f"channel:{number}")
    assert {row.subject for row in rows} >= {"user:1", "setting:RetryTimes", "setting:SMTPToken"}
    said = " ".join(row.detail for row in rows)
    assert "hush" not in said
    assert house.user_now(root).claim not in said
    assert json.loads(rows[1].detail) == {"role": 100, "status": 1, "group": "vip"}
    assert [row.actor for row in read.page_audit(page=1, size=9, topic_prefix="setting.", actor=root).items] == [1] * 3


def test_a_long_text_is_cut_in_the_audit(house: House, read: ReadModel) -> None:
    house.option("Notice", "x" * 100_000)

    read.await_head()

    assert len(read.page_audit(page=1, size=1).items[0].detail) < 1_200


def test_hours_are_the_sums_of_the_usage_rows(house: House, read: ReadModel) -> None:
    ada, bob = house.user("ada"), house.user("bob")
    keys = {ada: house.key(ada), bob: house.key(bob)}
    for who, model in ((ada, "gpt-4o"), (ada, "gpt-4o"), (bob, "gpt-4"), (ada, "gpt-4")):
        house.call(who, keys[who], model=model)

    read.await_head()

    hours, rows = read.hourly(start_s=0, end_s=0), read.page_logs(LogFilter(type=2), page=1, size=100).items
    assert sum(hour.count for hour in hours) == len(rows) == 4
    assert sum(hour.quota_mills for hour in hours) == sum(row.quota_mills for row in rows)
    assert sum(hour.input_tokens for hour in hours) == sum(row.prompt_tokens for row in rows)
    assert {hour.user_id for hour in read.hourly(start_s=0, end_s=0, user_id=bob)} == {bob}
    assert read.statement(accounts.PROMO)[0].delta_mills == -GRANT_MILLS

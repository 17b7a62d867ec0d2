"""Every option is a text of a kind: a good one is stored in one form and read back exactly, a bad one is named."""

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.settings import (
    DEFAULT_RATIOS,
    MAX_KEY_LENGTH,
    MAX_SETTING_BYTES,
    REGISTRY,
    InvalidSetting,
    Settings,
    is_secret,
    parse_ratios,
    validate,
)

GETTERS = {
    "bool": Settings.bool,
    "int": Settings.int,
    "decimal": Settings.decimal,
    "text": Settings.text,
    "ratios": Settings.ratios,
    "json": Settings.json,
}
JSON_KEYS = [key for key, setting in REGISTRY.items() if setting.kind in ("ratios", "json")]


@pytest.mark.parametrize("key", REGISTRY)
def test_a_default_is_canonical_and_can_be_read(key):
    setting = REGISTRY[key]

    assert validate(key, setting.default) == setting.default
    assert GETTERS[setting.kind](Settings({}), key) is not None


@given(
    st.sampled_from(sorted(REGISTRY)), st.text() | st.sampled_from(["true", "7", "0.5", "{}", "[]", '{"a":1}', "hour"])
)
def test_what_was_validated_has_one_form_and_can_be_read_back(key, text):
    try:
        stored = validate(key, text)
    except InvalidSetting:
        return

    assert validate(key, stored) == stored
    assert GETTERS[REGISTRY[key].kind](Settings({key: stored}), key) is not None


@given(st.dictionaries(st.text(max_size=20), st.decimals(0, 1_000_000, places=9), max_size=20))
def test_a_ratio_map_is_stored_exactly_and_sorted(table):
    text = "{" + ",".join(f"{json.dumps(name)}: {ratio}" for name, ratio in table.items()) + "}"

    stored = validate("ModelRatio", text)

    assert parse_ratios("ModelRatio", stored) == {name: Fraction(ratio) for name, ratio in table.items()}
    assert list(json.loads(stored)) == sorted(table)


@pytest.mark.parametrize(
    ("key", "text", "stored"),
    [
        ("RegisterEnabled", " TRUE ", "true"),
        ("RetryTimes", " 03 ", "3"),
        ("QuotaPerUnit", "5e5", "500000"),
        ("Price", "7.30", "7.3"),
        ("GroupRatio", '{ "vip" : 1.50, "default": 1 }', '{"default":1,"vip":1.5}'),
        ("GroupRatio", '{"\\u9ed8\\u8ba4":1}', '{"默认":1}'),
        ("ModelRatio", '{"m":1E-9}', '{"m":0.000000001}'),
        ("AutomaticDisableKeywords", "Out Of Credit\r\n\n  gone ", "out of credit\ngone"),
        ("Chats", ' [{"a":"b"}]\n', '[{"a":"b"}]'),
        ("Notice", " <b>kept</b>\n", " <b>kept</b>\n"),
        ("SomethingOfTomorrow", " kept as it is", " kept as it is"),
    ],
)
def test_a_good_text_is_stored_in_its_canonical_form(key, text, stored):
    assert validate(key, text) == stored


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("RegisterEnabled", "yes"),
        ("RegisterEnabled", ""),
        ("RetryTimes", "1.5"),
        ("RetryTimes", "-1"),
        ("RetryTimes", "101"),
        ("RetryTimes", "9" * 5000),
        ("RetryTimes", "٣"),
        ("CheckInQuota", "0"),
        ("SMTPPort", "70000"),
        ("QuotaPerUnit", "0"),
        ("QuotaPerUnit", "nan"),
        ("QuotaPerUnit", "Infinity"),
        ("QuotaPerUnit", "1_000"),
        ("QuotaPerUnit", "1e999999999"),
        ("QuotaPerUnit", "1e99999999999999999999"),
        ("Price", "1e-999999999"),
        ("RebatePercentage", "100.1"),
        ("DataExportDefaultTime", "month"),
        ("GroupRatio", '{"default":-1}'),
        ("GroupRatio", '{"default":true}'),
        ("GroupRatio", '{"default":null}'),
        ("GroupRatio", '{"default":"1"}'),
        ("GroupRatio", '{"default":1000001}'),
        ("GroupRatio", '{"default":1e400}'),
        ("GroupRatio", '{"default":' + "9" * 5000 + "}"),
        ("GroupRatio", '{"default":-Infinity}'),
        ("GroupRatio", '{"default":1,"default":2}'),
        ("GroupRatio", "[1]"),
        ("ModelRatio", "{nope"),
        ("ModelRatio", "[" * 100_000),
        ("GroupRatio", '{"\\ud800":1}'),
        ("UserUsableGroups", '{"default":"\\udfff"}'),
        ("Chats", '[{"a":"b","c":"d"}]'),
        ("UserUsableGroups", '{"default":1}'),
        ("gemini.supported_imagine_models", '["a",1]'),
        ("claude.default_max_tokens", '{"default":-1}'),
        ("claude.default_max_tokens", '{"default":1.5}'),
        ("claude.model_headers_settings", '{"m":{"h":"v"}}'),
        ("Notice", "nul \0"),
        ("Notice", "\ud800"),
        ("Notice", "é" * (MAX_SETTING_BYTES // 2 + 1)),
    ],
)
def test_a_text_that_its_key_cannot_hold_is_refused(key, text):
    with pytest.raises(InvalidSetting) as refusal:
        validate(key, text)

    assert refusal.value.key == key
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("key", JSON_KEYS)
@pytest.mark.parametrize("text", ["", "{nope", '{"a":NaN}', "1", '"text"'])
def test_every_json_key_refuses_what_is_not_its_shape(key, text):
    with pytest.raises(InvalidSetting):
        validate(key, text)


def test_a_ratio_map_holds_ten_thousand_names_and_not_one_more():
    table = {f"m{number}": 1 for number in range(10_000)}
    assert len(parse_ratios("ModelRatio", json.dumps(table))) == 10_000

    with pytest.raises(InvalidSetting, match="10,000"):
        validate("ModelRatio", json.dumps(table | {"one more": 1}))


@pytest.mark.parametrize("key", ["", "k" * (MAX_KEY_LENGTH + 1), "a\nb", "\ud800"])
def test_a_key_is_short_and_printable(key):
    with pytest.raises(InvalidSetting, match="printable"):
        validate(key, "x")


def test_a_refusal_says_what_was_expected_and_what_was_given():
    with pytest.raises(InvalidSetting) as refusal:
        validate("GroupRatio", '{"default":-1}')

    assert str(refusal.value) == "GroupRatio: expected a number from 0 to 1,000,000 for 'default', got '-1'"


@pytest.mark.parametrize(
    ("key", "hidden"),
    [
        ("SMTPToken", True),
        ("GitHubClientSecret", True),
        ("EpayKey", True),
        ("oidc.client_secret", True),
        ("SomethingOfTomorrowKey", True),
        ("GitHubClientId", False),
        ("oidc.client_id", False),
        ("RetryTimes", False),
    ],
)
def test_secrets_are_known_by_the_end_of_their_key(key, hidden):
    assert is_secret(key) is hidden


def test_a_getter_reads_what_is_stored_before_the_default():
    settings = Settings({"RetryTimes": "3", "Price": "7.1", "RegisterEnabled": "false", "GroupRatio": '{"a":0.5}'})

    assert settings.int("RetryTimes") == 3
    assert settings.decimal("Price") == Decimal("7.1")
    assert settings.bool("RegisterEnabled") is False
    assert settings.ratios("GroupRatio") == {"a": Fraction(1, 2)}
    assert settings.int("QuotaRemindThreshold") == 1000


def test_a_getter_names_the_key_of_a_text_that_an_older_store_let_in():
    settings = Settings({"RetryTimes": "many"})

    with pytest.raises(InvalidSetting, match="RetryTimes"):
        settings.int("RetryTimes")


def test_an_unknown_key_that_was_never_stored_is_an_error():
    with pytest.raises(KeyError):
        Settings({}).text("SomethingOfTomorrow")


def test_everything_in_effect_is_the_defaults_under_what_is_stored():
    effective = Settings({"RetryTimes": "3", "SomethingOfTomorrow": "x"}).all_effective()

    assert effective["RetryTimes"] == "3"
    assert effective["SomethingOfTomorrow"] == "x"
    assert effective["QuotaPerUnit"] == "500000"
    assert REGISTRY.keys() <= effective.keys()


def test_a_view_does_not_change_with_what_it_was_made_from():
    stored = {"RetryTimes": "3"}
    settings = Settings(stored)

    stored["RetryTimes"] = "4"

    assert settings.int("RetryTimes") == 3


@pytest.mark.parametrize("key", DEFAULT_RATIOS)
def test_the_default_tables_are_exact_and_their_json_is_near(key):
    exact = Settings({}).ratios(key)

    shown = json.loads(REGISTRY[key].default)

    assert shown.keys() == exact.keys()
    assert all(abs(Fraction(str(shown[name])) - ratio) < Fraction(1, 10**12) for name, ratio in exact.items())

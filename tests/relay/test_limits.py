import json
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.api_key import ApiKey
from domain.events import KeyTerms
from domain.settings import Settings, validate
from domain.user import User
from relay.admission import Caller
from relay.asked import Asked
from relay.call import Call, Credential
from relay.errors import BadRequest, Forbidden, RateLimited
from relay.format import Format
from relay.limits import Admission, Limits, _words, texts_of
from relay.shared_link import Link
from relay.shared_windows import SharedWindows
from relay.windows import BUCKETS, MemoryWindows

OPEN = KeyTerms()
RATE = {"ModelRequestRateLimitEnabled": "true", "ModelRequestRateLimitSuccessCount": "0"}


class Clock:
    """Told, not read."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Door:
    """Limits with a clock of their own, asked in the words of a test."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.limits = Limits(SharedWindows(Link(), clock=self.clock))
        self.settings = Settings({})

    def says(self, options: Mapping[str, str]) -> None:
        self.settings = Settings({key: validate(key, text) for key, text in options.items()})

    async def asks(
        self,
        prompt: object = "Count the coins.",
        *,
        model: str = "m-1",
        terms: KeyTerms = OPEN,
        ip: str = "192.0.2.7",
        user: int = 1,
        pinned: int = 0,
        endpoint: str = "chat",
    ) -> Admission:
        key = ApiKey(id=1, user=user, digest="", secret="", terms=terms)
        body = msgspec.json.encode({"prompt": prompt})
        asked = Asked(model=model, body=body)
        call = Call(endpoint=endpoint, body=body, credential=Credential(""), client_ip=ip)
        return await self.limits.admit(
            call, asked, Caller(key, User(id=user), "default", pinned), wire(endpoint), self.settings
        )


def wire(endpoint: str) -> Format:
    """A wire language whose prompt is its field `prompt`."""
    return cast(
        Format, SimpleNamespace(name=endpoint, prompt_of=lambda asked: msgspec.json.decode(asked.fields["prompt"]))
    )


@pytest.fixture
def door() -> Door:
    return Door()


async def test_a_key_without_limits_passes(door: Door) -> None:
    assert isinstance(await door.asks(), Admission)


@pytest.mark.parametrize("allowed", ["192.0.2.7", "192.0.2.0/24", "2001:db8::/32", " 192.0.2.7 ,"])
@pytest.mark.parametrize("ip", ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7"])
async def test_an_address_passes_when_one_entry_holds_it(door: Door, allowed: str, ip: str) -> None:
    is_six, allows_six = ip.startswith("2001"), allowed.startswith("2001")
    terms = KeyTerms(allow_ips=("198.51.100.1", allowed))

    if is_six == allows_six:
        await door.asks(terms=terms, ip=ip)
    else:
        with pytest.raises(Forbidden, match=re.escape(ip)):
            await door.asks(terms=terms, ip=ip)


@pytest.mark.parametrize("ip", ["192.0.2.8", "", "unix", "192.0.2.7.evil.test"])
async def test_any_other_address_is_refused(door: Door, ip: str) -> None:
    with pytest.raises(Forbidden, match="may not be used from"):
        await door.asks(terms=KeyTerms(allow_ips=("192.0.2.7",)), ip=ip)


async def test_a_list_in_which_nothing_can_be_read_allows_nobody(door: Door) -> None:
    with pytest.raises(Forbidden):
        await door.asks(terms=KeyTerms(allow_ips=("everyone",)))


async def test_a_list_of_blanks_is_no_list(door: Door) -> None:
    assert await door.asks(terms=KeyTerms(allow_ips=("", " "))) is not None


async def test_a_key_with_a_list_of_models_passes_for_exactly_these(door: Door) -> None:
    terms = KeyTerms(model_limits_enabled=True, model_limits=("gpt-4o", "m-1"))

    assert await door.asks(model="m-1", terms=terms) is not None
    with pytest.raises(Forbidden, match=r"m-10; it may use: gpt-4o, m-1"):
        await door.asks(model="m-10", terms=terms)


async def test_a_list_that_is_switched_off_limits_nothing(door: Door) -> None:
    assert await door.asks(terms=KeyTerms(model_limits_enabled=False, model_limits=("gpt-4o",))) is not None


async def test_a_list_that_is_on_and_empty_allows_nothing(door: Door) -> None:
    with pytest.raises(Forbidden, match="it may use: none"):
        await door.asks(terms=KeyTerms(model_limits_enabled=True))


async def test_who_pins_a_channel_may_try_any_model_but_not_from_anywhere(door: Door) -> None:
    terms = KeyTerms(model_limits_enabled=True, model_limits=("gpt-4o",), allow_ips=("192.0.2.7",))

    assert await door.asks(model="m-1", terms=terms, pinned=3) is not None
    with pytest.raises(Forbidden):
        await door.asks(model="m-1", terms=terms, pinned=3, ip="192.0.2.8")


async def test_requests_are_refused_when_the_window_is_full_and_told_when_to_come_again(door: Door) -> None:
    door.says({**RATE, "ModelRequestRateLimitCount": "3", "ModelRequestRateLimitDurationMinutes": "2"})
    for _ in range(3):
        await door.asks()

    with pytest.raises(RateLimited, match=r"at most 3 requests in 2 min") as refused:
        await door.asks()

    door.clock.now_s += refused.value.retry_after_s
    await door.asks()


async def test_a_window_is_one_users_alone(door: Door) -> None:
    door.says({**RATE, "ModelRequestRateLimitCount": "1"})
    await door.asks(user=1)

    await door.asks(user=2)

    with pytest.raises(RateLimited):
        await door.asks(user=1)


async def test_requests_that_failed_count_as_requests_and_not_as_successes(door: Door) -> None:
    door.says({**RATE, "ModelRequestRateLimitCount": "4", "ModelRequestRateLimitSuccessCount": "2"})
    await door.asks()
    (await door.asks()).failed()
    await door.asks()

    with pytest.raises(RateLimited, match="at most 2 successful requests"):
        await door.asks()
    with pytest.raises(RateLimited, match="at most 4 requests"):
        await door.asks()


async def test_calls_that_run_at_once_cannot_pass_the_limit_of_successes_together(door: Door) -> None:
    door.says({**RATE, "ModelRequestRateLimitSuccessCount": "2"})
    under_way = [await door.asks(), await door.asks()]

    with pytest.raises(RateLimited):
        await door.asks()

    under_way[0].failed()
    under_way[0].failed()
    await door.asks()
    with pytest.raises(RateLimited):
        await door.asks()


async def test_a_limit_of_zero_is_no_limit(door: Door) -> None:
    door.says(RATE)

    for _ in range(50):
        await door.asks()


async def test_new_settings_hold_from_the_next_call_on(door: Door) -> None:
    door.says({**RATE, "ModelRequestRateLimitCount": "1"})
    await door.asks()

    door.says({**RATE, "ModelRequestRateLimitCount": "2"})

    await door.asks()
    with pytest.raises(RateLimited):
        await door.asks()


async def test_settings_that_cannot_be_read_hold_their_defaults(door: Door) -> None:
    door.settings = Settings({"ModelRequestRateLimitEnabled": "perhaps", "CheckSensitiveEnabled": "perhaps"})

    await door.asks()

    with pytest.raises(BadRequest):
        await door.asks("this has test_sensitive in it")


def test_the_window_that_was_idle_longest_is_forgotten_first() -> None:
    windows = MemoryWindows(clock=Clock(), max_remembered=2)
    for name in ("a", "b", "a", "c"):
        windows.take(name, limit=2, window_s=60)

    assert not windows.take("a", limit=2, window_s=60).granted
    assert windows.take("b", limit=1, window_s=60).granted


@given(
    st.lists(st.floats(min_value=0, max_value=40), max_size=60),
    st.integers(min_value=1, max_value=5),
    st.sampled_from([10.0, 60.0]),
)
def test_no_stretch_as_long_as_the_window_has_more_than_the_limit(
    gaps_s: list[float], limit: int, window_s: float
) -> None:
    clock = Clock()
    windows = MemoryWindows(clock=clock)
    granted: list[float] = []
    for gap_s in gaps_s:
        clock.now_s += gap_s
        taken = windows.take("u", limit=limit, window_s=window_s)
        if taken.granted:
            granted.append(clock.now_s)
        else:
            assert 0 < taken.retry_after_s <= window_s * (BUCKETS + 1) / BUCKETS + 1e-6

    assert all(later - earlier >= window_s - 1e-6 for earlier, later in zip(granted, granted[limit:], strict=False))


@pytest.mark.parametrize(
    "prompt",
    [
        "a Forbidden thing",
        ["nothing", "FORBIDDEN"],
        [{"role": "system", "content": "forbidden"}],
        [{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "so forbidden"}]}],
    ],
)
async def test_a_word_is_found_in_any_part_of_a_prompt_whatever_its_case(door: Door, prompt: object) -> None:
    door.says({"SensitiveWords": " forBIDden \n\nother"})

    with pytest.raises(BadRequest) as refused:
        await door.asks(prompt)

    assert refused.value.code == "sensitive_words_detected"
    assert "forbidden" not in refused.value.message.lower()


async def test_a_prompt_without_such_a_word_passes(door: Door) -> None:
    door.says({"SensitiveWords": "forbidden"})

    assert await door.asks("a forbid den thing") is not None


@pytest.mark.parametrize("switch", ["CheckSensitiveEnabled", "CheckSensitiveOnPromptEnabled"])
async def test_words_are_not_looked_for_when_either_switch_is_off(door: Door, switch: str) -> None:
    door.says({"SensitiveWords": "forbidden", switch: "false"})

    assert await door.asks("forbidden") is not None


async def test_embeddings_are_not_searched(door: Door) -> None:
    door.says({"SensitiveWords": "forbidden"})

    assert await door.asks("forbidden", endpoint="embeddings") is not None


async def test_patterns_are_found_without_any_plain_word_and_whatever_their_case(door: Door) -> None:
    door.says({"SensitiveWords": "regex:CARD \\d{4}"})

    with pytest.raises(BadRequest):
        await door.asks("my card 1234")
    assert await door.asks("my card 12") is not None


@pytest.mark.parametrize("pattern", ["(", "a{99999999999}", "x" * 1_001, "*x"])
async def test_a_pattern_that_cannot_be_used_is_left_out_and_the_others_stay(door: Door, pattern: str) -> None:
    door.says({"SensitiveWords": f"regex:{pattern}\nregex:b+d"})

    assert await door.asks("nothing at all") is not None
    with pytest.raises(BadRequest):
        await door.asks("bbbd")


@pytest.mark.parametrize("at", [0, 8_000, 8_190, 100_000, 999_000])
async def test_words_and_patterns_are_found_wherever_they_are_in_a_long_prompt(door: Door, at: int) -> None:
    door.says({"SensitiveWords": "regex:card \\d{4}"})

    with pytest.raises(BadRequest):
        await door.asks("." * at + "card 1234" + "." * (1_000_000 - at))


async def test_many_words_are_found_as_few_are(door: Door) -> None:
    door.says({"SensitiveWords": "\n".join(["zz", *(f"word{n}x" for n in range(5_000))])})

    assert await door.asks("no wordx here, word12 x, buz") is not None
    for prompt in ("word4999x", "buzz", "a word0x."):
        with pytest.raises(BadRequest):
            await door.asks(prompt)


async def test_a_call_refused_for_its_words_is_no_success(door: Door) -> None:
    door.says({**RATE, "ModelRequestRateLimitSuccessCount": "1", "SensitiveWords": "forbidden"})
    with pytest.raises(BadRequest):
        await door.asks("forbidden")

    assert await door.asks("allowed") is not None


@pytest.mark.parametrize("prompt", [None, 7, {"a": 1}, [7, None, {"content": {"a": 1}}, {"text": 3}]])
def test_a_prompt_of_another_shape_has_no_texts(prompt: object) -> None:
    assert list(texts_of(prompt)) == []


TEXTS = st.text(st.sampled_from('abkSß\u0130\u03a3\u03c3\u03c2\u212a\u4e2d/"\\ \n\té'), max_size=12)


@settings(max_examples=400, deadline=None)
@example(words=["\u03c3"], prompts=["\t\u03a3"], ascii_only=False)
@given(st.lists(TEXTS, min_size=1, max_size=3), st.lists(TEXTS, max_size=4), st.booleans())
def test_a_prompt_that_is_not_decoded_has_no_filtered_word(
    words: list[str], prompts: list[str], ascii_only: bool
) -> None:
    filtered = _words("\n".join(words))
    body = json.dumps({"prompt": prompts}, ensure_ascii=ascii_only)

    if filtered is not None and filtered.are_in(texts_of(prompts)):
        assert filtered.may_be_in(Asked(model="", body=body.encode()))


def test_most_prompts_are_not_decoded_for_words() -> None:
    filtered = _words("forbidden\nmore words")

    assert filtered is not None
    assert not filtered.may_be_in(saying("a plain\\nprompt"))
    assert filtered.may_be_in(saying("a FORbidden prompt"))


def test_words_that_all_have_a_mark_are_looked_for_only_where_one_is() -> None:
    filtered = _words("test_sensitive\n4711x\n敏感词")

    assert filtered is not None
    assert filtered.marks == (b"_", b"4", "敏".encode())
    assert not filtered.may_be_in(saying("a plain prompt"))
    assert filtered.may_be_in(saying("a TEST_sensitive prompt"))
    assert filtered.may_be_in(saying("4711X"))
    assert filtered.may_be_in(saying("一个敏感词"))


def saying(text: str) -> Asked:
    body = f'{{"messages":[{{"role":"user","content":"{text}"}}]}}'
    return Asked(model="", body=body.encode())

"""A body goes upstream as it came only if no reader of JSON, whichever of two equal names it takes, reads another model in it."""

from __future__ import annotations

import json
from typing import cast

from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.asked import Asked, is_escaped
from relay.errors import BadRequest
from relay.formats.openai_chat import OpenAIChat

TEXTS = st.sampled_from(
    [
        "hi",
        'say "model" twice',
        'model"',
        "[",
        "]",
        '[{"role":"user","content":"hi"}]',
        "\\u",
        "\\",
        "ünï",
        '{"type":"file"}',
    ]
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.just("user"), "content": TEXTS | st.just([{"type": "text", "text": "hi"}])}),
    min_size=1,
    max_size=3,
)
NAMES = st.sampled_from(['"model"', '"mod\\u0065l"', '"models"', '"a model"'])
MEMBERS = st.lists(
    st.tuples(NAMES, st.sampled_from(['"a"', '"b"']))
    | st.tuples(
        st.just('"metadata"'), st.sampled_from(['{"model":"z"}', '[{"model":"z"}]', '[{"role": "user", "content": 0}]'])
    ),
    max_size=4,
)


@settings(max_examples=500, deadline=None)
@example(
    messages=[{"role": "user", "content": "something longer than what begins in the same way"}],
    members=[('"metadata"', '[{"role": "user", "content": 0}]'), ('"model"', '"b"')],
    at=2,
    escape=False,
    twice=False,
)
@given(MESSAGES, MEMBERS, st.integers(0, 4), st.booleans(), st.booleans())
def test_upstream_reads_the_model_that_was_priced(
    messages: list[object], members: list[tuple[str, str]], at: int, escape: bool, twice: bool
) -> None:
    written = json.dumps(messages, ensure_ascii=escape)
    parts = [f"{name}:{value}" for name, value in [*members, ('"model"', '"a"')]]
    for _ in range(1 + twice):
        parts.insert(at % (len(parts) + 1), f'"messages":{written}')
    body = ("{" + ",".join(parts) + "}").encode()

    asked = OpenAIChat().read(body)
    sent = OpenAIChat().upstream_body(asked, model=asked.model, stream=False, ask_for_usage=False, override={})

    names = [
        value
        for name, value in cast("list[tuple[str, object]]", json.loads(sent, object_pairs_hook=list))
        if name == "model"
    ]
    assert names == [asked.model] * len(names)
    assert names


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from('\\u"ab'), max_size=12))
def test_an_escape_is_never_missed(text: str) -> None:
    raw = text.encode()

    assert is_escaped(raw) == (b"\\u" in raw)


def test_a_body_that_names_no_model_is_refused() -> None:
    refused = ""
    try:
        OpenAIChat().read(b'{"messages":[{"role":"user","content":"model"}]}')
    except BadRequest as error:
        refused = error.message

    assert "model is required" in refused


def test_fields_are_read_when_they_are_asked_for() -> None:
    asked = Asked(model="a", body=b'{"model":"a","n":1}')

    assert bytes(asked.fields["n"]) == b"1"
    assert asked.fields is asked.fields

"""The command line and a running gateway on one store: each sees what the other did."""

import json
from typing import cast

import httpx
import openai

from tests.cli.shell import Record
from tests.harness.gateway import Gateway, chat_body
from tests.harness.waiting import eventually


def typed(gateway: Gateway, *words: str) -> Record:
    """One command with --json beside the gateway."""
    return cast(Record, json.loads(gateway.process.run(*words, "--json").stdout))


def test_what_the_command_line_makes_is_in_force_in_a_running_gateway(gateway: Gateway) -> None:
    user = typed(gateway, "user", "create", gateway.name("cli"), "--quota", "1000")
    key = str(typed(gateway, "key", "create", str(user["id"]))["key"])
    gateway.wait_known(key)

    answer = httpx.post(
        f"{gateway.url}/v1/chat/completions",
        headers={"Authorization": f"Bearer {key}"},
        json=chat_body(gateway.sandbox_model, max_tokens=5),
        timeout=30,
    )

    request_id = answer.headers["x-request-id"]
    lines = gateway.process.ledger("statement", "--user", str(user["id"]))
    assert answer.status_code == 200
    assert [line["what"] for line in lines if line["request_id"] == request_id] == [
        "held",
        "held",
        "settled",
        "settled",
    ]
    assert lines[-2]["balance_mills"] == 1_000_000 - cast(int, gateway.explain(request_id)["paid_mills"])


def test_a_key_that_is_switched_off_is_refused_a_moment_later(gateway: Gateway) -> None:
    made = typed(gateway, "key", "create", "root")
    gateway.wait_known(str(made["key"]))
    bearer = {"Authorization": f"Bearer {made['key']}"}

    typed(gateway, "key", "disable", str(made["id"]))

    asked = eventually(lambda: httpx.get(f"{gateway.url}/v1/models", headers=bearer).status_code, lambda s: s == 401)
    assert asked == 401


def test_the_official_client_reads_a_stream_and_an_embedding_of_the_sandbox(gateway: Gateway) -> None:
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.root_key, max_retries=0)
    model = gateway.sandbox_model

    with client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Say hello."}],
        max_tokens=6,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    embedded = client.embeddings.create(model=model, input=["one", "two"])
    client.close()

    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 6
    assert [len(each.embedding) for each in embedded.data] == [256, 256]

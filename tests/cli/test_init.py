import json
import stat
import subprocess
import sys
from pathlib import Path

from api.admin import passwords
from api.bootstrap import SANDBOX_MODEL, bootstrap, curl_line, has_root, register_root
from api.compose import Books, open_books
from api.settings import Environment
from cli.serving import base_url
from domain.channel import Type
from tests.cli.shell import Shell

COMMAND = Path(sys.executable).with_name("veloera")


def opened(folder: Path) -> Books:
    return open_books(Environment(data_dir=folder))


def test_an_empty_store_gets_a_root_account_with_an_opening_balance(empty: Shell) -> None:
    made = empty.record("init")

    root = empty.record("user", "show", "root")
    assert list(made) == ["url", "root", "api_key", "model"]
    assert (root["id"], root["role"], root["available_mills"]) == (1, "root", 100_000_000_000)


def test_its_secrets_open_what_they_should(empty: Shell) -> None:
    made = empty.record("init")
    assert isinstance(made["root"], dict)

    books = opened(empty.folder)
    books.directory.catch_up()
    found = books.directory.authenticate(books.vault.digest("key", str(made["api_key"]).removeprefix("sk-")))
    assert found is not None
    key, user = found
    stored = books.vault.text(user.password)
    books.close()

    assert key.unlimited
    assert (user.id, user.role) == (1, 100)
    assert passwords.opens(stored, made["root"]["password"])
    assert len(made["root"]["password"]) == 20
    assert len(str(made["api_key"])) == len("sk-") + 48


def test_it_gets_a_sandbox_that_serves_a_model_with_a_price(empty: Shell) -> None:
    made = empty.record("init")

    books = opened(empty.folder)
    books.directory.catch_up()
    ((served,),) = books.directory.routes("default", str(made["model"]))
    is_priced = books.directory.book.is_priced(SANDBOX_MODEL)
    books.close()

    assert served.channel.terms.type == Type.SANDBOX
    assert is_priced


def test_a_store_that_has_a_root_account_is_left_as_it_is(shell: Shell) -> None:
    before = shell.records("ledger", "tail")

    again, said = shell.record("init"), shell.says("init")

    assert again["changed"] is False
    assert "nothing was changed" in said
    assert shell.records("ledger", "tail") == before
    assert not (shell.folder / "first-login.txt").exists()


def test_without_a_terminal_the_secrets_go_to_a_file_for_its_owner_alone(empty: Shell) -> None:
    said = empty.says("init")

    path = empty.folder / "first-login.txt"
    assert str(path) in said
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "curl -N http://127.0.0.1:3000/v1/chat/completions" in path.read_text()
    assert "password" not in said


def test_the_first_request_is_a_stream_of_the_sandbox(empty: Shell) -> None:
    books = opened(empty.folder)
    first = bootstrap(books, "http://127.0.0.1:3000")
    books.close()
    assert first is not None

    line = curl_line(first)

    body = json.loads(line.partition("-d '")[2].removesuffix("'"))
    assert (body["model"], body["stream"]) == ("sandbox-1", True)
    assert f"Bearer {first.api_key}" in line


def test_two_processes_that_start_at_once_make_one_root(empty: Shell) -> None:
    command = [str(COMMAND), "--data-dir", str(empty.folder), "init", "--json"]
    racing = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]

    said = [process.communicate(timeout=60) for process in racing]

    assert [process.returncode for process in racing] == [0, 0], said
    logins = [record for out, _ in said if "root" in (record := json.loads(out))]
    assert len(logins) == 1
    assert [user["username"] for user in empty.records("user", "list")] == ["root"]
    assert [len(empty.records(*what)) for what in (("key", "list", "root"), ("channel", "list"))] == [1, 1]


def test_who_registers_root_second_is_told_that_it_is_there(empty: Shell) -> None:
    empty.folder.mkdir()
    books = opened(empty.folder)

    first = register_root(books, username="owner", password="correct horse 9")
    second = register_root(books, username="thief", password="correct horse 9")
    made = bootstrap(books, "http://127.0.0.1:3000")
    found = has_root(books)
    books.close()

    assert (first.status, second.status) == ("created", "exists")
    assert second.id == first.id
    assert made is None
    assert found


def test_a_start_that_died_half_way_is_completed_by_the_next(empty: Shell) -> None:
    books = opened(empty.folder)
    sandbox = bootstrap.__globals__["_sandbox_channel"](books.vault)
    books.writer.submit_blocking(sandbox)

    made = bootstrap(books, "http://127.0.0.1:3000")
    books.close()

    assert made is not None
    assert len(empty.records("channel", "list")) == 1


def test_an_address_to_listen_on_is_shown_as_one_to_call() -> None:
    shown = [base_url(host, 3000) for host in ("127.0.0.1", "0.0.0.0", "::", "::1", "gateway.test")]

    assert shown == [
        "http://127.0.0.1:3000",
        "http://127.0.0.1:3000",
        "http://[::1]:3000",
        "http://[::1]:3000",
        "http://gateway.test:3000",
    ]

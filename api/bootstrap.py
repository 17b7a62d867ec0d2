"""What an empty store needs before anybody can log in: a root account, a key, and a channel that answers. Made once, whoever asks.

Every step carries the same token, so that of two processes that start at once one makes them and the other finds them.
"""

import json
import os
import secrets
import string
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TextIO

from api.admin import passwords
from domain import api_key, channel, user
from domain.books import Result
from domain.channel import Type
from domain.commands import Register, VaultPut
from domain.events import ChannelTerms, KeyTerms, UserCreated, UserStandingChanged
from domain.units import mills
from domain.user import Role
from ledger.store import LedgerStore
from ledger.vault import Vault
from ledger.writer import Writer

ROOT_USERNAME: Final = "root"
PASSWORD_CHARACTERS: Final = 20
KEY_CHARACTERS: Final = 48
KEY_PREFIX: Final = "sk-"
OPENING_QUOTA: Final = 100_000_000
SANDBOX_MODEL: Final = "sandbox-1"
TOKEN: Final = "bootstrap"  # noqa: S105  # names the registration, opens nothing
PAGE_FACTS: Final = 1000
FILE_NAME: Final = "first-login.txt"

_ALPHABET: Final = string.ascii_letters + string.digits


class OpenBooks(Protocol):
    """A ledger that is open for reading and writing."""

    @property
    def store(self) -> LedgerStore: ...

    @property
    def vault(self) -> Vault: ...

    @property
    def writer(self) -> Writer: ...


class BootstrapFailed(Exception):
    """The ledger refused what an empty store must take."""


class FirstLogin(NamedTuple):
    """The first secrets. They are shown once and kept nowhere in the clear."""

    url: str
    username: str
    password: str
    api_key: str
    model: str

    def as_json(self) -> str:
        """One object on one line, for scripts."""
        root = {"username": self.username, "password": self.password}
        return json.dumps({"url": self.url, "root": root, "api_key": self.api_key, "model": self.model})


def bootstrap(books: OpenBooks, base_url: str) -> FirstLogin | None:
    """Make the root account, its first key and the sandbox channel; None, and nothing changed, when there is a root.

    Raises:
        BootstrapFailed: the ledger refused; what was made before stays, and the next start goes on from there.
        LedgerUnavailable: it cannot be written now.
    """
    if has_root(books):
        return None
    # The account comes after the channel, so that a store with a root is one that can answer.
    _made(books.writer.submit_blocking(_sandbox_channel(books.vault)), "the sandbox channel")
    password = new_text(PASSWORD_CHARACTERS)
    registered = register_root(books, username=ROOT_USERNAME, password=password)
    if registered.status != "created":
        return None
    key = new_text(KEY_CHARACTERS)
    _made(books.writer.submit_blocking(_first_key(books.vault, registered.id, key)), "the first key")
    return FirstLogin(base_url, ROOT_USERNAME, password, KEY_PREFIX + key, SANDBOX_MODEL)


def root_id(books: OpenBooks) -> int:
    """The first account that ever was root; 0 when there is none."""
    after = 0
    while page := books.store.read_log(after, PAGE_FACTS, without_charges=True):
        for recorded in page:
            fact = recorded.fact
            if isinstance(fact, UserCreated | UserStandingChanged) and fact.role >= Role.ROOT:
                return fact.id
        after = page[-1].position
    return 0


def has_root(books: OpenBooks) -> bool:
    """Whether somebody owns this store already."""
    return root_id(books) != 0


def register_root(books: OpenBooks, *, username: str, password: str, display_name: str = "") -> Result:
    """Register the one root account, with its opening balance: `created`, or `exists` or `taken` where another was faster."""
    vault = books.vault
    return books.writer.submit_blocking(
        user.creation(
            profile=profile_put(vault, username, display_name),
            password=vault.put(passwords.hashed(password)),
            claim=vault.digest("username", username),
            role=Role.ROOT,
            grant_mills=mills(OPENING_QUOTA),
            grant_why="opening",
            token=TOKEN,
        )
    )


def profile_put(vault: Vault, username: str, display_name: str = "") -> VaultPut:
    """Who a user is, sealed."""
    return vault.put(json.dumps({"username": username, "display_name": display_name or username, "email": ""}))


def new_text(characters: int) -> str:
    """Random letters and digits: a password, or the text of a key without its prefix."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(characters))


def curl_line(first: FirstLogin) -> str:
    """A command that streams an answer at once."""
    body = {"model": first.model, "stream": True, "messages": [{"role": "user", "content": "Say hello."}]}
    return (
        f"curl -N {first.url}/v1/chat/completions \\\n"
        f'  -H "Authorization: Bearer {first.api_key}" -H "Content-Type: application/json" \\\n'
        f"  -d '{json.dumps(body)}'"
    )


def print_first_login(first: FirstLogin, out: TextIO) -> None:
    """Show the first secrets to a person, with a first request."""
    out.write(first_login_text(first))
    out.flush()


def first_login_text(first: FirstLogin) -> str:
    return (
        f"This store is new. These secrets are shown once; keep them.\n\n"
        f"  user      {first.username}\n"
        f"  password  {first.password}\n"
        f"  API key   {first.api_key}\n\n"
        f"The sandbox answers without spending anything at a provider:\n\n{curl_line(first)}\n\n"
    )


def write_first_login_file(first: FirstLogin, folder: Path) -> Path:
    """Leave the first secrets in a file that only its owner can read, for when there is no terminal; its path."""
    path = folder / FILE_NAME
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(first_login_text(first))
        file.flush()
        os.fsync(file.fileno())
    return path


def _sandbox_channel(vault: Vault) -> Register:
    terms = ChannelTerms(type=Type.SANDBOX, name="sandbox", models=(SANDBOX_MODEL,), groups=("default",), priority=0)
    return channel.creation(terms=terms, secret=vault.put(""), token=TOKEN)


def _first_key(vault: Vault, user_id: int, key: str) -> Register:
    return api_key.creation(
        user=user_id,
        digest=vault.digest("key", key),
        secret=vault.put(key),
        terms=KeyTerms(name="first key"),
        limit_mills=None,
        token=TOKEN,
    )


def _made(result: Result, what: str) -> None:
    if not result.ok:
        raise BootstrapFailed(f"{what} could not be made: {result.status} {result.why}")

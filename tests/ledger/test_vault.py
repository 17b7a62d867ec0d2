"""What is secret opens with this ledger's secret and no other, and what is erased is gone while the log stays whole."""

from __future__ import annotations

import secrets
import stat
from pathlib import Path

import msgspec
import pytest

from domain.commands import VaultPut
from ledger.errors import StoreRefused
from ledger.sqlite import SqliteStore
from ledger.vault import Vault, open_vault
from ledger.verify import verify
from tests.laws import calls
from tests.ledger.tables import contents, tamper

TEXT = "sk-a-secret-that-nobody-else-has-0123456789"


@pytest.fixture
def vault(store: SqliteStore) -> Vault:
    return open_vault(store, store.folder, "the secret")


def test_a_secret_is_read_back_and_is_nowhere_in_the_files(store: SqliteStore, vault: Vault) -> None:
    ref = kept(store, vault)

    assert vault.text(ref) == TEXT
    assert not any(TEXT.encode() in path.read_bytes() for path in store.folder.glob("ledger.*"))


@pytest.mark.parametrize("wrong", ["the secret ", "The secret", "another"])
def test_another_secret_is_refused_and_changes_nothing(store: SqliteStore, vault: Vault, wrong: str) -> None:
    kept(store, vault)
    before = contents(store.folder)

    with pytest.raises(StoreRefused, match="CRYPTO_SECRET"):
        open_vault(store, store.folder, wrong)

    assert contents(store.folder) == before


def test_the_secret_file_is_made_once_for_its_owner_alone(store: SqliteStore) -> None:
    first = open_vault(store, store.folder)
    path = store.folder / "secret.key"
    text = path.read_bytes()

    second = open_vault(store, store.folder)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == text
    assert second.digest("key", "x") == first.digest("key", "x")


def test_a_ledger_whose_secret_file_is_gone_is_refused_and_no_new_one_is_made(store: SqliteStore) -> None:
    open_vault(store, store.folder)
    (store.folder / "secret.key").unlink()

    with pytest.raises(StoreRefused, match="missing"):
        open_vault(store, store.folder)

    assert not (store.folder / "secret.key").exists()


def test_a_process_that_dies_while_it_makes_the_secret_file_does_not_spoil_the_folder(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(secrets, "token_hex", killed)
        with pytest.raises(KeyboardInterrupt):
            open_vault(store, store.folder)

    assert open_vault(store, store.folder).text(kept(store, open_vault(store, store.folder))) == TEXT


def test_an_erased_entry_is_gone_from_the_file_and_the_log_is_whole(store: SqliteStore, vault: Vault) -> None:
    ref = kept(store, vault)
    sealed = store.secret(ref)
    assert sealed is not None

    store.commit([msgspec.structs.replace(calls.customer("bob"), vault_delete=(ref,))])
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    assert vault.get(ref) is None
    assert vault.text(ref) == ""
    assert verify(store).is_sound
    assert not any(sealed in path.read_bytes() for path in store.folder.glob("ledger.*"))


@pytest.mark.parametrize("position", [0, 11, 12, 20, -1])
def test_a_changed_entry_does_not_open(store: SqliteStore, vault: Vault, position: int) -> None:
    ref = kept(store, vault)
    sealed = bytearray(store.secret(ref) or b"")
    sealed[position] ^= 1
    tamper(store.folder, "UPDATE vault SET sealed = ? WHERE ref = ?", (bytes(sealed), ref))

    with pytest.raises(StoreRefused, match=ref):
        vault.get(ref)


@pytest.mark.parametrize("length", [0, 3, 12, 27])
def test_a_shortened_entry_does_not_open(store: SqliteStore, vault: Vault, length: int) -> None:
    ref = kept(store, vault)
    tamper(store.folder, "UPDATE vault SET sealed = substr(sealed, 1, ?) WHERE ref = ?", (length, ref))

    with pytest.raises(StoreRefused, match=ref):
        vault.get(ref)


def test_an_entry_does_not_open_under_another_reference(store: SqliteStore, vault: Vault) -> None:
    first, second = kept(store, vault), kept(store, vault, "bob")
    tamper(store.folder, "UPDATE vault SET sealed = ? WHERE ref = ?", (store.secret(first), second))

    with pytest.raises(StoreRefused, match=second):
        vault.get(second)


def test_a_refused_command_leaves_no_secret_behind(store: SqliteStore, vault: Vault) -> None:
    put = vault.put(TEXT)

    result = store.commit([msgspec.structs.replace(calls.hold(100), vault=(put,))])[0]

    assert result.status == "insufficient"
    assert store.secret(put.ref) is None


def test_names_of_different_purposes_and_of_different_ledgers_never_meet(tmp_path: Path, vault: Vault) -> None:
    other_store = SqliteStore(tmp_path / "other")
    other = open_vault(other_store, other_store.folder, "the secret")

    names = {v.digest(purpose, "ada") for v in (vault, other) for purpose in ("username", "key", "access")}

    assert len(names) == 6
    other_store.close()


def kept(store: SqliteStore, vault: Vault, name: str = "ada") -> str:
    """Put TEXT into the vault, with the registration of a customer; its reference."""
    put: VaultPut = vault.put(TEXT)
    result = store.commit([msgspec.structs.replace(calls.customer(name), vault=(put,))])[0]
    assert result.status == "created"
    return put.ref


def killed(*_: object) -> str:
    raise KeyboardInterrupt

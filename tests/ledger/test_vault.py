"""What is secret opens with this ledger's secret and no other, and what is erased is gone while the log stays whole."""

from __future__ import annotations

import secrets
import stat
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from domain.commands import VaultPut
from ledger.errors import StoreRefused
from ledger.vault import Vault, open_vault
from ledger.verify import verify
from tests.laws import calls
from tests.ledger.places import FilePlace, Place, Store

TEXT = "sk-a-secret-that-nobody-else-has-0123456789"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the secret of an embedded ledger is kept."""
    return tmp_path


@pytest.fixture
def vault(store: Store, folder: Path) -> Vault:
    return open_vault(store, folder, "the secret")


def test_a_secret_is_read_back_and_is_nowhere_in_the_tables(store: Store, place: Place, vault: Vault) -> None:
    ref = kept(store, vault)

    assert vault.text(ref) == TEXT
    assert TEXT not in repr(place.contents())


def test_a_secret_is_nowhere_in_the_files(in_file: FilePlace, folder: Path) -> None:
    with closing(in_file.open()) as store:
        kept(store, open_vault(store, folder, "the secret"))

        assert not any(TEXT.encode() in path.read_bytes() for path in in_file.folder.glob("ledger.*"))


@pytest.mark.parametrize("wrong", ["the secret ", "The secret", "another"])
def test_another_secret_is_refused_and_changes_nothing(
    store: Store, vault: Vault, wrong: str, place: Place, folder: Path
) -> None:
    kept(store, vault)
    before = place.contents()

    with pytest.raises(StoreRefused, match="CRYPTO_SECRET"):
        open_vault(store, folder, wrong)

    assert place.contents() == before


def test_the_secret_file_is_made_once_for_its_owner_alone(store: Store, folder: Path) -> None:
    first = open_vault(store, folder)
    path = folder / "secret.key"
    text = path.read_bytes()

    second = open_vault(store, folder)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == text
    assert second.digest("key", "x") == first.digest("key", "x")


def test_a_ledger_whose_secret_file_is_gone_is_refused_and_no_new_one_is_made(store: Store, folder: Path) -> None:
    open_vault(store, folder)
    (folder / "secret.key").unlink()

    with pytest.raises(StoreRefused, match="missing"):
        open_vault(store, folder)

    assert not (folder / "secret.key").exists()


def test_a_process_that_dies_while_it_makes_the_secret_file_does_not_spoil_the_folder(
    store: Store, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(secrets, "token_hex", killed)
        with pytest.raises(KeyboardInterrupt):
            open_vault(store, folder)

    assert open_vault(store, folder).text(kept(store, open_vault(store, folder))) == TEXT


def test_an_erased_entry_is_gone_and_the_log_is_whole(store: Store, vault: Vault) -> None:
    ref = kept(store, vault)

    store.commit([msgspec.structs.replace(calls.customer("bob"), vault_delete=(ref,))])

    assert vault.get(ref) is None
    assert vault.text(ref) == ""
    assert verify(store).is_sound


def test_an_erased_entry_is_gone_from_the_file(in_file: FilePlace, folder: Path) -> None:
    with closing(in_file.open()) as store:
        ref = kept(store, open_vault(store, folder, "the secret"))
        sealed = store.secret(ref)
        assert sealed is not None

        store.commit([msgspec.structs.replace(calls.customer("bob"), vault_delete=(ref,))])
        store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        assert not any(sealed in path.read_bytes() for path in in_file.folder.glob("ledger.*"))


@pytest.mark.parametrize("position", [0, 11, 12, 20, -1])
def test_a_changed_entry_does_not_open(store: Store, vault: Vault, position: int, place: Place) -> None:
    ref = kept(store, vault)
    sealed = bytearray(store.secret(ref) or b"")
    sealed[position] ^= 1
    place.tamper("UPDATE vault SET sealed = ? WHERE ref = ?", (bytes(sealed), ref))

    with pytest.raises(StoreRefused, match=ref):
        vault.get(ref)


@pytest.mark.parametrize("length", [0, 3, 12, 27])
def test_a_shortened_entry_does_not_open(store: Store, vault: Vault, length: int, place: Place) -> None:
    ref = kept(store, vault)
    place.tamper("UPDATE vault SET sealed = substr(sealed, 1, ?) WHERE ref = ?", (length, ref))

    with pytest.raises(StoreRefused, match=ref):
        vault.get(ref)


def test_an_entry_does_not_open_under_another_reference(store: Store, vault: Vault, place: Place) -> None:
    first, second = kept(store, vault), kept(store, vault, "bob")
    place.tamper("UPDATE vault SET sealed = ? WHERE ref = ?", (store.secret(first), second))

    with pytest.raises(StoreRefused, match=second):
        vault.get(second)


def test_a_refused_command_leaves_no_secret_behind(store: Store, vault: Vault) -> None:
    put = vault.put(TEXT)

    result = store.commit([msgspec.structs.replace(calls.hold(100), vault=(put,))])[0]

    assert result.status == "insufficient"
    assert store.secret(put.ref) is None


def test_names_of_different_purposes_and_of_different_ledgers_never_meet(tmp_path: Path, vault: Vault) -> None:
    other_store = FilePlace(tmp_path / "other").open()
    other = open_vault(other_store, tmp_path, "the secret")

    names = {v.digest(purpose, "ada") for v in (vault, other) for purpose in ("username", "key", "access")}

    assert len(names) == 6
    other_store.close()


def kept(store: Store, vault: Vault, name: str = "ada") -> str:
    """Put TEXT into the vault, with the registration of a customer; its reference."""
    put: VaultPut = vault.put(TEXT)
    result = store.commit([msgspec.structs.replace(calls.customer(name), vault=(put,))])[0]
    assert result.status == "created"
    return put.ref


def killed(*_: object) -> str:
    raise KeyboardInterrupt
